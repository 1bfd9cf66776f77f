"""What install_mmcv.py knows about mmcv's sources, wheels and compilers; runs nothing but nvcc.

Words: a *unit* is one C++ translation unit. mmcv has some 80 small source files, each of
which parses all of torch's headers; a few units that include many of them take a tenth of the time.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Compile times measured with torch 2.13 on 2 cores: 2.4 min as units, 22 min file by file.
UNITY_CORE_MINUTES, PLAIN_CORE_MINUTES, CU_FILE_CORE_MINUTES = 4.8, 44.0, 1.0
GIB_PER_JOB = 2.5
FIRST_CXX20 = (2, 14, 0)  # the first torch whose headers need C++20
# Seen to clash among mmcv 2's cpu/*.cpp; `clashing` finds them by itself, this is the safety net.
KNOWN_CLASHES = {
    "psamask.cpp",
    "roi_align.cpp",
    "roi_align_rotated.cpp",
    "rotated_feature_align.cpp",
    "bezier_align.cpp",
}
# CUDA files that do not share a unit, of mmcv 2.1 (58 files in 22 units: 17 core-minutes, not 58).
CUDA_ALONE = (
    "iou3d|roiaware_pool3d|convex_iou|min_area_polygons|box_iou_\\w+|nms_(quadri|rotated)|carafe\\w*|"
    "sparse_\\w+|spconv\\w*"
)


@dataclass(frozen=True)
class Stack:
    """A family of distributions: OpenMMLab's own, or the maintained fork with the same imports."""

    name: str
    dist: str  # the distribution that owns the folder mmcv
    version: str  # installed unless --version says otherwise
    low: str  # accepted: low <= version < high
    high: str
    index: str  # of prebuilt wheels; filled with cuda ('cpu', 'cu121') and torch
    finder: str  # the pip option that takes the index


STACKS = {
    "openmmlab": Stack(
        "openmmlab",
        "mmcv",
        "2.1.0",
        "2.0.0",
        "2.2.0",
        "https://download.openmmlab.com/mmcv/dist/{cuda}/torch{torch2}/index.html",
        "--find-links",
    ),
    "onedl": Stack(
        "onedl",
        "onedl-mmcv",
        "2.3.6",
        "2.2.0",
        "2.4.0",
        "https://mmwheels.onedl.ai/simple/{cuda}-torch{torch3}/",
        "--index-url",
    ),
}


def version_tuple(version: str) -> tuple[int, ...]:
    """(2, 1, 0) for '2.1.0', '2.1.0+cpu' or '2.1'; ValueError where it does not start so."""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    if not match:
        raise ValueError(f"not a version: {version!r}")
    return tuple(int(part or 0) for part in match.groups())


def accepts(stack: Stack, version: str) -> bool:
    """Whether this plugin works with that version of the stack's mmcv."""
    return version_tuple(stack.low) <= version_tuple(version) < version_tuple(stack.high)


def prebuilt_index(stack: Stack, facts: Mapping[str, Any], cpu_only: bool) -> str:
    """The address under which the stack's makers would keep a wheel for this torch."""
    torch3 = re.split(r"[+a-z]", facts["torch"])[0]
    cuda = "cpu" if cpu_only or not facts["cuda"] else "cu" + facts["cuda"].replace(".", "")
    return stack.index.format(cuda=cuda, torch2=".".join(torch3.split(".")[:2]), torch3=torch3)


def cache_key(
    stack: Stack, version: str, facts: Mapping[str, Any], cpu_only: bool, arch_list: str = ""
) -> str:
    """Name of the cache entry of a wheel: all that decides whether its binary fits.

    arch_list: TORCH_CUDA_ARCH_LIST or the GPUs here, which is what CUDA ops are compiled for.
    """
    device = f"cuda{facts['cuda']}" if facts["cuda"] else f"rocm{facts['hip'] or ''}"
    if cpu_only or not (facts["cuda"] or facts["hip"]):
        device = "cpu"
    elif arch_list:
        device += "-sm" + re.sub(r"[^\w.+]+", "_", arch_list.strip())
    return "-".join(
        [
            stack.dist.replace("-", "_"),
            version,
            f"torch{facts['torch']}",
            facts["torch_git"] or "unknown",
            facts["python"],
            facts["platform"],
            device,
        ]
    )


def wheel_problem(wheel: Path, sha256: str | None = None) -> str | None:
    """Say why a wheel file cannot be used; None where it can. sha256: as recorded, if it was."""
    try:
        if sha256 and hashlib.sha256(wheel.read_bytes()).hexdigest() != sha256:
            return "its sha256 is not the recorded one"
        with zipfile.ZipFile(wheel) as archive:
            bad = archive.testzip()
            if bad:
                return f"its member {bad} is damaged"
            if not any(re.match(r"mmcv/_ext\..+", name) for name in archive.namelist()):
                return "it holds no compiled ops (mmcv/_ext)"
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        return f"it cannot be read: {error}"
    return None


def load_cached(entry: Path) -> tuple[Path | None, str | None]:
    """(wheel, None), (None, what is wrong) or, where nothing is, (None, None). entry: a folder."""
    if not entry.is_dir():
        return None, None
    try:
        record = json.loads((entry / "wheel.json").read_text(encoding="utf-8"))
        wheel = entry / Path(record["file"]).name
        problem = wheel_problem(wheel, record["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return None, f"its record cannot be read: {error}"
    return (None, problem) if problem else (wheel, None)


def store_wheel(wheel: Path, entry: Path) -> Path:
    """Put a wheel and its sha256 into the cache, all or nothing (a rename); return its path."""
    partial = entry.with_name(f".partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        shutil.copy2(wheel, partial / wheel.name)
        digest = hashlib.sha256((partial / wheel.name).read_bytes()).hexdigest()
        record = {"file": wheel.name, "sha256": digest}
        (partial / "wheel.json").write_text(json.dumps(record), encoding="utf-8")
        shutil.rmtree(entry, ignore_errors=True)
        partial.rename(entry)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return entry / wheel.name


def usable_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory_gib(
    meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")
) -> float | None:
    """Memory that compilers may take, in GiB, a container's limit respected; None if unknown."""
    found = []
    for path, pattern, unit in ((meminfo, r"MemAvailable:\s+(\d+) kB", 1024), (limit, r"(\d+)", 1)):
        try:
            match = re.search(pattern, path.read_text(encoding="utf-8"))
        except OSError:
            continue
        if match:
            found.append(int(match[1]) * unit / 2**30)
    return min(found, default=None)


def choose_jobs(cpus: int, memory_gib: float | None) -> int:
    """Compilers at once: one a core, as far as the memory goes; at least one."""
    return cpus if memory_gib is None else max(1, min(cpus, int(memory_gib / GIB_PER_JOB)))


def estimate_minutes(jobs: int, unity: bool, cu_files: int = 0) -> float:
    """Rough compile time in minutes; `cu_files` are compiled one by one, for one GPU generation."""
    work = (UNITY_CORE_MINUTES if unity else PLAIN_CORE_MINUTES) + cu_files * CU_FILE_CORE_MINUTES
    return max(work / jobs, 0.8)


def parse_progress(output: str) -> tuple[int, int] | None:
    """(files compiled, files in all) from ninja's output so far, None before its first line."""
    found = re.findall(r"^\[(\d+)/(\d+)\] ", output, flags=re.MULTILINE)
    return (int(found[-1][0]), int(found[-1][1])) if found else None


def _file_scope(source: str) -> str:
    """C++ source without comments, strings, preprocessor lines and bodies; namespaces opened up."""
    source = re.sub(r"//[^\n]*|/\*.*?\*/", " ", source, flags=re.DOTALL)
    source = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', source)
    source = re.sub(r"^[ \t]*#(?:\\\n|[^\n])*", " ", source, flags=re.MULTILINE)
    kept: list[str] = []
    depth = 0
    for part in re.split(r"([{}])", source):
        if part == "{":
            before = "".join(kept[-2:])
            if depth == 0 and re.search(r'(\bnamespace[\s\w:]*|\bextern\s*"")\s*$', before):
                continue
            depth += 1
            if depth == 1:
                kept.append("{")
        elif part == "}":
            if depth == 1:
                kept.append("}")
            depth = max(0, depth - 1)
        elif depth == 0:
            kept.append(part)
    return "".join(kept)


def definitions(source: str) -> set[str]:
    """Names of the functions, types and constants that a C++ source defines at file scope."""
    scope = _file_scope(source)
    functions = re.findall(r"(\w+)\s*\([^;{}]*?\)\s*(?:const\s*)?\{", scope)
    types = re.findall(r"\b(?:struct|class|enum)\s+(\w+)[^;{}()]*\{", scope)
    constants = re.findall(r"\b(?:static|const|constexpr)\s[^;{}()]*?(\w+)\s*=", scope)
    return {*functions, *types, *constants}


def macros(source: str) -> set[str]:
    """Names that a source #defines and leaves defined at its end."""
    return set(re.findall(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", source, flags=re.MULTILINE)) - set(
        re.findall(r"^[ \t]*#[ \t]*undef[ \t]+(\w+)", source, flags=re.MULTILINE)
    )


def clashing(sources: Mapping[str, str], known: Set[str] = frozenset()) -> set[str]:
    """Names of the files that cannot share a unit with the others.

    Those are files that define a name which another file defines too, and files with a macro that
    another file uses as an ordinary name (psamask.cpp's `min` and `max`); those in `known` too.
    """
    defined = {name: definitions(text) for name, text in sources.items()}
    macro = {name: macros(text) for name, text in sources.items()}
    words = {name: set(re.findall(r"\w+", text)) for name, text in sources.items()}
    alone = {name for name in sources if name in known}
    for name in sources:
        for other in sources:
            if name != other and (
                defined[name] & defined[other] or macro[name] & (words[other] - macro[other])
            ):
                alone.add(name)
    return alone


def group(sources: Mapping[str, str], count: int, known: Set[str] = frozenset()) -> list[list[str]]:
    """Deal file names out to `count` units of like size; clashing files get one each besides."""
    alone = clashing(sources, known)
    free = sorted(
        (name for name in sources if name not in alone),
        key=lambda name: (-len(sources[name]), name),
    )
    bins: list[list[str]] = [[] for _ in range(min(count, len(free)))]
    for name in free:
        min(bins, key=lambda names: sum(len(sources[n]) for n in names)).append(name)
    return [sorted(names) for names in bins] + [[name] for name in sorted(alone)]


def write_units(csrc: Path, jobs: int, cuda: bool) -> tuple[int, int]:
    """Merge mmcv's .cpp files into units, in place; return (units, files merged into them).

    csrc: the unpacked mmcv/ops/csrc/pytorch. A merged foo.cpp becomes foo.cpp.inc, which setup.py's
    globs do not see and which finds its neighbors' headers as before.
    cuda: whether cuda/*.cpp and cuda/*.cu are compiled at all; the latter become unit_N.cu.
    """
    units = files = 0
    none: frozenset[str] = frozenset()
    folders = [(csrc, 2, none, "cpp"), (csrc / "cpu", 1, frozenset(KNOWN_CLASHES), "cpp")]
    cuda_folders = [(csrc / "cuda", 1, none, "cpp"), (csrc / "cuda", 3, none, "cu")]
    for folder, share, known, suffix in folders + cuda_folders * cuda:
        sources = {
            path.name: path.read_text(encoding="utf-8", errors="replace")
            for path in sorted(folder.glob(f"*.{suffix}"))
        }
        if suffix == "cu":
            pattern = re.compile(rf"({CUDA_ALONE})(_cuda)?\.cu")
            known = frozenset(name for name in sources if pattern.fullmatch(name))
        for index, names in enumerate(group(sources, max(2, jobs) * share, known)):
            units, files = units + 1, files + len(names)
            if len(names) == 1:
                continue  # it stays as it is
            lines = ["#include <torch/extension.h>"]
            for name in names:
                (folder / name).rename(folder / f"{name}.inc")
                lines.append(f'#include "{name}.inc"')
                lines += [f"#undef {macro}" for macro in sorted(macros(sources[name]))]
            (folder / f"unit_{index}.{suffix}").write_text(
                "\n".join(lines) + "\n", encoding="utf-8"
            )
    return units, files


def set_standard(setup: Path, torch: str) -> str | None:
    """Let mmcv's setup.py ask for the C++ standard that torch's headers need; return it if changed.

    mmcv 2.1 passes -std=c++17 (older releases c++14) to the C++ compiler and nvcc; torch from 2.14
    on needs C++20.
    setup: mmcv's setup.py. torch: its version.
    """
    if version_tuple(torch) < FIRST_CXX20:
        return None
    text = setup.read_text(encoding="utf-8")
    changed = re.sub(r"(?<=[-/]std[=:]c\+\+)1[147]\b", "20", text)
    if changed == text:
        return None
    setup.write_text(changed, encoding="utf-8")
    return "c++20"


def find_nvcc(env: Mapping[str, str]) -> tuple[str, str] | None:
    """(CUDA_HOME, version such as '12.8') of the nvcc that torch would use, or None.

    CUDA_HOME and CUDA_PATH come first, then the PATH (links resolved), then /usr/local/cuda.
    """
    on_path = shutil.which("nvcc", path=env.get("PATH"))
    homes = [
        env.get("CUDA_HOME"),
        env.get("CUDA_PATH"),
        str(Path(on_path).resolve().parent.parent) if on_path else None,
        "/usr/local/cuda",
    ]
    for home in filter(None, homes):
        nvcc = Path(home, "bin", "nvcc")
        if nvcc.is_file() and Path(home, "include", "cuda_runtime.h").is_file():
            text = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout
            match = re.search(r"release (\d+\.\d+)", text)
            if match:
                return home, match[1]
    return None


def build_env(
    env: Mapping[str, str], facts: Mapping[str, Any], tools: Path, jobs: int, cuda_home: str | None
) -> dict[str, str]:
    """Environment of the build: CPU ops only unless `cuda_home` is given.

    tools: the folder that pip filled with setuptools, wheel, ninja and psutil.
    """
    new = {
        key: value
        for key, value in env.items()
        if key
        not in (
            "FORCE_CUDA",
            "FORCE_MLU",
            "FORCE_MPS",
            "FORCE_NPU",
            "FORCE_MUSA",
            "MMCV_WITH_DIOPI",
            "PYTHONHOME",
        )
    }
    new["PYTHONPATH"] = os.pathsep.join(filter(None, [str(tools), env.get("PYTHONPATH")]))
    new["PATH"] = os.pathsep.join(
        [str(tools / "bin"), str(Path(facts["executable"]).parent), env.get("PATH", os.defpath)]
    )
    new |= {
        "MMCV_WITH_OPS": "1",
        "MAX_JOBS": str(jobs),
        "PYTHONUNBUFFERED": "1",
        "CFLAGS": (env.get("CFLAGS", "") + " -O2 -g0").strip(),
        "CXXFLAGS": (env.get("CXXFLAGS", "") + " -O2 -g0").strip(),
    }
    if not cuda_home:
        return new | {"FORCE_CUDA": "0", "CUDA_VISIBLE_DEVICES": ""}
    if not Path(cuda_home, "include", "cublas_v2.h").is_file():
        # A toolkit without the libraries' headers: those that pip installed with torch will do.
        # CPLUS_INCLUDE_PATH is searched after the toolkit's own folder.
        pip_headers = sorted(Path(facts["torch_dir"]).parent.glob("nvidia/*/include"))
        found = [str(path) for path in pip_headers] + [env.get("CPLUS_INCLUDE_PATH", "")]
        new["CPLUS_INCLUDE_PATH"] = os.pathsep.join(filter(None, found))
    return new | {"FORCE_CUDA": "1", "CUDA_HOME": cuda_home}
