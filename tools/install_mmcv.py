"""Install mmcv with compiled ops that fit the torch of this environment, in minutes. Optional:
without it, mmdet_maskr computes MMCV's ops in Python or by torchvision.

python tools/install_mmcv.py              does nothing where mmcv's ops already work
python tools/install_mmcv.py --check      only says whether they do (exit code 0 or 1)
python tools/install_mmcv.py --dry-run    says what it would do
"""

import argparse
import importlib.util
import os
import re
import shutil
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import _mmcv_build as build
from _mmcv_env import Environment, leftovers
from _mmcv_run import CacheLock, Commands, Progress, Stop, clock, fcntl, say, tail

EPILOG = """\
what happens, in this order, until mmcv's RoIAlign and NMS give the right numbers:
  1. a prebuilt wheel from the stack's own index, where there is one for this torch
  2. a wheel that an earlier run built, kept under a name that holds the versions of mmcv, torch,
     Python and CUDA, so that one built for another torch is never taken
  3. a build from source in a temporary folder, the small source files merged into a few big ones:
     about 2.4 minutes on 2 cores (22 minutes the ordinary way), CPU ops only
  4. the ordinary build, should the merged one not compile
Only mmcv itself is changed in the environment. What it imports (addict, mmengine, numpy, opencv,
packaging, Pillow, pyyaml, yapf) comes from requirements.txt; the build tools stay temporary.

With a CUDA torch the CUDA ops are built too. That needs the CUDA toolkit (nvcc) of torch's major
version; CUDA_HOME says where it is, TORCH_CUDA_ARCH_LIST (such as "8.0;9.0") for which GPUs.

exit codes: 0 mmcv works; 1 it does not, or the build failed; 2 something has to be decided or
installed first, the message says what; 130, 143 interrupted, with nothing left behind.
"""


class Installer(Environment):
    """The steps on the way to a working mmcv, and their order."""

    def pip(self, *arguments: str, env: dict[str, str] | None = None, protect: bool = False) -> str:
        """Run pip; return its output, which begins with 'ok' where it succeeded."""
        self.log_path = self.tmp / "pip.log"
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
        with self.log_path.open("w", encoding="utf-8") as log:
            code = self.commands.run(
                [*command, *arguments], log, env, cwd=self.tmp, protect=protect
            )
        output = self.log_path.read_text(encoding="utf-8", errors="replace").strip()
        return f"failed\n{output}" if code else f"ok\n{output}"

    def works(self, wheel: Path) -> str | None:
        """Try an unpacked wheel without installing it; return what is wrong, or None."""
        broken = build.wheel_problem(wheel)
        if broken:
            return broken
        facts = self.facts
        with tempfile.TemporaryDirectory(dir=self.tmp) as folder:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
            problem = self.probe(wheel_dir=Path(folder))
        self.facts = facts
        return problem["text"] if problem else None

    def prebuilt(self) -> Path | None:
        """Step 1: fetch a wheel from the stack's index; None (and a line why) if there is none."""
        index = build.prebuilt_index(self.stack, self.facts, self.args.cpu_only)
        option = ["--no-index"] if self.stack.finder == "--find-links" else []
        output = self.pip(
            "download",
            "-vv",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--no-cache-dir",
            "--timeout",
            "8",
            "--retries",
            "0",
            *option,
            self.stack.finder,
            index,
            "--dest",
            str(self.tmp / "prebuilt"),
            f"{self.stack.dist}=={self.version}",
        )
        wheels = sorted((self.tmp / "prebuilt").glob("*.whl")) if output.startswith("ok") else []
        if wheels:
            wrong = self.works(wheels[0])
            say(f"Prebuilt wheel {wheels[0].name}: {wrong + '; going on' if wrong else 'works'}.")
            return None if wrong else wheels[0]
        errors = re.findall(r"Could not fetch URL .*", output)
        out_of_reach = any("Client Error" not in error for error in errors)
        why = "the index is out of reach" if out_of_reach else "none for this torch"
        say(f"Prebuilt wheel: {why} ({index}).")
        return None

    def cached(self) -> Path | None:
        """Step 2: a wheel of an earlier run; a bad one is removed with a line."""
        wheel, problem = build.load_cached(self.entry)
        if wheel:
            problem = self.works(wheel)
        if problem:
            say(f"Removed the cached wheel in {self.entry}: {problem}.")
            shutil.rmtree(self.entry)
            return None
        if wheel:
            say(f"Found the wheel of an earlier build: {wheel}")
        return wheel

    def fetch_sources(self) -> tuple[Path, dict[str, str]]:
        """The sdist and the environment to build it in; the tools go to a temporary folder."""
        say(f"Fetching the sources of {self.stack.dist} {self.version} and the build tools ...")
        tools = self.tmp / "tools"
        # setuptools 81 has dropped pkg_resources, which mmcv's setup.py imports
        output = self.pip(
            "install",
            "--target",
            str(tools),
            "setuptools>=77,<81",
            "wheel",
            "ninja",
            "packaging",
            env=os.environ | {"PIP_USER": "0", "PIP_CONSTRAINT": ""},
        )
        env = build.build_env(os.environ, self.facts, tools, self.jobs, self.cuda_home)
        if output.startswith("ok"):
            output = self.pip(
                "download",
                "--no-deps",
                "--no-binary",
                self.stack.dist,
                "--no-build-isolation",
                "--dest",
                str(self.tmp / "sdist"),
                f"{self.stack.dist}=={self.version}",
                env=env,
            )
        found = sorted((self.tmp / "sdist").glob("*.tar.gz")) if output.startswith("ok") else []
        if not found:
            raise Stop(f"pip could not fetch them:\n{tail(output)}", 1)
        return found[0], env

    def compile(self, sdist: Path, env: dict[str, str], unity: bool) -> Path | None:
        """Steps 3 and 4: build a wheel from the sdist; None where it does not compile."""
        folder = self.tmp / ("unity" if unity else "plain")
        with tarfile.open(sdist) as archive:
            if hasattr(tarfile, "data_filter"):
                archive.extractall(folder, filter="data")
            else:
                archive.extractall(folder)
        source = next(path for path in folder.iterdir() if (path / "setup.py").is_file())
        build.set_standard(source / "setup.py", self.facts["torch"])
        csrc = source / "mmcv" / "ops" / "csrc" / "pytorch"
        cuda_too = self.cuda_home is not None
        files = len([*csrc.glob("*.cpp"), *csrc.glob("cpu/*.cpp")])
        cu_files = len(list(csrc.glob("cuda/*.cu"))) * cuda_too
        minutes = build.estimate_minutes(self.jobs, unity, cu_files)
        merged = f" merged into {build.write_units(csrc, self.jobs, cuda_too)[0]}" if unity else ""
        cuda = f" and {cu_files} CUDA files" if cu_files else ", CPU ops only"
        if cu_files and not (self.facts["gpu"] or os.environ.get("TORCH_CUDA_ARCH_LIST")):
            say(
                "No GPU is visible and TORCH_CUDA_ARCH_LIST is not set: compiling for every GPU "
                "generation that torch knows, which takes several times as long."
            )
        say(
            f"Compiling {files} C++ files{merged}{cuda}: about {minutes:.1f} min with "
            f"{self.choose_jobs()} ..."
        )
        self.log_path = self.cache / f"{self.entry.name}.log"
        with self.log_path.open("a", encoding="utf-8") as log:
            progress = Progress(self.log_path, minutes, self.jobs)
            dist = str(folder / "dist")
            command = [sys.executable, "setup.py", "bdist_wheel", "--dist-dir", dist]
            try:
                code = self.commands.run(command, log, env, cwd=source, watch=progress)
            except Stop:
                self.log_path.unlink(missing_ok=True)
                raise
            finally:
                progress.close()
        wheels = sorted(Path(dist).glob("*.whl")) if code == 0 else []
        if not wheels:
            return None
        say(f"Compiled in {clock(time.monotonic() - progress.start)} min.")
        return wheels[0]

    def build(self) -> Path:
        """Steps 3 and 4: a wheel from source, tried before it goes into the cache."""
        sdist, env = self.fetch_sources()
        (self.cache / f"{self.entry.name}.log").unlink(missing_ok=True)
        wheel = None
        if not (self.args.plain_build or self.facts["hip"]):
            wheel = self.compile(sdist, env, unity=True)
            if wheel is None:
                say(
                    f"The merged files do not compile (log: {self.log_path}); trying the ordinary "
                    "build."
                )
        wheel = wheel or self.compile(sdist, env, unity=False)
        log = self.log_path.read_text(encoding="utf-8", errors="replace")
        if wheel is None:
            hint = (
                "\nThe compiler was killed, most likely for want of memory: try --jobs 1."
                if re.search(r"Killed|fatal error: error writing|cc1plus.*signal", log)
                else ""
            )
            raise Stop(f"{tail(log)}\nThe build failed; its whole output: {self.log_path}{hint}", 1)
        wrong = self.works(wheel)
        if wrong:
            raise Stop(f"The built wheel does not work: {wrong}\nlog: {self.log_path}", 1)
        self.log_path.unlink(missing_ok=True)
        self.commands.check()
        return build.store_wheel(wheel, self.entry)

    def install(self, wheel: Path) -> None:
        """Let pip replace mmcv, and nothing else, by the wheel; then check it as a user imports it.

        A signal waits for pip here. Should pip be killed all the same, the next run finds the
        installation incomplete and comes here again; what pip left is removed first.
        """
        for path in leftovers(Path(self.facts["purelib"]), self.stack.dist):
            say(f"Removing what an interrupted installation left: {path}")
            shutil.rmtree(path, ignore_errors=True)
        self.commands.check()
        output = self.pip(
            "install", "--no-deps", "--force-reinstall", "--no-index", str(wheel), protect=True
        )
        if output.startswith("failed"):
            raise Stop(f"pip could not install {wheel}:\n{tail(output)}", 1)
        if self.commands.signal:
            raise Stop(
                "Interrupted while pip was at work; it was let finish: mmcv is installed.",
                128 + self.commands.signal,
            )
        self.commands.farewell = "Interrupted in the last check: mmcv is installed."
        problem = self.probe(full=True)
        if problem:
            raise Stop(f"Installed {wheel.name}, but it does not work: {problem['text']}", 1)
        say(f"Installed {self.summary()}.")

    def unpack(self, wheel: Path) -> None:
        """Put the wheel's content into --target, for PYTHONPATH; the environment stays as it is."""
        target: Path = self.args.target
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(partial)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        problem = self.probe(wheel_dir=target)
        if problem:
            raise Stop(f"Unpacked {wheel.name}, but it does not work: {problem['text']}", 1)
        say(f"Unpacked {wheel.name} into {target}: put it into PYTHONPATH.")

    def summary(self) -> str:
        """What is installed, in words."""
        cuda = self.facts["ops_cuda"]
        ops = "CPU ops" if "not available" in cuda else f"CUDA {cuda} ops"
        return (
            f"{self.stack.dist} {self.facts['dists'][self.stack.dist]} with {ops} for torch "
            f"{self.facts['torch']}: RoIAlign and NMS give the right numbers"
        )

    def plan(self) -> list[str]:
        """What would be done, as lines."""
        facts = self.facts
        lines = [
            f"Would install {self.stack.dist} {self.version} for torch {facts['torch']}, "
            f"{facts['python']}, {facts['platform']}:"
        ]
        if not self.args.no_prebuilt:
            lines.append(
                "  1. prebuilt wheel, if there is one: "
                + build.prebuilt_index(self.stack, facts, self.args.cpu_only)
            )
        wheel, problem = build.load_cached(self.entry)
        state = "there is one" if wheel else problem or "none yet"
        lines.append(f"  2. cached wheel ({state}): {self.entry}")
        blocked = self.choose_device() or self.missing_compiler()
        if blocked:
            return [*lines, f"  3. no build from source: {blocked}"]
        unity = not (self.args.plain_build or facts["hip"])
        minutes = build.estimate_minutes(self.jobs, unity)
        kind = "CUDA and CPU" if self.cuda_home else "CPU"
        way = "merged" if unity else "file by file"
        more = " and what the CUDA files take" if self.cuda_home else ""
        lines.append(
            f"  3. build from source, {way}, {kind} ops, {self.choose_jobs()}, "
            f"about {minutes:.1f} min{more}"
        )
        return lines

    def run(self) -> int:
        """Do what the options ask; return the exit code, or raise Stop."""
        problem = self.probe(full=self.args.check, wheel_dir=self.args.target)
        if not self.args.target:
            self.refuse_other_stack()
        if problem is None and (self.args.check or not self.args.reinstall):
            say(f"{'OK' if self.args.check else 'Nothing to do'}: {self.summary()}.")
            return 0
        if problem:
            say(f"{self.stack.dist}: {problem['text']}.")
        if self.args.check:
            return 1
        arch_list = os.environ.get("TORCH_CUDA_ARCH_LIST") or self.facts["arch"]
        key = build.cache_key(self.stack, self.version, self.facts, self.args.cpu_only, arch_list)
        self.entry = self.cache / key
        self.choose_jobs()
        if self.args.dry_run:
            say("\n".join(self.plan()))
            return 0
        if importlib.util.find_spec("pip") is None:
            raise Stop(f"There is no pip in this environment: `{sys.executable} -m ensurepip`.", 2)
        if self.facts["missing"]:
            say(
                f"Note: mmcv also imports {', '.join(self.facts['missing'])}, not installed yet "
                "(requirements.txt has them); until then only its compiled ops can be checked."
            )
        with CacheLock(self.cache, self.commands) as waited:
            if waited and not self.probe(wheel_dir=self.args.target):
                say(f"Nothing left to do: {self.summary()}.")
                return 0
            wheel = None if self.args.no_prebuilt else self.prebuilt()
            wheel = wheel or self.cached()
            if wheel is None:
                blocked = self.choose_device() or self.missing_compiler()
                if blocked:
                    raise Stop(blocked, 2)
                wheel = self.build()
            if self.args.target:
                self.unpack(wheel)
            else:
                self.install(wheel)
        return 0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default_cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    parser.add_argument(
        "--stack",
        choices=list(build.STACKS),
        default="openmmlab",
        help="openmmlab: mmcv (default); onedl: onedl-mmcv, the maintained fork",
    )
    parser.add_argument(
        "--version",
        help="version of mmcv; default "
        + ", ".join(
            f"{stack.version} ({stack.name}; accepted >={stack.low},<{stack.high})"
            for stack in build.STACKS.values()
        ),
    )
    parser.add_argument(
        "--cache-dir",
        type=lambda text: Path(text).expanduser().resolve(),
        default=default_cache / "mmdet_maskr" / "wheels",
        metavar="DIR",
        help="where built wheels are kept (default: %(default)s)",
    )
    parser.add_argument("--no-prebuilt", action="store_true", help="skip step 1")
    parser.add_argument(
        "--plain-build", action="store_true", help="skip step 3: compile file by file"
    )
    parser.add_argument(
        "--cpu-only", action="store_true", help="no CUDA ops, even if torch has CUDA"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="compilers at once (default: one a "
        f"core, with {build.GIB_PER_JOB} GiB of free memory for each)",
    )
    parser.add_argument(
        "--target",
        type=lambda text: Path(text).expanduser().resolve(),
        metavar="DIR",
        help="unpack mmcv into DIR, for PYTHONPATH, and leave the environment as it is",
    )
    parser.add_argument("--reinstall", action="store_true", help="install even if mmcv works")
    parser.add_argument("--check", action="store_true", help="only check; exit code 0 or 1")
    parser.add_argument("--dry-run", action="store_true", help="only print the plan")
    args = parser.parse_args(argv)
    if args.jobs is not None and args.jobs < 1:
        parser.error("--jobs: 1 or more")
    if args.version:
        stack = build.STACKS[args.stack]
        if not re.fullmatch(r"\d+\.\d+\.\d+\w*", args.version) or not build.accepts(
            stack, args.version
        ):
            parser.error(
                f"--version {args.version}: {stack.dist} >={stack.low},<{stack.high} is "
                f"accepted with --stack {stack.name}"
            )
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return the exit code."""
    args = parse_args(argv)
    if fcntl is None:
        say("This tool works on Linux and macOS; on Windows follow the mmcv documentation.")
        return 2
    commands = Commands()  # from here on a signal only takes effect where it leaves no trace
    try:
        tmp = Path(tempfile.mkdtemp(prefix="mmcv-build-"))
        commands.env["TMPDIR"] = str(tmp)  # a killed compiler leaves its files there
        try:
            return Installer(args, commands, tmp).run()
        finally:
            shutil.rmtree(tmp, ignore_errors=True)
    except Stop as stop:
        print(stop, file=sys.stderr, flush=True)
        return stop.code
    except OSError as error:
        hint = "is there room, and may you write there? (--cache-dir, TMPDIR)"
        print(f"{error}: {hint}", file=sys.stderr, flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
