#!/usr/bin/env bash
# Start PROCESSES copies of a tool on this node: _torchrun.sh PROCESSES SCRIPT [ARGS]
# $PYTHON chooses the interpreter (default: python).
set -euo pipefail
processes=$1
script=$2
python=${PYTHON:-python}
if ! [[ $processes =~ ^[1-9][0-9]*$ ]]; then
    echo "error: the number of processes must be a whole number from 1, not '$processes'." >&2
    exit 2
fi
# One thread a process would be torchrun's default; processes on CPUs share the cores evenly.
cores=$("$python" -c 'import os; print(len(os.sched_getaffinity(0)))')
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > processes ? cores / processes : 1))}
# A restart needs a rendezvous and a store of its own: in torchrun's usual ones, the new processes
# read the addresses of those that are gone.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
host=$([ "${NODE_RANK:-0}" = 0 ] && echo 1 || echo 0)
local_addr=()
if [ "${NNODES:-1}" = 1 ]; then
    local_addr=(--local_addr=127.0.0.1)  # the machine's own name may lead nowhere
fi
# Saving may take longer than torchrun's 30 s from a signal to SIGKILL (newer ones of it ask this).
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-120}
exec "$python" "$(dirname "$0")/_torchrun.py" \
    --nnodes="${NNODES:-1}" \
    --rdzv_backend=c10d \
    --rdzv_endpoint="${MASTER_ADDR:-127.0.0.1}:${PORT:-29500}" \
    --rdzv_id="${PORT:-29500}" \
    --rdzv_conf="is_host=$host" \
    "${local_addr[@]}" \
    --nproc_per_node="$processes" \
    --max_restarts="${MAX_RESTARTS:-0}" \
    "$script" "${@:3}" --launcher pytorch
