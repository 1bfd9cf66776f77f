"""What install_mmcv.py finds out about the environment that it installs into; changes nothing."""

import argparse
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import _mmcv_build as build
from _mmcv_run import Commands, Stop


class Environment:
    """What one run of the tool knows: its options, the temporary folder, what it found out."""

    def __init__(self, args: argparse.Namespace, commands: Commands, tmp: Path) -> None:
        self.args, self.commands, self.tmp = args, commands, tmp
        self.stack = build.STACKS[args.stack]
        self.version = args.version or self.stack.version
        self.cache: Path = args.cache_dir
        self.facts: dict[str, Any] = {}
        self.cuda_home: str | None = None
        self.entry = self.cache
        self.jobs = 1
        self.log_path = tmp / "pip.log"

    def probe(self, full: bool = False, wheel_dir: Path | None = None) -> dict[str, str] | None:
        """Ask the environment about mmcv; return the problem or None. wheel_dir: unpacked wheel."""
        env = dict(os.environ)
        if wheel_dir:
            env["PYTHONPATH"] = str(wheel_dir)
        command = [
            sys.executable,
            "-W",
            "ignore",
            str(Path(__file__).resolve().with_name("_mmcv_probe.py")),
        ]
        output = self.tmp / "probe.txt"
        with output.open("w", encoding="utf-8") as log:
            code = self.commands.run(command + ["--full"] * full, log, env, cwd=self.tmp)
        text = output.read_text(encoding="utf-8", errors="replace")
        found = [json.loads(line) for line in text.splitlines() if line.startswith('{"')]
        if not found:
            raise Stop(f"This Python ({sys.executable}) cannot be asked about torch:\n{text}", 2)
        self.facts = found[0]
        if len(found) < 2:
            return {"kind": "abi", "text": f"loading its ops kills the process (exit code {code})"}
        self.facts["ops_cuda"] = found[1]["ops_cuda"]
        problem = found[1]["problem"]
        if problem and problem["kind"] in ("no-torch", "bad-torch"):
            how = "install it first" if problem["kind"] == "no-torch" else "install it anew"
            raise Stop(
                f"{problem['text']} ({sys.executable}): {how}, for example with "
                f"`{sys.executable} -m pip install torch`.",
                2,
            )
        if problem and problem["kind"] == "cpu-only" and self.args.cpu_only:
            problem = None
        version = self.facts["dists"].get(self.stack.dist)
        if (
            problem is None
            and version
            and not (
                build.accepts(self.stack, version) and version.startswith(self.args.version or "")
            )
        ):
            wanted = self.args.version or f">={self.stack.low},<{self.stack.high}"
            problem = {"kind": "version", "text": f"{version} is installed, {wanted} is wanted"}
        return problem

    def refuse_other_stack(self) -> None:
        """Raise Stop where another distribution owns the folder mmcv.

        mmcv-lite of the same version has the same files, so that mmcv may come on top of it.
        """
        same = "mmcv-lite" if self.stack.dist == "mmcv" else None
        others = [
            name
            for name, version in self.facts["dists"].items()
            if name != self.stack.dist and not (name == same and version == self.version)
        ]
        if not others:
            return
        other = others[0]
        hint = next(
            (
                f", or ask for it with --stack {stack.name}"
                for stack in build.STACKS.values()
                if stack.dist == other
            ),
            "",
        )
        raise Stop(
            f"{other} {self.facts['dists'][other]} is installed and owns the package folder "
            f"`mmcv`, which {self.stack.dist} needs for itself: remove it first with "
            f"`{sys.executable} -m pip uninstall {other}`{hint}.",
            2,
        )

    def choose_device(self) -> str | None:
        """Set cuda_home where CUDA ops are built; return why the build cannot start, if so."""
        facts = self.facts
        if self.args.cpu_only or not facts["cuda"]:
            return None
        found = build.find_nvcc(os.environ)
        if found and found[1].split(".")[0] == facts["cuda"].split(".")[0]:
            self.cuda_home = found[0]
            return None
        what = (
            f"the CUDA compiler here is {found[1]} ({found[0]})"
            if found
            else "there is no CUDA compiler (nvcc) here"
        )
        return (
            f"torch {facts['torch']} is built for CUDA {facts['cuda']}, but {what}. Two ways "
            f"on: install the CUDA {facts['cuda']} toolkit and set CUDA_HOME to its folder, or "
            "give --cpu-only for ops that run on the CPU only."
        )

    def missing_compiler(self) -> str | None:
        """Say in a sentence what a build lacks on this machine; None if nothing."""
        cxx = os.environ.get("CXX", "").split() or ["c++"]
        if not (shutil.which(cxx[0]) and shutil.which(os.environ.get("CC", "cc").split()[0])):
            return (
                "There is no C++ compiler: install one with `apt-get install g++` (Debian, "
                "Ubuntu) or `dnf install gcc-c++` (Fedora, RHEL), or set CC and CXX to yours "
                "(--help says what is built)."
            )
        if not Path(self.facts["header"]).is_file():
            return (
                f"The header {self.facts['header']} is missing: install it with `apt-get "
                "install python3-dev` (Debian, Ubuntu) or `dnf install python3-devel` (Fedora, "
                "RHEL)."
            )
        return None

    def choose_jobs(self) -> str:
        """Set the number of compilers at once; return it in words."""
        cpus, memory = build.usable_cpus(), build.free_memory_gib()
        self.jobs = self.args.jobs or build.choose_jobs(cpus, memory)
        lowered = (
            ""
            if self.args.jobs or self.jobs == cpus
            else (
                f" (lowered from {cpus}: {memory:.1f} GiB of memory are free, a compiler takes "
                f"{build.GIB_PER_JOB})"
            )
        )
        return f"{self.jobs} compiler{'s' * (self.jobs > 1)} at once{lowered}"


def leftovers(site: Path, dist: str) -> list[Path]:
    """Folders in site-packages that a killed pip left of mmcv and that would confuse the next pip.

    pip renames what it removes (mmcv -> ~mcv, ~-cv, ...) until the new files are in place; a
    .dist-info without its RECORD cannot be uninstalled.
    """
    name = dist.replace("-", "_")
    tails = "|".join({word[i:] for word in ("mmcv", name) for i in (1, 2, 3)})
    renamed = re.compile(rf"~[-~.=%0-9]*({tails})(-[^-]+\.dist-info)?")
    return [
        path
        for path in sorted(site.glob("*"))
        if path.is_dir()
        and (
            renamed.fullmatch(path.name)
            or (
                re.fullmatch(rf"{name}-[^-]+\.dist-info", path.name)
                and not all((path / file).is_file() for file in ("RECORD", "METADATA"))
            )
        )
    ]
