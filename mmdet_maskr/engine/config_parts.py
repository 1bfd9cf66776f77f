"""Checks the parts of a config: are they registered, and do they have these options?

A dry walk, before anything is built. Each dictionary with a ``type`` is looked up as building it
would do: in the registry of its place, under its scope. Only what cannot work is refused. So left
alone are dictionaries that somebody else consumes (in parts of other packages than OpenMMLab's and
this one, or under keys that are not listed here), and options of what takes any.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import inspect
import textwrap
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from mmcv.transforms import Compose, KeyMapper, RandomApply, RandomChoice, TestTimeAug
from mmdet.datasets.transforms import MultiBranch, RandomOrder
from mmengine import registry as root
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import DefaultScope, Registry

from mmdet_maskr.errors import UserError

_KNOWN = ("mmdet", "mmcv", "mmengine", "mmdet_maskr")
_NESTING = (Compose, KeyMapper, RandomApply, RandomChoice, TestTimeAug, MultiBranch, RandomOrder)
# Keys that parts of these packages build from, everywhere in a model.
_MODELS = (
    "backbone", "neck", "rpn_head", "roi_head", "bbox_head", "mask_head", "keypoint_head",
    "shared_head", "semantic_head", "bbox_roi_extractor", "mask_roi_extractor",
    "keypoint_roi_extractor", "semantic_roi_extractor", "mask_iou_head", "loss_cls", "loss_bbox",
    "loss_mask", "loss_keypoint", "loss_iou", "loss_centerness", "data_preprocessor",
    "batch_augments",
)  # fmt: skip
_TASKS = ("assigner", "sampler", "bbox_coder", "anchor_generator", "prior_generator",
          "iou_calculator")  # fmt: skip
_IN_MODELS: dict[str, Registry] = {
    **dict.fromkeys(_MODELS, root.MODELS),
    **dict.fromkeys(_TASKS, root.TASK_UTILS),
    "init_cfg": root.WEIGHT_INITIALIZERS,
}
# Layers get further options from whoever builds them: their names alone are looked at.
_LAYERS = ("norm_cfg", "conv_cfg", "act_cfg")
_IN_DATA: dict[str, Registry] = {
    "dataset": root.DATASETS, "datasets": root.DATASETS, "pipeline": root.TRANSFORMS,
    "sampler": root.DATA_SAMPLERS, "batch_sampler": root.DATA_SAMPLERS,
}  # fmt: skip
_TOPS: dict[str, Registry] = {
    "model": root.MODELS, "visualizer": root.VISUALIZERS, "log_processor": root.LOG_PROCESSORS,
    "custom_hooks": root.HOOKS,
}  # fmt: skip
# What is taken out of a dictionary before it is built.
_TAKEN = {
    "type", "_scope_", "_delete_", "priority", "override", "convert_to_iter_based",
    "epoch_length", "by_epoch", "bg_cls_weight",
}  # fmt: skip


class Part(NamedTuple):
    """A dictionary that becomes an object."""

    key: str
    cfg: Mapping[str, Any]
    registry: Registry
    options_count: bool = True


def check_parts(cfg: Config | Mapping[str, Any], splits: Collection[str] = ()) -> None:
    """Look at the parts of a config whose place tells what they are built from.

    Args:
        cfg: the whole config, or a mapping with some of its top-level settings.
        splits: those of 'train', 'val' and 'test' that will be built: others may well be wrong.

    Raises:
        UserError: names the dotted key of a part, its type that is not registered or its option
            that the type has not, and the nearest one that it has.
    """
    scope = cfg.get("default_scope")
    with DefaultScope.overwrite_default_scope(scope if isinstance(scope, str) else None):
        for part in _tops(cfg, splits):
            _check(part)


def _check(part: Part) -> None:
    if not isinstance(part.cfg, Mapping) or "type" not in part.cfg:
        return  # left to the builder, which may set a default
    kind, scope = part.cfg["type"], part.cfg.get("_scope_")
    with ExitStack() as scopes:
        registry = scopes.enter_context(part.registry.switch_scope_and_registry(scope))
        found = _found(kind, registry)
        if found is None and not _is_of_missing_package(kind):
            raise UserError(unregistered(part.key, kind, registry))
        if part.options_count and callable(found):
            _check_options(part, found)
        for inner in _inner(part, found):
            _check(inner)


def _found(kind: Any, registry: Registry) -> Any:
    if not isinstance(kind, str):
        return kind
    try:
        return registry.get(kind)
    except (ImportError, AttributeError, ValueError):  # of a dotted path
        return None


def _is_of_missing_package(kind: Any) -> bool:
    """Whether a name has the scope of a package of OpenMMLab's that is not installed.

    Building it says so, and configs for it can be read and changed without it.
    """
    scope = str(kind).partition(".")[0] if "." in str(kind) else None
    return scope in MODULE2PACKAGE and importlib.util.find_spec(str(scope)) is None


def unregistered(key: str | None, kind: Any, registry: Registry) -> str:
    """The message for a name that a registry does not know.

    Args:
        key: of the part in the config, where it is known.
        kind: the name.
        registry: where it was looked up.
    """
    names: set[str] = set()
    above: Registry | None = registry
    while above is not None:
        names.update(above.module_dict)
        above = above.parent
    where = f"{key}: " if key else ""
    return (
        f"{where}there is no {kind!r} among the registered parts of "
        f"{registry.scope}::{registry.name}{_guess(str(kind), sorted(names))}; register your own "
        "parts with custom_imports."
    )


def no_option(what: str, name: str, part: Any) -> str:
    """The message for an option that a part has not.

    Args:
        what: the part in the config.
        name: of the option.
        part: its class or function.
    """
    known = options(part)[0]
    return (
        f"{what} has no option {name!r}{_guess(name, known)}; its options are {', '.join(known)}."
    )


def shown(key: str, kind: Any) -> str:
    """A part in words: its key and its type."""
    return f"{key} (type={kind!r})" if isinstance(kind, str) else f"{key} (type={kind})"


def _check_options(part: Part, found: Any) -> None:
    known, is_open = options(found)
    if is_open:
        return
    for name in part.cfg:
        if name not in known and name not in _TAKEN:
            raise UserError(no_option(shown(part.key, part.cfg["type"]), str(name), found))


def _guess(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


# ------------------------------------------------------------------------------------------ options
@functools.cache
def options(part: Any) -> tuple[list[str], bool]:
    """Options of a class or function, those included that it passes on to its bases; is it open.

    Returns:
        Their names, and whether it may take others, too: what it does with them is not known.
    """
    names: dict[str, None] = {}
    kinds = inspect.getmro(part) if inspect.isclass(part) else (part,)
    for kind in kinds:
        function = vars(kind).get("__init__") if inspect.isclass(part) else kind
        if function is None:
            continue
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):  # of compiled code
            return list(names), True
        for parameter in parameters[inspect.isclass(part) :]:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                names[parameter.name] = None
        rest = [p.name for p in parameters if p.kind is p.VAR_KEYWORD]
        if not rest:
            return list(names), False
        if not inspect.isclass(part) or not _passes_on(function, rest[0], kind):
            names.update((name, None) for name in _further(part, kind))
            return list(names), True
    return list(names), True


def _further(part: Any, kind: type) -> list[str]:
    """Options of the bases of one that may pass others on: what can be suggested."""
    if not inspect.isclass(part):
        return []
    names: dict[str, None] = {}
    mro = inspect.getmro(part)
    for base in mro[mro.index(kind) + 1 :]:
        if base is object or "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        names.update((p.name, None) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        names.update((p.name, None) for p in parameters if p.kind is p.KEYWORD_ONLY)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return list(names)


def _passes_on(function: Any, name: str, kind: type) -> bool:
    """Whether all that a class's constructor does with ``**name`` is to give it to the next one."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError):
        return False
    uses = sum(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))
    passed = 0
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    value=ast.Call(func=ast.Name(id="super"), args=after), attr="__init__"
                ),
                keywords=words,
            ) if not after or ast.unparse(after[0]) == kind.__name__:
                passed += sum(
                    w.arg is None and isinstance(w.value, ast.Name) and w.value.id == name
                    for w in words
                )
    return uses == passed > 0


# ------------------------------------------------------------------------------------------- places
def _tops(cfg: Config | Mapping[str, Any], splits: Collection[str]) -> Iterator[Part]:
    """Parts that the Runner builds."""
    runner = cfg.get("runner_type")
    if runner is not None:
        yield Part("runner_type", dict(type=runner), root.RUNNERS, options_count=False)
    for key, registry in _TOPS.items():
        yield from _listed(key, cfg.get(key), registry)
    hooks = cfg.get("default_hooks")
    for name, hook in hooks.items() if isinstance(hooks, Mapping) else ():
        yield from _listed(f"default_hooks.{name}", hook, root.HOOKS)
    for split in splits:
        yield from _of_split(cfg, split)
    if "train" in splits:
        yield from _listed("param_scheduler", cfg.get("param_scheduler"), root.PARAM_SCHEDULERS)
        yield from _optimizing(cfg.get("optim_wrapper"))


def _of_split(cfg: Config | Mapping[str, Any], split: str) -> Iterator[Part]:
    yield from _listed(f"{split}_cfg", cfg.get(f"{split}_cfg"), root.LOOPS)
    loader = cfg.get(f"{split}_dataloader")
    if not isinstance(loader, Mapping):
        loader = {}
    for name in ("dataset", "sampler", "batch_sampler"):
        yield from _listed(f"{split}_dataloader.{name}", loader.get(name), _IN_DATA[name])
    key, evaluator = f"{split}_evaluator", cfg.get(f"{split}_evaluator")
    if isinstance(evaluator, Mapping) and "metrics" in evaluator:
        key, evaluator = f"{key}.metrics", evaluator["metrics"]
    yield from _listed(key, evaluator, root.METRICS)


def _optimizing(wrapper: Any) -> Iterator[Part]:
    if isinstance(wrapper, Mapping) and _is_default(wrapper.get("constructor")):
        yield from _listed("optim_wrapper.optimizer", wrapper.get("optimizer"), root.OPTIMIZERS)
        own = {k: v for k, v in wrapper.items() if k not in ("constructor", "paramwise_cfg")}
        yield from _listed("optim_wrapper", own, root.OPTIM_WRAPPERS)


def _is_default(constructor: Any) -> bool:
    """Whether wrapper and optimizer are built as they are written: by mmengine's constructor."""
    if constructor is None:
        return True
    return _found(constructor, root.OPTIM_WRAPPER_CONSTRUCTORS) is DefaultOptimWrapperConstructor


def _listed(key: str, value: Any, registry: Registry, options_count: bool = True) -> Iterator[Part]:
    """A dictionary, or those in a list of them or of lists."""
    if isinstance(value, Mapping):
        yield Part(key, value, registry, options_count)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _listed(f"{key}[{index}]", item, registry, options_count)


def _inner(part: Part, found: Any) -> Iterator[Part]:
    """Parts that a part of OpenMMLab's packages, or of this one, is known to build."""
    module = getattr(found, "__module__", None) or ""
    if module.split(".")[0] not in _KNOWN:
        return
    name = part.registry.name
    if name in (root.MODELS.name, root.TASK_UTILS.name):
        yield from _in_model(part.key, part.cfg)
    elif name == root.DATASETS.name:
        for key in ("dataset", "datasets", "pipeline"):
            yield from _listed(f"{part.key}.{key}", part.cfg.get(key), _IN_DATA[key])
    elif name == root.TRANSFORMS.name and inspect.isclass(found) and issubclass(found, _NESTING):
        yield from _listed(f"{part.key}.transforms", part.cfg.get("transforms"), root.TRANSFORMS)
    elif name == root.VISUALIZERS.name:
        backends = part.cfg.get("vis_backends")
        yield from _listed(f"{part.key}.vis_backends", backends, root.VISBACKENDS)


def _in_model(key: str, cfg: Mapping[str, Any]) -> Iterator[Part]:
    for name, value in cfg.items():
        where = f"{key}.{name}"
        if name in _IN_MODELS:
            yield from _listed(where, value, _IN_MODELS[name])
        elif name in _LAYERS:
            yield from _listed(where, value, root.MODELS, options_count=False)
        elif isinstance(value, Mapping) and "type" not in value:  # train_cfg, test_cfg and theirs
            yield from _in_model(where, value)
