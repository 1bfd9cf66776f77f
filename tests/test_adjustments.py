"""What is changed in other packages stands in one file, each change with its reason."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mmengine.config.config as mmengine_config
import mmengine.registry.registry as mmengine_registry
import pytest
from mmengine.config import Config
from mmengine.fileio.handlers import file_handlers
from mmengine.runner import checkpoint

import mmdet_maskr.engine  # noqa: F401  with the first part, lasting changes are made
from mmdet_maskr import adjustments
from mmdet_maskr.build_notes import notes_of

ADJUSTMENTS = "adjustments.py"
# Calls that change another package's tables, or a whole process.
CHANGING_CALLS = {"add_safe_globals", "clear_safe_globals", "register_scheme", "register_handler",
                  "set_default_dtype"}  # fmt: skip
SWITCHES = ("os.environ", "torch.backends.")  # made to be set by programs
FRAMES = {"f_locals", "f_globals", "f_back", "tb_frame", "_getframe", "currentframe"}
# Loaders and loops are built in the class that they have; models are rewritten by deploy alone.
CLASS_SWAPS = {"deploy/fast_forms.py"}
# Errors are placed by the frames of a pipeline's transforms.
FRAME_READERS = {"datasets/unreadable.py"}


def imported_names(tree: ast.AST) -> set[str]:
    """Names that stand for modules, classes and functions of other packages."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("mmdet_maskr"):
            names |= {alias.asname or alias.name for alias in node.names}
    for node in ast.walk(tree):  # module = importlib.import_module("...")
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if "import_module" in ast.unparse(node.value.func):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def root_of(node: ast.AST) -> str | None:
    """The name that an attribute or item is of."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        if isinstance(node, ast.Call):
            if "import_module" in ast.unparse(node.func):
                return "import_module"
            return None
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def changes(source: str) -> Iterator[str]:
    """Lines that change another package, swap a class, or read frames."""
    tree = ast.parse(source)
    foreign = imported_names(tree) | {"import_module"}
    for node in ast.walk(tree):
        targets: list[ast.AST] = []
        if isinstance(node, ast.Assign):
            targets = list(node.targets)
        elif isinstance(node, ast.AnnAssign | ast.AugAssign):
            targets = [node.target]
        elif isinstance(node, ast.Delete):
            targets = list(node.targets)
        for target in targets:
            if not isinstance(target, ast.Attribute | ast.Subscript):
                continue
            where = f"{node.lineno}: {ast.unparse(target)}"
            if isinstance(target, ast.Attribute) and target.attr == "__class__":
                yield f"class {where}"
            elif root_of(target) in foreign and not ast.unparse(target).startswith(SWITCHES):
                yield f"set {where}"
        if isinstance(node, ast.Attribute) and node.attr in FRAMES:
            yield f"frame {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            first = root_of(node.args[0]) if node.args else None
            if name in ("setattr", "delattr") and first in foreign:
                yield f"set {node.lineno}: {ast.unparse(node)}"
            if name.rpartition(".")[2] in CHANGING_CALLS:
                yield f"set {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load = print",
        "import mmengine.runner.checkpoint as c\nc.CheckpointLoader._schemes[''] = print",
        "def f():\n    from mmengine.config import Config\n    setattr(Config, 'fromfile', print)",
        "import importlib\nm = importlib.import_module('mmcv')\nm._ext = 1",
        "import importlib\nimportlib.import_module('mmcv')._ext = 1",
        "import sys\nsys.modules['mmcv._ext'] = 1",
        "import torch\ntorch.serialization.add_safe_globals([print])",
        "from mmengine.registry import Registry\ndel Registry.build",
        "def f(loader):\n    loader.__class__ = int",
        "import sys\nsys._getframe(1)",
        "def f(tb):\n    return tb.tb_frame.f_locals",
    ],
)
def test_changes_are_seen(source: str):
    """The rule can fail: each of these breaks it."""
    assert list(changes(source))


def test_own_things_are_no_changes():
    source = (
        "import os\nfrom mmdet_maskr import compat\nos.environ['A'] = '1'\n"
        "class A:\n    def f(self, x):\n        self.x = x\n        x.y = 1\n        x[0] = 1\n"
    )
    assert list(changes(source)) == []


def test_no_other_file_changes_other_packages(repo: Path):
    package = repo / "mmdet_maskr"
    found = {}
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package).as_posix()
        lines = list(changes(file.read_text(encoding="utf-8")))
        if name in CLASS_SWAPS:
            lines = [line for line in lines if not line.startswith("class ")]
        if name in FRAME_READERS:
            lines = [line for line in lines if not line.startswith("frame ")]
        if lines and name != ADJUSTMENTS:
            found[name] = lines
    assert found == {}


def test_each_change_has_its_reason():
    changes = [*adjustments.LASTING, *adjustments.IMPORTED, *adjustments.OWN_CALLS]
    assert len(changes) > 20 and all(len(change.why) > 20 for change in changes)
    assert len({(change.owner, change.name) for change in changes}) == len(changes)


def state() -> list:
    """What the scoped changes change."""
    names = ("fromstring", "_file2dict", "_get_cfg_path", "_substitute_predefined_vars")
    return [
        *(getattr(Config, name) for name in names),
        *file_handlers.values(),
        *checkpoint.CheckpointLoader._schemes.items(),
        checkpoint.load_url,
        mmengine_registry.get_object_from_string,
        mmengine_registry.import_module,
        mmengine_registry.Registry.build,
        mmengine_config.FormatCode,
    ]


def test_scoped_changes_end_with_their_scope():
    before = state()
    with pytest.raises(KeyError), adjustments.own_calls():
        inner = state()
        with adjustments.own_calls():
            assert state() == inner
        assert state() == inner  # until the outermost one ends
        raise KeyError
    assert state() == before
    assert len([1 for a, b in zip(before, inner, strict=True) if a != b]) >= len(
        adjustments.OWN_CALLS
    )


def test_errors_of_building_are_noted_in_the_scope_alone():
    registry = mmengine_registry.Registry("noted")
    with pytest.raises(KeyError) as error:
        registry.build(dict(type="X"))
    assert notes_of(error.value) == []
    with pytest.raises(KeyError) as error, adjustments.own_calls():
        registry.build(dict(type="X"))
    assert [note.cfg for note in notes_of(error.value)] == [dict(type="X")]


def test_a_config_is_formatted_once():
    """The same text is; another is formatted anew, and as outside of the scope."""
    cfg = Config(dict(model=dict(type="A", sizes=[1, 2, 3]), lr=0.1))
    expected = cfg.pretty_text
    with adjustments.own_calls():
        first = cfg.pretty_text
        assert cfg.pretty_text is first
        assert first == expected
        cfg.lr = 0.2
        changed = cfg.pretty_text
    assert changed == cfg.pretty_text != first


OTHERS = """
import pickle, sys, torch, mmengine
class Own:
    pass
import mmdet_maskr, mmdet_maskr.models, mmdet_maskr.engine
listed = torch.serialization.get_safe_globals()
assert not [value for value in listed if not value.__module__.startswith("torch.")], listed
with open("own.pkl", "wb") as file:
    pickle.dump(Own(), file)
assert isinstance(mmengine.load("own.pkl"), Own)
with open("own.yaml", "w") as file:
    file.write("a: !!python/tuple [1, 2]")
assert mmengine.load("own.yaml") == {"a": (1, 2)}
from mmengine.config import Config
assert Config.fromstring("a = 1 + 1", ".py").a == 2
from mmengine.registry import Registry
import collections
assert Registry("r").build(dict(type="collections.OrderedDict")) == collections.OrderedDict()
"""


def test_programs_of_others_go_on_as_before(repo: Path, tmp_path: Path):
    """After the import, and with all parts of ours imported."""
    env = {**os.environ, "PYTHONPATH": str(repo)}
    command = [sys.executable, "-W", "ignore", "-c", OTHERS]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
