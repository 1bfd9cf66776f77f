#!/usr/bin/env bash
# dist_test.py by MMDetection's name for it; $PYTHON chooses the interpreter (default: python).
exec "${PYTHON:-python}" "$(dirname "$0")/dist_test.py" "$@"
