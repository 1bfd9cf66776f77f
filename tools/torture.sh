#!/usr/bin/env bash
# Kill trainings at random and compare them with undisturbed ones, bit for bit (within 20 minutes).
#   bash tools/torture.sh [--kills N] [--seed N]
set -euo pipefail
export OMP_NUM_THREADS=1
exec timeout 1200 python "$(dirname "$0")/../tests/torture/torture.py" "$@"
