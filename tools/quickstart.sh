#!/usr/bin/env bash
# From a bare machine to a trained Mask R-CNN: sets up an environment, makes the shapes data set, trains
# configs/mini/maskr_shapes.py on it, tests it and draws what it sees. Each step is done once; a second
# call skips what is done and goes on where an interrupted one stopped.
#   bash tools/quickstart.sh [--here] [--work-dir DIR] [--data-root DIR]
#   --here      install into the active Python environment instead of .venv
#   --work-dir  folder of the results (default: work_dirs/quickstart)
#   --data-root folder of the data set (default: data/shapes)
set -euo pipefail
here=
args=()
for arg in "$@"; do
    case $arg in
    --here) here=--here ;;
    -h | --help)
        sed -n '2,8p' "$0" | cut -c3-
        exit 0
        ;;
    *) args+=("$arg") ;;
    esac
done
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
ensure_setup $here
cd "$REPO"
exec "$PYTHON" tools/quickstart.py --setup-seconds "$SETUP_SECONDS" ${args[@]+"${args[@]}"}
