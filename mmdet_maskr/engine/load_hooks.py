"""Checks that a checkpoint fits the model, and transfers shared classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import Tensor, nn

from mmdet_maskr.cli.spelling import call
from mmdet_maskr.datasets.wrappers import one_metainfo
from mmdet_maskr.engine.trained_input import check_input
from mmdet_maskr.engine.unwrap import unwrapped
from mmdet_maskr.errors import UserError

COUNTER = "num_batches_tracked"  # older checkpoints lack it
# Layers whose rows count classes; None for as many rows as the mask has pixels.
ROWS_PER_CLASS = dict(fc_cls=1, fc_reg=4, conv_logits=1, fc_logits=None)
SHOWN = 3  # names of each kind in a message


def check_whole(model: nn.Module, checkpoint: dict, what: str) -> None:
    """Refuse a checkpoint that leaves weights of a model as they were initialized.

    For detecting and testing: mmengine loads what fits and lists the rest in its log, so the model
    would detect by chance. Weights without a place in the model are fine, but for those of a larger
    backbone. Counters of batch normalization may be missing.

    Args:
        model: what the checkpoint is for.
        checkpoint: as it was read.
        what: the checkpoint, for messages, such as 'checkpoint a.pth'.

    Raises:
        UserError: says how many weights of the model it has, and names some that are missing, of
            another shape, or of another backbone.
    """
    found = weights_of(checkpoint, what)
    wanted = {n: v for n, v in model.state_dict().items() if n.split(".")[-1] != COUNTER}
    missing = [n for n in wanted if n not in found]
    other = [n for n in wanted if n in found and _shape(found[n]) != _shape(wanted[n])]
    backbone = [n for n in found if n.startswith("backbone.") and n.split(".")[-1] != COUNTER]
    unexpected = [n for n in backbone if n not in wanted]
    if not (missing or other or unexpected):
        return
    shapes = [f"{n}: {_shape(found[n])} in it, {_shape(wanted[n])} in the model" for n in other]
    kinds = {
        "missing": missing,
        "of another shape": shapes,
        "of another backbone": unexpected,
    }
    listed = [f"{len(names)} {kind} ({_first(names)})" for kind, names in kinds.items() if names]
    fitting = len(wanted) - len(missing) - len(other)
    heads = [n for n in other if n.endswith("fc_cls.weight")]
    numbers = [len(state[n]) - 1 for n in heads[:1] for state in (found, wanted)]
    classes = (
        "It was trained on {} classes, and the model has {}. ".format(*numbers) if heads else ""
    )
    raise UserError(
        f"{what} does not fit: it has {fitting} of the model's {len(wanted)} weights; "
        f"{'; '.join(listed)}. {classes}Use the config that it was trained with. Convert "
        f"checkpoints of Detectron2 and torchvision with {call('convert-weights')}."
    )


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _shape(value: object) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Refuses a checkpoint of another backbone, or with heads of other sizes.

    mmengine loads what fits and lists the rest in the log, so training goes on from random weights.
    Heads that the checkpoint lacks altogether are fine in training: that is how a box detector
    becomes a mask detector. What is tested has to be whole, see :func:`check_whole`. Converted and
    pretrained weights also say which pixels they take, see :func:`.check_input`.

    Args:
        same_input: refuse them where the config's model is given other pixels, or strides in other
            convolutions.

    Raises:
        UserError: weights of other shapes, a backbone with other weights, or another input, with
            the config's key.
    """

    def __init__(self, same_input: bool = True) -> None:
        self.same_input = same_input

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare names and shapes with the model's, and the input with the config's."""
        if self.same_input and not runner._resume:
            check_input(
                runner.cfg.get("model") or {}, checkpoint, f"checkpoint {runner._load_from}"
            )
        if not isinstance(runner._train_loop, BaseLoop):  # it is built by Runner.train alone
            check_whole(unwrapped(runner), checkpoint, f"checkpoint {runner._load_from}")
            return
        found = weights_of(checkpoint)
        wanted = unwrapped(runner).state_dict()
        for name in wanted:
            if not isinstance(found.get(name, wanted[name]), Tensor):
                kind = type(found[name]).__name__
                raise UserError(f"load_from has a {kind} in place of the weight {name}.")
        other = [n for n in wanted if n in found and found[n].shape != wanted[n].shape]
        if other:
            raise UserError(_other_shape(other, found, wanted, runner._resume))
        backbone = {n for n in wanted if n.startswith("backbone.") and n.split(".")[-1] != COUNTER}
        missing = sorted(backbone - set(found))
        unexpected = sorted(n for n in found if n.startswith("backbone.") and n not in wanted)
        if missing or unexpected:
            what = f"lacks {missing[0]}" if missing else f"has {unexpected[0]}"
            raise UserError(
                f"load_from is a checkpoint with another backbone: it {what}, and {len(missing)} "
                f"of the {len(backbone)} weights of model.backbone are not in it. Set "
                "model.backbone to the checkpoint's, or load_from to a checkpoint of this "
                "backbone."
            )


def _other_shape(names: list[str], found: dict, wanted: dict, resume: bool) -> str:
    name = names[0]
    part = name.rpartition(".")[0]
    place = ".".join(part.split(".")[: 2 if part.startswith("roi_head.") else 1])
    shapes = f"{tuple(found[name].shape)} in the checkpoint, {tuple(wanted[name].shape)} here"
    what = "the run's checkpoint" if resume else "load_from"
    message = f"{what} does not fit in {len(names)} weights, of which {name} is {shapes}. "
    if resume:
        return message + (
            f"A resumed run must keep its sizes: set model.{place} to the checkpoint's, or start a "
            "new run from its weights with load_from and without --resume."
        )
    if part.endswith("fc_cls") and len(found[name]) != len(wanted[name]):
        return message + (
            f"Set model.{place}.num_classes={len(found[name]) - 1} (and the mask head's), or keep "
            "the classes that both have by custom_hooks = [..., dict(type='ClassTransferHook')]."
        )
    return message + f"Set model.{place} to the checkpoint's."


@HOOKS.register_module()
class ClassTransferHook(Hook):
    """Starts from a checkpoint with other classes: classes of the same name keep their weights.

    Rows of the box head's class scores and boxes and of the mask head's last layer are put in the
    order of this dataset's classes; what the checkpoint lacks keeps its initial weights.
    The paper starts Cityscapes from COCO so (appendix A): seven of eight classes are shared.

    A run that goes on, a test, and a checkpoint that names this dataset's classes are left alone.

    Args:
        source_classes: the checkpoint's classes, in label order; by default what it says itself.
        least_shared: how many of the classes the checkpoint has to have; 0 where a model of others
            is fine-tuned on any classes.

    Raises:
        UserError: the checkpoint does not name its classes, or shares fewer.
    """

    priority = "HIGH"  # before CheckpointFitHook

    def __init__(self, source_classes: Sequence[str] | None = None, least_shared: int = 1) -> None:
        self.source_classes = source_classes
        self.least_shared = least_shared

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace the weights that count classes, in the loaded checkpoint."""
        if runner._resume or not isinstance(runner._train_loop, BaseLoop):
            return
        target, named = classes_in_use(runner), classes_of(checkpoint)
        source = tuple(self.source_classes or named)
        if target in (source, named):
            return
        if not source:
            raise UserError(
                "the checkpoint in load_from does not list its classes: set source_classes of "
                "ClassTransferHook."
            )
        shared = [name for name in target if name in source]
        if len(shared) < self.least_shared:
            raise UserError(f"load_from has none of the classes {target}, but {source}.")
        weights = state_dict_of(checkpoint)
        for name, initial in unwrapped(runner).state_dict().items():
            layer = name.split(".")[-2] if "." in name else name
            if name in weights and layer in ROWS_PER_CLASS:
                rows = ROWS_PER_CLASS[layer] or len(weights[name]) // len(source)
                weights[name] = transferred(weights[name], initial, source, target, rows)
        runner.logger.info(
            f"{len(shared)} of {len(target)} classes start from the checkpoint's weights: {shared}"
        )


def transferred(
    weight: Tensor, initial: Tensor, source: Sequence[str], target: Sequence[str], rows: int
) -> Tensor:
    """Rows of the classes that both have from ``weight``, the others from ``initial``.

    Args:
        weight: (R, ...) rows for the source's classes, and for the background last where it is.
        initial: rows for the target's classes, likewise.
        source: names of the source's classes.
        target: names of the target's classes.
        rows: how many rows a class has.

    Returns:
        As ``initial``; ``weight`` itself where its rows do not count classes (class-agnostic ones).
    """
    extra = len(weight) - rows * len(source)
    if extra not in (0, rows) or len(initial) != rows * len(target) + extra:
        return weight
    result = initial.detach().clone()
    for to, name in enumerate(target):
        if name in source:
            at = source.index(name)
            result[to * rows : (to + 1) * rows] = weight[at * rows : (at + 1) * rows]
    if extra:
        result[-extra:] = weight[-extra:]
    return result


def classes_of(checkpoint: dict) -> tuple[str, ...]:
    """Names of a checkpoint's classes, as mmdet 3 and 2 store them; empty where it has none."""
    meta = checkpoint.get("meta", {})
    stored = one_metainfo(meta.get("dataset_meta"), "the checkpoint") or meta
    return tuple(stored.get("classes") or stored.get("CLASSES") or ())


def classes_in_use(runner: Runner) -> tuple[str, ...]:
    """Names of the classes of the dataset that the run trains or tests on."""
    loops = [getattr(runner, f"_{split}_loop") for split in ("train", "val", "test")]
    built = next(loop for loop in loops if isinstance(loop, BaseLoop))
    metainfo = one_metainfo(built.dataloader.dataset.metainfo, "the data loader")
    return tuple(metainfo["classes"])


def weights_of(checkpoint: dict, what: str = "load_from") -> dict[str, Tensor]:
    """The weights in a checkpoint by the model's names, without what DataParallel puts before them.

    Args and errors are :func:`state_dict_of`'s.
    """
    state = state_dict_of(checkpoint, what)
    return {name.removeprefix("module."): value for name, value in state.items()}


def state_dict_of(checkpoint: dict, what: str = "load_from") -> dict[str, Tensor]:
    """The weights in a checkpoint, themselves and no copy.

    Args:
        checkpoint: as it was read.
        what: the checkpoint, for messages.

    Raises:
        UserError: it holds none.
    """
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        kind = type(checkpoint).__name__
        but = f" but {sorted(map(str, checkpoint))}" if isinstance(checkpoint, Mapping) else ""
        raise UserError(f"{what} is not a checkpoint: it is a {kind} without weights{but}.")
    return state
