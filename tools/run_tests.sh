#!/usr/bin/env bash
# Set up the environment as tools/quickstart.sh does, add requirements-test.txt, then check and test.
#   bash tools/run_tests.sh [--here] [options of pytest]
set -euo pipefail
here=
case ${1:-} in
-h | --help)
    sed -n '2,3p' "$0" | cut -c3-
    exit 0
    ;;
esac
if [ "${1:-}" = --here ]; then
    here=--here
    shift
fi
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
ensure_setup $here
ensure_test_setup
cd "$REPO"
"$PYTHON" -m ruff check .
exec "$PYTHON" -m pytest "$@"
