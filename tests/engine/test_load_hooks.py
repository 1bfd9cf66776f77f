"""Checkpoints that are loaded: what does not fit is refused, shared classes keep their weights."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import BaseLoop
from torch import Tensor, nn

from mmdet_maskr.engine import CheckpointFitHook, ClassTransferHook
from mmdet_maskr.engine.load_hooks import classes_of, transferred


class Heads(nn.Module):
    """The weights that count classes, under the names of a detector's, and a backbone."""

    def __init__(self, classes: int, width: int = 4) -> None:
        super().__init__()
        self.backbone = nn.BatchNorm2d(width)
        self.roi_head = nn.Module()
        self.roi_head.bbox_head = nn.Module()
        self.roi_head.bbox_head.fc_cls = nn.Linear(5, classes + 1)
        self.roi_head.bbox_head.fc_reg = nn.Linear(5, 4 * classes)
        self.roi_head.mask_head = nn.Module()
        self.roi_head.mask_head.conv_logits = nn.Conv2d(3, classes, 1)


class Loop(BaseLoop):
    def __init__(self, classes: tuple[str, ...]) -> None:
        self.dataloader = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=classes)))

    def run(self) -> None:
        raise NotImplementedError


def runner_of(model: nn.Module, classes: tuple[str, ...]) -> SimpleNamespace:
    logger = logging.getLogger("test")
    return SimpleNamespace(
        model=model, logger=logger, _train_loop=Loop(classes), _val_loop=None, _test_loop=None,
        _resume=False, _load_from="a.pth", cfg=Config(),
    )  # fmt: skip


def rows(weights: dict[str, Tensor], name: str) -> Tensor:
    return weights[f"roi_head.{name}.weight"].flatten(1)


def test_shared_classes_keep_their_weights():
    """cat and dog move to their new places with all their rows; a new class has initial weights."""
    torch.manual_seed(0)
    source, target = Heads(3), Heads(4)
    checkpoint = dict(
        state_dict=source.state_dict(), meta=dict(dataset_meta=dict(classes=("cat", "cow", "dog")))
    )
    runner = runner_of(target, ("dog", "owl", "cat", "ant"))
    ClassTransferHook().after_load_checkpoint(runner, checkpoint)
    CheckpointFitHook().after_load_checkpoint(runner, checkpoint)
    loaded, initial = checkpoint["state_dict"], target.state_dict()
    old = source.state_dict()
    for name, per_class in (("bbox_head.fc_cls", 1), ("bbox_head.fc_reg", 4),
                            ("mask_head.conv_logits", 1)):  # fmt: skip
        new, before, first = rows(loaded, name), rows(old, name), rows(initial, name)
        assert new.shape == first.shape
        for to, at, values in ((0, 2, before), (1, 1, first), (2, 0, before), (3, 3, first)):
            assert torch.equal(
                new[to * per_class : (to + 1) * per_class],
                values[at * per_class : (at + 1) * per_class],
            )
    assert torch.equal(rows(loaded, "bbox_head.fc_cls")[-1], rows(old, "bbox_head.fc_cls")[-1])
    assert torch.equal(loaded["backbone.weight"], old["backbone.weight"])


@pytest.mark.parametrize("source_classes", [None, ("b", "c")])
@pytest.mark.parametrize("what", ["names its classes", "resumes", "tests"])
def test_going_on_changes_nothing(what: str, source_classes: tuple[str, ...] | None):
    """Rows that were put in order already are not moved again, with either option."""
    model = Heads(2)
    state = model.state_dict()
    named = what == "names its classes"
    meta = dict(dataset_meta=dict(classes=("a", "b"))) if named else {}
    checkpoint = dict(state_dict=dict(state), meta=meta)
    runner = runner_of(model, ("a", "b"))
    runner._resume = what == "resumes"
    if what == "tests":
        runner._train_loop, runner._test_loop = {}, runner._train_loop
    ClassTransferHook(source_classes).after_load_checkpoint(runner, checkpoint)
    assert all(checkpoint["state_dict"][name] is value for name, value in state.items())


def test_weights_that_count_no_classes_stay():
    """A class-agnostic head has one row for all classes."""
    for rows, height in ((1, 1), (4, 4)):
        weight = torch.randn(height, 3)
        assert transferred(weight, torch.zeros(height, 3), ("a", "b"), ("b", "c"), rows) is weight


def test_as_many_classes_under_other_names():
    """Shapes are the same, so nothing but the names says that rows have to move."""
    source, target = Heads(2), Heads(2)
    meta = dict(dataset_meta=dict(classes=("cat", "dog")))
    checkpoint = dict(state_dict=source.state_dict(), meta=meta)
    ClassTransferHook().after_load_checkpoint(runner_of(target, ("dog", "owl")), checkpoint)
    loaded = rows(checkpoint["state_dict"], "bbox_head.fc_reg")
    assert torch.equal(loaded[:4], rows(source.state_dict(), "bbox_head.fc_reg")[4:])
    assert torch.equal(loaded[4:], rows(target.state_dict(), "bbox_head.fc_reg")[4:])


@pytest.mark.parametrize(
    ("meta", "classes"),
    [
        (dict(dataset_meta=dict(classes=("a", "b"))), ("a", "b")),
        (dict(dataset_meta=dict(CLASSES=("a",))), ("a",)),
        (dict(CLASSES=("x", "y")), ("x", "y")),
        ({}, ()),
    ],
)
def test_classes_of_old_and_new_checkpoints(meta: dict, classes: tuple[str, ...]):
    assert classes_of(dict(meta=meta)) == classes


def test_what_transfer_refuses():
    runner = runner_of(Heads(1), ("a",))
    checkpoint = dict(state_dict=Heads(2).state_dict())
    with pytest.raises(ValueError, match=r"does not list its classes.*source_classes"):
        ClassTransferHook().after_load_checkpoint(runner, checkpoint)
    with pytest.raises(ValueError, match=r"none of the classes \('a',\), but \('b', 'c'\)"):
        ClassTransferHook(("b", "c")).after_load_checkpoint(runner, checkpoint)


def test_another_number_of_classes():
    """The message names both keys of the config and the checkpoint's number."""
    runner = runner_of(Heads(8), tuple("abcdefgh"))
    with pytest.raises(ValueError, match=r"model\.roi_head\.bbox_head\.num_classes=80") as error:
        CheckpointFitHook().after_load_checkpoint(runner, dict(state_dict=Heads(80).state_dict()))
    assert "(81, 5) in the checkpoint, (9, 5) here" in str(error.value)
    assert "ClassTransferHook" in str(error.value)


def test_wider_head():
    """The cure is not the number of classes, which is right; a run cannot change in mid-way."""
    runner, wider = runner_of(Heads(2), ("a", "b")), Heads(2)
    wider.roi_head.bbox_head.fc_cls = nn.Linear(7, 3)
    checkpoint = dict(state_dict=wider.state_dict())
    with pytest.raises(ValueError, match=r"\(3, 7\) in the checkpoint") as error:
        CheckpointFitHook().after_load_checkpoint(runner, checkpoint)
    assert "num_classes" not in str(error.value)
    runner._resume = True
    with pytest.raises(ValueError, match=r"without --resume"):
        CheckpointFitHook().after_load_checkpoint(runner, checkpoint)


def test_another_backbone():
    runner = runner_of(Heads(2), ("a", "b"))
    state = Heads(2).state_dict()
    wider = Heads(2, width=6).state_dict()
    with pytest.raises(ValueError, match=r"backbone\.weight is \(6,\).*Set model\.backbone to the"):
        CheckpointFitHook().after_load_checkpoint(runner, dict(state_dict=wider))
    deeper = {**state, "backbone.layer9.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"another backbone: it has backbone\.layer9\.weight"):
        CheckpointFitHook().after_load_checkpoint(runner, dict(state_dict=deeper))
    without = {name: value for name, value in state.items() if "running_mean" not in name}
    with pytest.raises(ValueError, match=r"lacks backbone\.running_mean, and 1 of the 4 weights"):
        CheckpointFitHook().after_load_checkpoint(runner, dict(state_dict=without))


def test_heads_that_are_not_there():
    """A box detector's checkpoint starts a mask detector; older files lack counters. What is tested
    has to be whole."""
    state = {
        name: value
        for name, value in Heads(2).state_dict().items()
        if "mask_head" not in name and "num_batches" not in name
    }
    runner = runner_of(Heads(2), ("a", "b"))
    CheckpointFitHook().after_load_checkpoint(runner, state)
    runner._load_from, runner._train_loop = "boxes.pth", dict(type="EpochBasedTrainLoop")
    with pytest.raises(ValueError, match=r"boxes\.pth does not fit: it has 8 of the model's 10 we"):
        CheckpointFitHook().after_load_checkpoint(runner, state)


def test_cityscapes_from_coco_uses_both_hooks(repo):
    cfg = Config.fromfile(repo / "configs" / "cityscapes" / "maskr_r50_fpn_coco_4k.py")
    types = [hook.type for hook in cfg.custom_hooks]
    assert {"ClassTransferHook", "CheckpointFitHook", "DatasetFitHook"} <= set(types)
    assert "mask_rcnn_r50_fpn_1x_coco" in cfg.load_from
