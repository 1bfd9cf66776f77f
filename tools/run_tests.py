"""Set up the environment as tools/quickstart.py does, add requirements-test.txt; check and test."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import _setup

TESTS_OF_OPS = [
    "tests/ops",
    "tests/models",
    "tests/weights",
    "tests/test_same_with_and_without.py",
    "tests/benchmark/test_ops_benchmark.py",
    "tests/test_mmcv_extension.py",
    "tests/tools/test_install_mmcv.py",
]


def parse_args() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Other options and paths are pytest's.", allow_abbrev=False
    )
    parser.add_argument(
        "--here", action="store_true", help="install into the active environment, not into .venv"
    )
    parser.add_argument(
        "--compiled",
        action="store_true",
        help="build MMCV's compiled ops in a folder of their own, and run the tests of ops",
    )
    parser.add_argument(
        "--all", action="store_true", help="the tests marked slow as well: 15 seconds and more each"
    )
    return parser.parse_known_args()


def main() -> int:
    args, pytest = parse_args()
    try:
        python = str(_setup.ensure(args.here, tests=True).python)
    except _setup.SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    env = dict(os.environ)
    commands = [[python, "-m", "ruff", "check", "."], [python, "-m", "pytest", *pytest]]
    if not pytest:  # all of them: a process a core, each with one thread
        # files stay together, which share what they build; the last are taken from who is behind
        commands[1] += ["-n", str(os.cpu_count() or 1), "--dist", "worksteal"]
        env.setdefault("OMP_NUM_THREADS", "1")
    if args.all:
        commands[1] += ["-m", ""]
    if args.compiled:
        folder = str(_setup.REPO / "build" / "compiled_mmcv")
        commands[0] = [python, "tools/install_mmcv.py", "--cpu-only", "--target", folder]
        commands[1] += [] if pytest else TESTS_OF_OPS
        env["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, [env.get("PYTHONPATH")])])
    for command in commands:
        code = subprocess.run(command, cwd=_setup.REPO, env=env).returncode
        if code != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
