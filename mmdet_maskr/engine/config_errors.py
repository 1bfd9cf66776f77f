"""What is wrong with a config, read off the error that building one of its parts ended in.

mmengine builds parts from dictionaries wherever they are needed, and what a constructor or a
registry says then does not name the place in the config. It is in the traceback's frames.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry

_BUILDERS = ("build_from_cfg", "build_runner_from_cfg")  # of mmengine.registry.build_functions


def explain(error: BaseException, cfg: Config | None = None) -> str | None:
    """One sentence about an error that came from building a part of a config, else None.

    Args:
        error: as it was raised, with its traceback.
        cfg: the config, to say where in it the part is.
    """
    frames = [frame for frame in _frames(error) if frame.f_code.co_name in _BUILDERS]
    frames = [f for f in frames if f.f_globals["__name__"].startswith("mmengine.registry")]
    if not frames:
        return None
    values = frames[-1].f_locals
    part = values["cfg"]
    name = None
    if isinstance(part, Mapping | Config):
        name = part.get("runner_type" if isinstance(part, Config) else "type")
    where = _place(cfg, part) if cfg is not None else None
    what = f"{where or 'a part of the config'}" + (f" (type={_shown(name)})" if name else "")
    text = _text(error)
    layer = _layer(error)
    if layer is not None:
        return f"{what} asks for the layer {layer}, which is not registered."
    if "is not in the" in text and "registry" in text:
        found = re.match(r"(\S+) is not in the (.*?) registry", text)
        guess = _guess(str(name), _registered(values["registry"]))
        kind = f" of {found[2]}" if found else ""
        return (
            f"{where + ': ' if where else ''}there is no {_shown(name)} among the registered parts"
            f"{kind}{guess}; parts of your own are registered by custom_imports."
        )
    if 'must contain the key "type"' in text:
        return f"{what} has no type, but {_shown(dict(part))[:200]}."
    wrong = re.search(r"unexpected keyword argument '(\w+)'", text)
    if wrong is not None:
        options = _options(values.get("obj_cls"))
        return (
            f"{what} has no option {wrong[1]!r}{_guess(wrong[1], options)}; its options are "
            f"{', '.join(options)}."
        )
    return (
        f"{what} cannot be built from these options: {type(error).__name__}: {text} "
        "(MMDET_MASKR_TRACEBACK=1 shows where)."
    )


def _text(error: BaseException) -> str:
    # str() of a KeyError is the repr of its message
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _frames(error: BaseException) -> Iterator[FrameType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _layer(error: BaseException) -> str | None:
    """The layer that mmcv's build_norm_layer and its like did not find."""
    last = list(_frames(error))[-1]
    if last.f_globals["__name__"].startswith("mmcv.cnn.bricks") and isinstance(error, KeyError):
        layer = last.f_locals.get("layer_type")
        return None if layer is None else _shown(layer)
    return None


def _place(cfg: Config, part: Any) -> str | None:
    """The dotted key of a part in the config, where it has one place there."""
    if part is cfg or not isinstance(part, Mapping):
        return None
    wanted = part.get("type")
    found = [key for key, value in _parts(cfg, "") if value.get("type") == wanted]
    # parts are copied and completed on the way: the same type, and nothing else in their place
    equal = [key for key, value in _parts(cfg, "") if _is_from(part, value)]
    candidates = equal or found
    return candidates[0] if len(candidates) == 1 else None


def _is_from(part: Mapping, value: Mapping) -> bool:
    return all(key in part and part[key] == item for key, item in value.items())


def _parts(value: Any, key: str) -> Iterator[tuple[str, Mapping]]:
    if isinstance(value, Mapping | Config):
        if key and not isinstance(value, Config):
            yield key, value
        for name, item in value.items():
            yield from _parts(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _parts(item, f"{key}[{index}]")


def _registered(registry: Registry) -> list[str]:
    """Names in a registry, in those above it, and in those of other packages below them."""
    names: set[str] = set()
    above: Registry | None = registry
    while above is not None:
        names.update(above.module_dict)
        above = above.parent
    return sorted(names)


def _options(part: Any) -> list[str]:
    """Names of the options of a class, those that it passes on to its bases included."""
    names: dict[str, None] = {}
    for kind in inspect.getmro(part) if inspect.isclass(part) else ():
        if "__init__" not in vars(kind):
            continue
        parameters = list(inspect.signature(vars(kind)["__init__"]).parameters.values())[1:]
        passed_on = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        names.update((p.name, None) for p in parameters if p.kind not in passed_on)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return list(names)


def _guess(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value)
