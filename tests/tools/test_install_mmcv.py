"""tools/install_mmcv.py: what it decides, what it says, and that an interruption leaves no trace.

The compile itself (minutes) is not run here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from mmdet_maskr import mmcv_extension

TOOLS = Path(__file__).resolve().parents[2] / "tools"
TOOL = TOOLS / "install_mmcv.py"
sys.path.insert(0, str(TOOLS))

import _mmcv_build as build  # noqa: E402
import _mmcv_run as running  # noqa: E402
import install_mmcv as tool  # noqa: E402

CPU = {
    "torch": "2.13.0+cpu",
    "torch_git": "cf30153c",
    "cuda": None,
    "hip": None,
    "python": "cp311",
    "platform": "linux_x86_64",
}
OPENMMLAB, ONEDL = build.STACKS["openmmlab"], build.STACKS["onedl"]


def start(*arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(TOOL), *arguments],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(env or {})},
        # a test run in the background of a shell has SIGINT ignored, and hands that down
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(*arguments: str, **kwargs) -> tuple[int, str]:
    child = start(*arguments, **kwargs)
    output, _ = child.communicate(timeout=60)
    return child.returncode, output


# -- units ---------------------------------------------------------------------------------------

SOURCES = {
    "a.cpp": "void a() { int b = 0; }\n",
    "b.cpp": "// struct PreCalc { }\nvoid b(int (*f)(int)) { }\nTensor use(Tensor x);\n",
    "c.cpp": "void c() { struct Local { int x; }; b(); }\nint min(int a);\n",
    "d.cpp": "namespace { template <typename T> struct PreCalc { T w; }; }\nvoid d() {}\n",
    "e.cpp": "template <typename T>\nstruct PreCalc {\n  T w;\n};\nvoid e() { }\n",
    "f.cpp": "#define min(a, b) \\\n  ((a) < (b) ? (a) : (b))\nvoid f() { }\n",
    "g.cpp": "static const int kSize = 3;\n#define DECLARE(X) X\nvoid g() { }\n",
    "h.cpp": "constexpr float kSize = 4;\nvoid h() { }\n",
    "i.cpp": '#define DECLARE(X) X, X\nvoid i() { char* s = "}{"; }\n#define tmp\n#undef tmp\n',
    "j.cpp": 'void j() { int tmp; }\nvoid k(const char* s = "void a() {") { }\n',
}


def test_clashing_files_are_found_and_no_others():
    # d, e: one type twice, once in a namespace; f: a macro that c uses as a name; g, h: a constant;
    # DECLARE is a macro in g and i, which an #undef between them settles; Local is in a body.
    assert build.clashing(SOURCES) == {"d.cpp", "e.cpp", "f.cpp", "g.cpp", "h.cpp"}
    assert build.clashing(SOURCES, {"a.cpp"}) == build.clashing(SOURCES) | {"a.cpp"}


@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_group_holds_each_file_once(count):
    groups = build.group(SOURCES, count)
    assert sorted(name for names in groups for name in names) == sorted(SOURCES)
    for name in build.clashing(SOURCES):
        assert [name] in groups
    assert len(groups) == min(count, 5) + 5


def test_write_units_keeps_every_source(tmp_path):
    csrc = tmp_path / "pytorch"
    (csrc / "cpu").mkdir(parents=True)
    (csrc / "cuda").mkdir()
    for name, text in SOURCES.items():
        (csrc / "cpu" / name).write_text(text)
    for name in ("x.cpp", "y.cpp", "z.cpp", "roi_align.cpp"):
        (csrc / name).write_text(f"void main_{name[0]}() {{ }}\n")
    (csrc / "cuda" / "k.cu").write_text("__global__ void k() { }\n")
    (csrc / "cuda" / "bind.cpp").write_text("void bind() { }\n")
    assert build.write_units(csrc, jobs=1, cuda=True) == (4 + 7 + 1 + 1, 4 + 10 + 1 + 1)
    left = {
        str(path.relative_to(csrc)): path.read_text()
        for path in csrc.rglob("*.c*")
        if path.suffix in (".cpp", ".cu")
    }
    assert left["cuda/k.cu"] and left["cuda/bind.cpp"] == "void bind() { }\n"
    for name, text in SOURCES.items():  # each source is compiled once: as it is or by one include
        includes = sum(unit.count(f'#include "{name}.inc"') for unit in left.values())
        assert includes + (left.get(f"cpu/{name}") == text) == 1, name
        assert includes == (name not in build.clashing(SOURCES))
    unit = next(text for text in left.values() if '"i.cpp.inc"' in text)
    assert unit.startswith("#include <torch/extension.h>\n")
    assert '#include "i.cpp.inc"\n#undef DECLARE\n' in unit


def test_cuda_files_are_merged_but_for_those_that_clash(tmp_path):
    """Each once: in a unit that nvcc compiles, or as it is."""
    csrc = tmp_path / "pytorch"
    (csrc / "cuda").mkdir(parents=True)
    (csrc / "cpu").mkdir()
    free = [f"op{i}_cuda.cu" for i in range(12)]
    alone = ["iou3d_cuda.cu", "box_iou_rotated_cuda.cu", "nms_quadri_cuda.cu", "carafe_cuda.cu",
             "sparse_maxpool.cu"]  # fmt: skip
    for name in [*free, *alone]:
        (csrc / "cuda" / name).write_text(f"void {name.split('.')[0]}() {{ }}\n")
    units, files = build.write_units(csrc, jobs=2, cuda=True)
    left = {path.name: path.read_text() for path in (csrc / "cuda").glob("*.cu")}
    assert (units, files) == (6 + len(alone), len(free) + len(alone)) and len(left) == units
    for name in free:
        assert name not in left and (csrc / "cuda" / f"{name}.inc").exists()
        assert sum(text.count(f'#include "{name}.inc"') for text in left.values()) == 1
    assert set(alone) < set(left)
    assert not list((csrc / "cuda").glob("*.cpp"))


@pytest.mark.parametrize(
    ("torch", "standard"), [("2.13.1+cpu", "17"), ("2.14.0", "20"), ("3.0", "20")]
)
def test_standard_is_the_one_that_torch_needs(tmp_path, torch, standard):
    """For the C++ compiler, nvcc and MSVC's form of the option; nothing else changes."""
    setup = tmp_path / "setup.py"
    text = "args = {'cxx': ['-std=c++NN'], 'nvcc': ['-std=c++NN']}; win = '/std:c++NN'; n = 17\n"
    setup.write_text(text.replace("NN", "17"))
    assert build.set_standard(setup, torch) == ("c++20" if standard == "20" else None)
    assert setup.read_text() == text.replace("NN", standard)
    assert build.set_standard(setup, torch) is None  # done


# -- plan ----------------------------------------------------------------------------------------


def test_cache_key_tells_binaries_apart():
    keys = {
        build.cache_key(OPENMMLAB, "2.1.0", CPU | change, cpu_only=False)
        for change in (
            {},
            {"torch": "2.13.1+cpu"},
            {"torch": "2.13.0"},
            {"torch_git": "00000000"},
            {"python": "cp312"},
            {"platform": "linux_aarch64"},
            {"cuda": "13.0"},
            {"cuda": "12.8"},
            {"hip": "6.4"},
        )
    }
    assert len(keys) == 9
    cuda = CPU | {"cuda": "13.0"}
    others = {
        build.cache_key(OPENMMLAB, "2.0.1", CPU, False),
        build.cache_key(ONEDL, "2.1.0", CPU, False),
        build.cache_key(OPENMMLAB, "2.1.0", cuda, False, "9.0"),
        build.cache_key(OPENMMLAB, "2.1.0", cuda, False, "8.0;9.0+PTX"),
    }
    assert len(keys | others) == 13
    assert all("/" not in key and ";" not in key and " " not in key for key in keys | others)
    assert build.cache_key(
        OPENMMLAB, "2.1.0", cuda | {"torch": "2.13.0+cpu"}, cpu_only=True
    ) == build.cache_key(OPENMMLAB, "2.1.0", CPU, False, "9.0")


def test_prebuilt_index():
    assert build.prebuilt_index(OPENMMLAB, CPU, False).endswith("/dist/cpu/torch2.13/index.html")
    cuda = CPU | {"torch": "2.4.1+cu121", "cuda": "12.1"}
    assert build.prebuilt_index(OPENMMLAB, cuda, False).endswith("/cu121/torch2.4/index.html")
    assert build.prebuilt_index(ONEDL, cuda, False).endswith("/simple/cu121-torch2.4.1/")
    assert build.prebuilt_index(ONEDL, cuda, True).endswith("/simple/cpu-torch2.4.1/")


@pytest.mark.parametrize(
    "version, accepted",
    [("2.0.0", True), ("2.1.0", True), ("2.1.0+local", True), ("2.2.0", False), ("1.7.2", False)],
)
def test_accepted_versions(version, accepted):
    assert build.accepts(OPENMMLAB, version) is accepted


def test_jobs_and_estimate(tmp_path):
    assert build.choose_jobs(8, None) == 8
    assert build.choose_jobs(8, 11.0) == 4
    assert build.choose_jobs(8, 1.0) == 1
    assert build.estimate_minutes(2, unity=True) == pytest.approx(2.4)
    assert build.estimate_minutes(2, unity=False) == pytest.approx(22)
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  8388608 kB\n")
    (tmp_path / "max").write_text("max\n")
    assert build.free_memory_gib(tmp_path / "meminfo", tmp_path / "max") == 8
    (tmp_path / "max").write_text(f"{3 * 2**30}\n")
    assert build.free_memory_gib(tmp_path / "meminfo", tmp_path / "max") == 3
    assert build.free_memory_gib(tmp_path / "none", tmp_path / "none") is None


def test_parse_progress():
    assert build.parse_progress("running build_ext\n") is None
    assert build.parse_progress("[1/11] c++ -c a\nwarning: [3/4] b\n[2/11] c++ -c b") == (2, 11)


def test_build_env_is_cpu_only_unless_a_toolkit_is_given(tmp_path):
    facts = CPU | {"executable": sys.executable, "torch_dir": str(tmp_path / "site" / "torch")}
    env = {"FORCE_CUDA": "1", "FORCE_MLU": "1", "CFLAGS": "-march=native", "PATH": "/bin"}
    cpu = build.build_env(env, facts, tmp_path, 3, None)
    assert (cpu["FORCE_CUDA"], cpu["CUDA_VISIBLE_DEVICES"], cpu["MAX_JOBS"]) == ("0", "", "3")
    assert cpu["CFLAGS"] == "-march=native -O2 -g0" and "FORCE_MLU" not in cpu
    (tmp_path / "site" / "nvidia" / "cu13" / "include").mkdir(parents=True)
    cuda = build.build_env(env | {"TORCH_CUDA_ARCH_LIST": "9.0"}, facts, tmp_path, 3, "/cuda")
    assert (cuda["FORCE_CUDA"], cuda["CUDA_HOME"]) == ("1", "/cuda")
    assert cuda["TORCH_CUDA_ARCH_LIST"] == "9.0" and "CUDA_VISIBLE_DEVICES" not in cuda
    assert cuda["CPLUS_INCLUDE_PATH"] == str(tmp_path / "site" / "nvidia" / "cu13" / "include")


def test_find_nvcc_follows_a_link_to_the_toolkit(tmp_path):
    home = tmp_path / "cuda-12.8"
    (home / "bin").mkdir(parents=True)
    (home / "include").mkdir()
    nvcc = home / "bin" / "nvcc"
    nvcc.write_text('#!/bin/sh\necho "Cuda compilation tools, release 12.8, V12.8.93"\n')
    nvcc.chmod(0o755)
    (home / "include" / "cuda_runtime.h").touch()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "nvcc").symlink_to(nvcc)
    assert build.find_nvcc({"PATH": str(tmp_path / "links")}) == (str(home), "12.8")
    assert build.find_nvcc({"CUDA_HOME": str(home), "PATH": "/nowhere"}) == (str(home), "12.8")


# -- cache ---------------------------------------------------------------------------------------


@pytest.fixture
def wheel(tmp_path) -> Path:
    path = tmp_path / "mmcv-2.1.0-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mmcv/__init__.py", "")
        archive.writestr("mmcv/_ext.cpython-311.so", bytes(range(256)) * 40)
    return path


def test_stored_wheel_comes_back(wheel, tmp_path):
    entry = tmp_path / "cache" / "key"
    assert build.load_cached(entry) == (None, None)
    stored = build.store_wheel(wheel, entry)
    assert build.load_cached(entry) == (stored, None)
    assert stored.read_bytes() == wheel.read_bytes()
    assert build.store_wheel(wheel, entry) == stored  # over an older one
    assert [path.name for path in entry.parent.iterdir()] == ["key"]


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-100]), "sha256"),
        (
            lambda file: file.write_bytes(
                file.read_bytes().replace(b"\x10\x11\x12", b"\x10\x00\x12", 1)
            ),
            "sha256",
        ),
        (lambda file: file.unlink(), "cannot be read"),
        (lambda file: (file.parent / "wheel.json").write_text("{}"), "record"),
        (lambda file: (file.parent / "wheel.json").unlink(), "record"),
    ],
)
def test_corrupt_cached_wheel_is_noticed(wheel, tmp_path, harm, message):
    entry = tmp_path / "cache" / "key"
    harm(build.store_wheel(wheel, entry))
    found, problem = build.load_cached(entry)
    assert found is None and message in problem


def test_wheel_problem_without_a_recorded_hash(wheel, tmp_path):
    assert build.wheel_problem(wheel) is None
    wheel.write_bytes(wheel.read_bytes().replace(b"\x10\x11\x12", b"\x10\x00\x12", 1))
    assert "damaged" in build.wheel_problem(wheel)
    with zipfile.ZipFile(tmp_path / "lite.whl", "w") as archive:
        archive.writestr("mmcv/__init__.py", "")
    assert "no compiled ops" in build.wheel_problem(tmp_path / "lite.whl")


def test_leftovers_of_a_killed_pip(tmp_path):
    good = ["mmcv-2.1.0.dist-info", "mmcv", "mmcv_lite-2.0.0.dist-info", "~other", "mmengine"]
    bad = ["~mcv", "~-cv", "~mcv-2.1.0.dist-info", "mmcv-2.0.0.dist-info"]
    for name in good + bad:
        (tmp_path / name).mkdir()
    for name in ("RECORD", "METADATA"):
        (tmp_path / "mmcv-2.1.0.dist-info" / name).touch()
    assert {path.name for path in tool.leftovers(tmp_path, "mmcv")} == set(bad)


# -- the tool as a user runs it ------------------------------------------------------------------


def stack_here() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        version("onedl-mmcv")
    except PackageNotFoundError:
        return "openmmlab"
    return "onedl"


compiled = pytest.mark.skipif(
    not mmcv_extension.is_compiled(), reason="needs MMCV's compiled extension"
)


needs_compiler = pytest.mark.skipif(
    shutil.which("c++") is None, reason="needs a C++ compiler, as the tool does"
)


@compiled
def test_check_passes_here():
    code, output = run("--check", "--stack", stack_here())
    assert code == 0 and "RoIAlign and NMS give the right numbers" in output, output


@compiled
def test_nothing_to_do_changes_nothing(tmp_path):
    begin = time.monotonic()
    code, output = run("--stack", stack_here(), "--cache-dir", str(tmp_path / "cache"))
    assert code == 0 and output.startswith("Nothing to do") and output.count("\n") == 1, output
    assert not (tmp_path / "cache").exists()
    assert time.monotonic() - begin < 15  # about 1.5 s on an idle machine


@pytest.fixture
def fake_mmcv(tmp_path) -> Path:
    """A site folder with an mmcv 2.1.0 that shadows the installed one; its _ext is no library."""
    site = tmp_path / "site"
    for name, text in {
        "mmcv/__init__.py": "",
        "mmcv/ops.py": "",
        "mmcv/_ext.so": "not a library",
        "mmcv-2.1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: mmcv\nVersion: 2.1.0\n",
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    files = [path for path in site.rglob("*") if path.is_file()]
    lines = [f"{path.relative_to(site)},,{path.stat().st_size}" for path in files]
    (site / "mmcv-2.1.0.dist-info" / "RECORD").write_text("\n".join(lines) + "\n")
    return site


@pytest.mark.skipif(stack_here() != "openmmlab", reason="the other stack refuses before it looks")
@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda mmcv: None, "compiled for another torch"),
        (lambda mmcv: (mmcv / "_ext.so").unlink(), "incomplete: mmcv/_ext.so"),
        (lambda mmcv: (mmcv / "ops.py").write_text("cut"), "incomplete: mmcv/ops.py"),
        (lambda mmcv: (mmcv.parent / "mmcv-2.1.0.dist-info" / "RECORD").unlink(), "incomplete"),
    ],
)
def test_check_finds_what_is_wrong(fake_mmcv, stub_env, harm, message):
    harm(fake_mmcv / "mmcv")
    path = os.pathsep.join([str(fake_mmcv), stub_env["PYTHONPATH"]])
    code, output = run("--check", env=stub_env | {"PYTHONPATH": path, "HIDE_MMCV": ""})
    assert code == 1 and message in output, output


def test_missing_torch(tmp_path):
    stub = tmp_path / "sitecustomize.py"
    stub.write_text('import sys\nsys.path[:] = [p for p in sys.path if "site-packages" not in p]\n')
    code, output = run(env={"PYTHONPATH": str(tmp_path)})
    assert code == 2
    assert output.startswith("torch is not installed") and "pip install torch" in output
    assert output.count("\n") == 1, output


def test_other_stack_is_refused():
    other = {"openmmlab": "onedl", "onedl": "openmmlab"}[stack_here()]
    code, output = run("--stack", other)
    assert code == 2 and "owns the package folder `mmcv`" in output and "pip uninstall" in output


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--version", "2.2.0"), ">=2.0.0,<2.2.0"),
        (("--version", "latest"), ">=2.0.0,<2.2.0"),
        (("--jobs", "0"), "--jobs"),
        (("--stack", "pytorch"), "onedl"),
    ],
)
def test_bad_options(arguments, message):
    code, output = run(*arguments)
    assert code == 2 and message in output


@pytest.fixture
def stub_env(tmp_path) -> dict[str, str]:
    """An environment whose torch and distributions are stubs: nothing of mmcv, no pip network."""
    stubs = tmp_path / "stubs"
    (stubs / "torch").mkdir(parents=True)
    (stubs / "torch" / "__init__.py").write_text(
        '__version__ = "2.13.0"\n'
        'class version: cuda = CUDA; hip = None; git_version = "0123456789"\n'
        "class cuda: is_available = staticmethod(lambda: False)\n".replace("CUDA", "None")
    )
    (stubs / "sitecustomize.py").write_text(
        "import importlib.metadata as m, importlib.machinery as f, os\n"
        'if os.environ.get("HIDE_MMCV"):\n'
        "    old, find = m.distributions, f.PathFinder.find_spec.__func__\n"
        '    m.distributions = lambda **k: [] if "mmcv" in k.get("name", "") else old(**k)\n'
        "    f.PathFinder.find_spec = classmethod(\n"
        '        lambda c, n, *a: None if n == "mmcv" else find(c, n, *a))\n'
    )
    return {
        "PYTHONPATH": str(stubs),
        "HIDE_MMCV": "1",
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "xdg"),
        "TMPDIR": str(tmp_path),
    }


def test_missing_compiler(stub_env, tmp_path):
    (tmp_path / "bin").mkdir()
    code, output = run("--no-prebuilt", env=stub_env | {"PATH": str(tmp_path / "bin"), "CXX": ""})
    assert code == 2 and "apt-get install g++" in output and "dnf install" in output, output
    assert not list(tmp_path.glob("mmcv-build-*"))
    assert [path.name for path in (tmp_path / "xdg" / "mmdet_maskr" / "wheels").iterdir()] == [
        ".lock"
    ]


@needs_compiler
def test_cuda_torch_without_toolkit(stub_env, tmp_path):
    torch = Path(stub_env["PYTHONPATH"], "torch", "__init__.py")
    torch.write_text(torch.read_text().replace("cuda = None", 'cuda = "99.1"'))
    code, output = run("--no-prebuilt", env=stub_env)
    assert code == 2 and "CUDA 99.1" in output
    assert "--cpu-only" in output and "CUDA_HOME" in output, output
    code, output = run("--dry-run", "--cpu-only", env=stub_env)
    assert code == 0 and "CPU ops" in output and "0123456" in output, output


@needs_compiler
def test_dry_run_touches_nothing(stub_env, tmp_path):
    code, output = run("--dry-run", env=stub_env)
    assert code == 0 and "torch 2.13.0" in output and "merged" in output, output
    assert not (tmp_path / "xdg").exists()


@needs_compiler
def test_failed_compile_leaves_a_log_and_falls_back(stub_env, tmp_path):
    """The merged build fails, then the ordinary one: exit 1, the last lines, the log's path."""
    fake_pip(
        stub_env, tmp_path, 'import sys; print("[1/2] c++ x\\nx.cpp:1: error: no"); sys.exit(1)'
    )
    code, output = run("--no-prebuilt", env=stub_env)
    cache = tmp_path / "xdg" / "mmdet_maskr" / "wheels"
    logs = list(cache.glob("*.log"))
    assert code == 1 and len(logs) == 1 and str(logs[0]) in output, output
    assert "trying the ordinary build" in output and "x.cpp:1: error: no" in output
    assert logs[0].read_text().count("error: no") == 2
    assert not list(tmp_path.glob("mmcv-build-*"))


@needs_compiler
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_build_leaves_nothing(stub_env, tmp_path, number):
    """A signal while a compiler runs in a process group of its own as under ninja, deaf or not."""
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if number == signal.SIGTERM else "0"
    fake_pip(
        stub_env,
        tmp_path,
        f"""
import subprocess, sys, tempfile, time
tempfile.mkstemp(prefix='cc-')
code = 'import signal, time; {deaf}; time.sleep(99)'
child = subprocess.Popen([sys.executable, '-c', code], process_group=0) if (
    sys.version_info >= (3, 11)) else subprocess.Popen([sys.executable, '-c', code])
open({str(tmp_path / "compiler.pid")!r}, 'w').write(str(child.pid))
time.sleep(99)
""",
    )
    child = start("--no-prebuilt", env=stub_env)
    until = time.monotonic() + 20
    pid_file = tmp_path / "compiler.pid"
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    child.send_signal(number)
    output, _ = child.communicate(timeout=15)
    assert child.returncode == 128 + number, output
    assert "nothing is left behind" in output
    stat = Path(f"/proc/{pid_file.read_text()}/stat")
    assert not list(tmp_path.glob("cc-*"))  # what a compiler keeps in TMPDIR
    assert not stat.exists() or ") Z " in stat.read_text()
    assert not list(tmp_path.glob("mmcv-build-*"))
    cache = tmp_path / "xdg" / "mmdet_maskr" / "wheels"
    assert [path.name for path in cache.iterdir()] == [".lock"]
    assert not (tmp_path / "installed").exists()


def test_second_run_waits_for_the_first(tmp_path):
    commands = running.Commands()
    try:
        with running.CacheLock(tmp_path, commands):
            child = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "import sys, pathlib, _mmcv_run as r\n"
                    "with r.CacheLock(pathlib.Path(sys.argv[1]), r.Commands()) as waited:\n"
                    "    print(waited)",
                    str(tmp_path),
                ],
                text=True,
                stdout=subprocess.PIPE,
                cwd=TOOLS,
            )
            assert "waiting" in child.stdout.readline()
            assert child.poll() is None
        assert child.communicate(timeout=10)[0] == "True\n"
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(
                number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            )


def fake_pip(env: dict[str, str], tmp_path: Path, setup_py: str) -> None:
    """Put a pip into the stub environment that 'downloads' an sdist with the given setup.py."""
    source = tmp_path / "mmcv-2.1.0"
    csrc = source / "mmcv" / "ops" / "csrc" / "pytorch" / "cpu"
    csrc.mkdir(parents=True)
    (csrc / "x.cpp").write_text("void x() { }\n")
    (source / "setup.py").write_text(setup_py)
    with tarfile.open(tmp_path / "sdist.tar.gz", "w:gz") as archive:
        archive.add(source, "mmcv-2.1.0")
    pip = Path(env["PYTHONPATH"], "pip")
    pip.mkdir()
    (pip / "__init__.py").touch()
    (pip / "__main__.py").write_text(
        f"""
import pathlib, shutil, sys
if 'download' in sys.argv:
    target = pathlib.Path(sys.argv[sys.argv.index('--dest') + 1])
    target.mkdir()
    shutil.copy({str(tmp_path / "sdist.tar.gz")!r}, target / 'mmcv-2.1.0.tar.gz')
elif '--target' not in sys.argv:
    pathlib.Path({str(tmp_path / "installed")!r}).write_text(json.dumps(sys.argv))
""".replace("import pathlib", "import json, pathlib")
    )
