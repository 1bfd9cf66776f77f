# Sourced by quickstart.sh and run_tests.sh: sets PYTHON to an interpreter from 3.10 on.
candidates=(python3 python3.13 python3.12 python3.11 python3.10)
[ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
found=
for candidate in "${candidates[@]}"; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        found=$candidate
        break
    fi
done
if [ -z "$found" ]; then
    echo "error: no Python 3.10 or newer was found${PYTHON:+ at $PYTHON}: install python3 and python3-venv." >&2
    exit 2
fi
PYTHON=$found
