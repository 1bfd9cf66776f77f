"""Configs read as data: from checkpoints, YAML, JSON and the command line.

- The text of a config in a checkpoint is read as Python's literals and ``dict(...)``, not executed.
- A YAML or JSON file imports modules of OpenMMLab's packages alone (or what is imported already),
  and takes as ``_base_`` other data files, or configs of these packages.
- ``type`` is a part that is registered. mmengine would take any function of any module.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mmdet_maskr.errors import UserError

MAX_TEXT = 300_000  # characters of a config in a checkpoint; Python takes 500 bytes for each
DATA_SUFFIXES = (".json", ".yaml", ".yml")
PACKAGES = ("mmdet_maskr", "mmengine", "mmcv", "mmpretrain")
_UNQUOTED = re.compile(r"['\"\\\x00-\x1f]")
_NUMBERS = dict(inf=float("inf"), nan=float("nan"))


# ------------------------------------------------------------------------------------------ texts
def read_literals(text: object, named: str, names: bool = False) -> dict[str, Any]:
    """Settings of a config's text, as mmengine writes it into checkpoints.

    Args:
        text: lines ``name = value``, where a value is of literals and ``dict(...)``.
        named: where the text is from, for messages.
        names: whether a value may be the name of a setting above, as in configs of this package's.

    Raises:
        UserError: it is anything else, and would have to be executed; says the line.
    """
    if not isinstance(text, str):
        raise UserError(f"{named} is a {type(text).__name__}, not a string.")
    if len(text) > MAX_TEXT:
        raise UserError(f"{named} has {len(text)} characters, too many for a config.")
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        reason = getattr(error, "msg", None) or str(error) or type(error).__name__
        raise UserError(f"{named}{where} is not a Python config: {reason}.") from error
    settings: dict[str, Any] = {}
    try:
        for statement in body:
            name, value = _assigned(statement, named)
            settings[name] = _value(value, settings if names else {}, named)
    except RecursionError as error:
        raise UserError(f"{named} is nested too deeply for a config.") from error
    return settings


def _assigned(statement: ast.stmt, named: str) -> tuple[str, ast.expr]:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        if isinstance(target, ast.Name) and not target.id.startswith("__"):
            return target.id, statement.value
    raise _refused(statement, named)


def _value(node: ast.expr, settings: Mapping[str, Any], named: str) -> Any:
    def inner(value: ast.expr) -> Any:
        return _value(value, settings, named)

    def mapping(keys: Iterable[ast.expr | None], values: Iterable[ast.expr]) -> dict:
        made: dict = {}
        for key, value in zip(keys, values, strict=True):
            found = inner(value)
            if key is not None:
                name = inner(key)
                if not isinstance(name, (str, int, float, bool, type(None))):
                    raise _refused(key, named)
                made[name] = found
            elif isinstance(found, dict):  # **{...}
                made.update(found)
            else:
                raise _refused(value, named)
        return made

    match node:
        case ast.Constant(value=value) if value is not Ellipsis:
            return value
        case ast.List(elts=items):
            return [inner(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(inner(item) for item in items)
        case ast.Set(elts=items) if all(isinstance(item, ast.Constant) for item in items):
            return {inner(item) for item in items}
        case ast.Dict(keys=keys, values=values):
            return mapping(keys, values)
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=words):
            keys = [None if word.arg is None else ast.Constant(word.arg) for word in words]
            return mapping(keys, [word.value for word in words])
        case ast.Call(func=ast.Name(id="set"), args=[], keywords=[]):
            return set()
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str(text))], keywords=[]):
            if text.strip("+-") in _NUMBERS:
                return float(text)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            number = inner(operand)
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                return -number if isinstance(sign, ast.USub) else number
        case ast.Name(id=name) if name in settings:
            return settings[name]
        case ast.Name(id=name) if name in _NUMBERS:
            return _NUMBERS[name]
    raise _refused(node, named)


def _refused(node: ast.AST, named: str) -> UserError:
    shown = ast.unparse(node).replace("\n", " ")[:80] if isinstance(node, ast.AST) else ""
    line = getattr(node, "lineno", "?")
    return UserError(
        f"{named} was refused: line {line} ({shown}) is more than names and values, "
        "so it would have to be executed. Pass the config file that it was trained "
        "with."
    )


# ------------------------------------------------------------------------------------ data files
def check_imports(imports: object, named: str) -> None:
    """Check what a config that is data imports (its ``custom_imports``).

    Raises:
        UserError: modules that are neither OpenMMLab's nor imported already.
    """
    if not imports:
        return
    modules = imports.get("imports") if isinstance(imports, Mapping) else None
    modules = [modules] if isinstance(modules, str) else modules
    if not isinstance(modules, (list, tuple)) or not all(isinstance(m, str) for m in modules):
        raise UserError(f"{named}: custom_imports must be a dictionary with a list imports.")
    for module in modules:
        if not _may_import(module):
            raise UserError(
                f"{named} was refused: it imports {module!r}, and importing it could run "
                "code. Import it yourself first, or write the config in Python."
            )


def _may_import(module: str) -> bool:
    parts = module.split(".")
    known = parts[0] in (*PACKAGES, *_openmmlab())
    return module in sys.modules or (known and all(re.fullmatch(r"[a-z]\w*", p) for p in parts))


def _openmmlab() -> Iterable[str]:
    from mmengine.config.utils import MODULE2PACKAGE

    return MODULE2PACKAGE


def _check_base(path: str, filename: str) -> None:
    if not filename.endswith(DATA_SUFFIXES) or path.endswith(DATA_SUFFIXES):
        return
    resolved = Path(path).resolve()
    homes = []
    for package in (*PACKAGES, *_openmmlab()):
        file = getattr(sys.modules.get(package), "__file__", None)
        if file:
            homes += [Path(file).resolve().parent, Path(file).resolve().parent.parent / "configs"]
    if not any(resolved.is_relative_to(home) for home in homes):
        raise UserError(
            f"{filename} was refused: its _base_ {path} is a Python program from outside "
            "of OpenMMLab's packages. Write the config in Python too."
        )


# ------------------------------------------------------------------------------------------ names
def registered(name: str) -> Any:
    """What a registry knows under its full name (``mmengine.model.BaseModel``), or None.

    It stands for mmengine's ``get_object_from_string``, which imports what it is told to.
    """
    from mmengine import registry as registries

    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:cut]))
        for part in parts[cut:]:
            found = getattr(found, part, None)
        if found is not None:
            break
    else:
        return None
    roots = [value for value in vars(registries).values() if isinstance(value, registries.Registry)]
    return found if any(_holds(root, found) for root in roots) else None


def _holds(registry: Any, value: Any) -> bool:
    return any(value is known for known in registry._module_dict.values()) or any(
        _holds(child, value) for child in registry._children.values()
    )


def _import_known(name: str, package: str | None = None) -> Any:
    """Import ``SCOPE.registry`` of packages that are OpenMMLab's, or imported already."""
    scope, _, last = name.rpartition(".")
    is_scope = last in ("registry", "utils")  # else a location that the registry's code names
    imported = scope in sys.modules if is_scope else name.partition(".")[0] in sys.modules
    if not imported and not _may_import(name):
        raise ImportError(f"{name} is not of a package that is imported")
    return importlib.import_module(name, package)


def only(names: Mapping[str, Any]) -> Callable[[str], Any]:
    """Stands for ``eval`` in a module that looks up a name so.

    Raises:
        UserError: later, by it: a text that is no name of these.
    """

    def look_up(name: str, *rest: object) -> Any:
        if name not in names:
            raise UserError(f"there is no {str(name)[:80]!r}; there are {', '.join(names)}.")
        return names[name]

    return look_up


# ----------------------------------------------------------------------- in place of mmengine's
def literals_alone(from_string: Callable[..., Any]) -> Callable[..., Any]:
    """``Config.fromstring`` that reads a text in Python, and does not execute it.

    Raises:
        UserError: later, by it: the text is more than names and values, or imports what it may not.
    """

    def fromstring(cfg_str: str, file_format: str) -> Any:
        """As mmengine's."""
        from mmengine.config import Config

        if file_format != ".py":
            return from_string(cfg_str, file_format)
        named = "the config in the checkpoint"
        settings = read_literals(cfg_str, named)
        if "_base_" in settings:
            raise UserError(f"{named} has a _base_, so it is not complete: pass the config file.")
        check_imports(settings.get("custom_imports"), named)
        for module in (settings.get("custom_imports") or {}).get("imports", ()):
            importlib.import_module(module)
        return Config(settings)

    return fromstring


def checked_imports(file_to_dict: Callable[..., tuple]) -> Callable[..., tuple]:
    """``Config._file2dict`` that checks what a config that is data imports."""

    def checked_dict(filename: str, *args: Any, **kwargs: Any) -> tuple:
        values, text, variables = file_to_dict(filename, *args, **kwargs)
        if str(filename).endswith(DATA_SUFFIXES):
            check_imports(values.get("custom_imports"), f"config {filename}")
        return values, text, variables

    return checked_dict


def checked_bases(path_of: Callable[..., tuple]) -> Callable[..., tuple]:
    """``Config._get_cfg_path`` that checks what a config that is data inherits from."""

    def checked_path(cfg_path: str, filename: str) -> tuple:
        path, scope = path_of(cfg_path, filename)
        _check_base(path, filename)
        return path, scope

    return checked_path


def quoted_names(substitute: Callable[..., None]) -> Callable[..., None]:
    """``Config._substitute_predefined_vars`` that lets no folder's name end a text in quotes."""

    def quoted(filename: str, temp_config_name: str) -> None:
        if not _UNQUOTED.search(filename):
            substitute(filename, temp_config_name)
            return
        path = Path(filename)
        names = {"Dirname": path.parent, "Basename": path.name, "Extname": path.suffix}
        names["BasenameNoExtension"] = path.stem
        text = path.read_text(encoding="utf-8")
        for name, value in names.items():
            literal = json.dumps(str(value), ensure_ascii=False)[1:-1]
            if path.suffix == ".py":
                literal = literal.replace("'", "\\'")
            text = re.sub(rf"\{{\{{\s*file{name}\s*\}}\}}", lambda _: literal, text)  # noqa: B023
        Path(temp_config_name).write_text(text, encoding="utf-8")

    return quoted


def registered_alone(old: Any) -> Callable[[str], Any]:
    """``get_object_from_string`` of mmengine's registries, as :func:`registered`."""
    return registered


def known_packages(old: Any) -> Callable[..., Any]:
    """``import_module`` of mmengine's registries, for packages that are OpenMMLab's, or there."""
    return _import_known


# ------------------------------------------------------------------ texts that others evaluate
def _nms() -> dict[str, Any]:
    module: Any = importlib.import_module("mmcv.ops.nms")
    kinds = ("nms", "soft_nms", "nms_match", "nms_rotated", "nms_quadri")
    return {kind: getattr(module, kind) for kind in kinds if hasattr(module, kind)}


def _motions() -> dict[str, Any]:
    import cv2

    kinds = ("TRANSLATION", "EUCLIDEAN", "AFFINE", "HOMOGRAPHY")
    return {f"cv2.MOTION_{kind}": getattr(cv2, f"MOTION_{kind}") for kind in kinds}


def _convolutions() -> dict[str, Any]:
    import torch

    module: Any = importlib.import_module("mmcv.cnn.rfsearch.search")
    return {
        "torch.nn.Conv2d": torch.nn.Conv2d,
        "Conv2dRFSearchOp": module.Conv2dRFSearchOp,
    }


# The names that a module may mean by a text.
TEXTS: dict[str, Callable[[], dict[str, Any]]] = {
    "mmcv.ops.nms": _nms,
    "mmdet.models.task_modules.tracking.camera_motion_compensation": _motions,
    "mmcv.cnn.rfsearch.search": _convolutions,
}
