#!/usr/bin/env bash
# From a bare machine to a trained Mask R-CNN; $PYTHON chooses the interpreter. See --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_python.sh"
exec "$PYTHON" "$(dirname "${BASH_SOURCE[0]}")/quickstart.py" "$@"
