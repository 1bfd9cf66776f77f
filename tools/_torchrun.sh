#!/usr/bin/env bash
# Start PROCESSES copies of a tool on this node: _torchrun.sh PROCESSES SCRIPT [ARGS]
set -euo pipefail
processes=$1
script=$2
if ! [[ $processes =~ ^[1-9][0-9]*$ ]]; then
    echo "error: the number of processes must be a whole number from 1, not '$processes'." >&2
    exit 2
fi
# One thread a process would be torchrun's default; processes on CPUs share the cores evenly.
cores=$(python -c 'import os; print(len(os.sched_getaffinity(0)))')
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > processes ? cores / processes : 1))}
exec python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$processes" \
    "$script" "${@:3}" --launcher pytorch
