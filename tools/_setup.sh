# Sourced by quickstart.sh and run_tests.sh: an environment with torch, mmcv's compiled ops, mmdet and
# this package, made once. Sets REPO, PYTHON (of that environment) and SETUP_SECONDS.
# ensure_test_setup adds requirements-test.txt to it.
#   --here uses the active environment instead of making .venv; $PYTHON chooses the interpreter.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TORCH_VERSION=2.13.0
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

fail() {
    echo "error: $*" >&2
    exit 2
}

base_python() {
    local candidate candidates=(python3 python3.13 python3.12 python3.11 python3.10)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.10 or newer was found${PYTHON:+ at $PYTHON}: install python3 and python3-venv."
}

make_venv() {
    local venv=$REPO/.venv python
    python=$(base_python) || exit 2
    if ! "$venv/bin/python" -c '' 2>/dev/null; then
        if [ -e "$venv" ] || [ -L "$venv" ]; then
            echo "set-up: $venv/bin/python does not run; the folder is made anew"
            rm -rf "$venv"
        fi
        "$python" -m venv "$venv" ||
            fail "$python -m venv failed: on Debian and Ubuntu, apt-get install python3-venv."
    elif ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then  # uv's, or half of one
        "$venv/bin/python" -m ensurepip >/dev/null ||
            fail "$venv has no pip, and its ensurepip failed: on Debian and Ubuntu, apt-get" \
                "install python3-venv. Or put pip into it, remove it, or use --here."
    fi
    PYTHON=$venv/bin/python
}

quiet_pip() {
    local log
    log=$(mktemp)
    if ! "$PYTHON" -m pip install --disable-pip-version-check --progress-bar off "$@" >"$log" 2>&1; then
        tail -n 25 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

install_torch() {
    "$PYTHON" -c 'import torch' 2>/dev/null && return
    if ! command -v nvidia-smi >/dev/null 2>&1; then
        # Without a GPU the CPU build saves gigabytes; where it is out of reach, PyPI's build serves.
        quiet_pip --retries 1 --timeout 20 --extra-index-url "$TORCH_CPU_INDEX" \
            "torch==$TORCH_VERSION+cpu" 2>/dev/null && return
        echo "      the CPU build is out of reach; installing PyPI's build instead"
    fi
    quiet_pip "torch==$TORCH_VERSION" || fail "pip could not install torch==$TORCH_VERSION."
}

mend_opencv() {
    # opencv-python needs system libraries that a bare machine lacks; the headless build does not.
    "$PYTHON" -c 'import cv2' 2>/dev/null && return
    local version
    version=$(sed -n 's/^opencv-python==//p' "$REPO/requirements.txt")
    echo "      opencv-python cannot be imported here; using opencv-python-headless"
    quiet_pip --force-reinstall --no-deps "opencv-python-headless==$version"
    "$PYTHON" -c 'import cv2' || fail "OpenCV cannot be imported (above)."
}

stamp_of() {  # of the named files of the repository
    (cd "$REPO" && cat "$@") |
        "$PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read() +
            (sys.version + sys.argv[1]).encode()).hexdigest())' "$REPO"
}

stamp_file_of() {
    "$PYTHON" -c 'import sys; print(sys.prefix)' | sed "s|\$|/$1|"
}

is_stamped() {  # FILE STAMP
    [ -f "$1" ] && [ "$(head -n 1 "$1")" = "$2" ]
}

ensure_setup() {
    local begin=$SECONDS stamp_file stamp
    if [ "${1:-}" = --here ]; then
        PYTHON=$(command -v "$(base_python)") || exit 2
    else
        make_venv
    fi
    stamp_file=$(stamp_file_of mmdet_maskr_setup)
    stamp=$(stamp_of requirements.txt setup.py tools/_setup.sh)
    if is_stamped "$stamp_file" "$stamp"; then
        SETUP_SECONDS=$(tail -n 1 "$stamp_file")
        echo "set-up: done already ($PYTHON)"
        return
    fi
    echo "set-up: 1/4 PyTorch $TORCH_VERSION (about 1 min)"
    install_torch
    echo "set-up: 2/4 MMEngine, MMDetection and what they need (about 1 min)"
    quiet_pip -r "$REPO/requirements.txt" || fail "pip could not install requirements.txt (above)."
    mend_opencv
    echo "set-up: 3/4 MMCV with its compiled ops (from source about 3 min on 2 cores, once)"
    "$PYTHON" "$REPO/tools/install_mmcv.py" || fail "MMCV could not be installed (above)."
    echo "set-up: 4/4 this package"
    quiet_pip --no-build-isolation --no-deps -e "$REPO" || fail "pip could not install $REPO (above)."
    "$PYTHON" -c 'import mmdet_maskr' || fail "the installed package cannot be imported (above)."
    SETUP_SECONDS=$((SECONDS - begin))
    printf '%s\n%s\n' "$stamp" "$SETUP_SECONDS" >"$stamp_file.partial"
    mv "$stamp_file.partial" "$stamp_file"
    echo "set-up: done in $SETUP_SECONDS s ($PYTHON)"
}

ensure_test_setup() {  # after ensure_setup
    local begin=$SECONDS stamp_file stamp
    stamp_file=$(stamp_file_of mmdet_maskr_test_setup)
    stamp=$(stamp_of requirements.txt requirements-test.txt tools/_setup.sh)
    is_stamped "$stamp_file" "$stamp" && return
    echo "set-up: what the tests need besides (about 2 min)"
    quiet_pip -r "$REPO/requirements.txt" -r "$REPO/requirements-test.txt" ||
        fail "pip could not install requirements-test.txt (above)."
    mend_opencv  # also where a test's package brought its own
    printf '%s\n' "$stamp" >"$stamp_file.partial"
    mv "$stamp_file.partial" "$stamp_file"
    echo "set-up: done in $((SECONDS - begin)) s more"
}
