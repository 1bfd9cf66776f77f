#!/usr/bin/env bash
# Set up the environment, then check and test; $PYTHON chooses the interpreter. See --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_python.sh"
exec "$PYTHON" "$(dirname "${BASH_SOURCE[0]}")/run_tests.py" "$@"
