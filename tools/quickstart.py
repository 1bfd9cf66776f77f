"""From a bare machine to a trained Mask R-CNN: sets up an environment, makes the shapes dataset,
trains configs/mini/maskr_shapes.py on it, tests it and draws what it sees. Each step is done once;
a second call skips what is done and goes on where an interrupted one stopped.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import _setup


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--here", action="store_true", help="install into the active environment, not into .venv"
    )
    parser.add_argument(
        "--work-dir",
        default="work_dirs/quickstart",
        help="folder of the results (default: %(default)s)",
    )
    parser.add_argument(
        "--data-root", default="data/shapes", help="folder of the dataset (default: %(default)s)"
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    try:
        environment = _setup.ensure(args.here)
    except _setup.SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    steps = Path(__file__).resolve().with_name("_quickstart_steps.py")
    command = [str(environment.python), str(steps), "--setup-seconds", str(environment.seconds)]
    command += ["--work-dir", args.work_dir, "--data-root", args.data_root]
    if os.name == "posix":  # one process: signals reach the steps, which save and say how to go on
        os.chdir(_setup.REPO)
        os.execv(command[0], command)
    return subprocess.run(command, cwd=_setup.REPO).returncode


if __name__ == "__main__":
    sys.exit(main())
