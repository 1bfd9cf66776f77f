#!/usr/bin/env bash
# Test on several GPUs or, without any, several CPU processes:
#   bash tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of tools/test.py]
# On several nodes run it on each, with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,4p' "$0" | cut -c3- >&2
    exit 2
fi
exec bash "$(dirname "$0")/_torchrun.sh" "$3" "$(dirname "$0")/test.py" "$1" "$2" "${@:4}"
