#!/usr/bin/env bash
# Train on several GPUs or, without any, several CPU processes:
#   bash tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]
# On several nodes run it on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
# When a process dies, all are restarted from the newest checkpoint, at most MAX_RESTARTS (3) times.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,5p' "$0" | cut -c3- >&2
    exit 2
fi
export MAX_RESTARTS=${MAX_RESTARTS:-3}
# Restarts go on from checkpoints of this very call.
MMDET_MASKR_LAUNCH=$(hostname)-$$-$(date +%s%N)-$RANDOM
export MMDET_MASKR_LAUNCH
exec bash "$(dirname "$0")/_torchrun.sh" "$2" "$(dirname "$0")/train.py" "$1" "${@:3}"
