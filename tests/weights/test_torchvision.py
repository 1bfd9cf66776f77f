"""torchvision's state dicts: names old and new, widths, classes in another order."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision_models import state_dict

from mmdet_maskr.errors import UserError
from mmdet_maskr.weights import from_torchvision
from mmdet_maskr.weights.output import build
from mmdet_maskr.weights.torchvision import UNUSED_COCO_IDS


def write(folder: Path, state: dict, name: str = "model.pth") -> Path:
    torch.save(state, folder / name)
    return folder / name


CASES = {
    "v1": {},
    "legacy": dict(legacy=True),
    "v2": dict(v2=True),
    "R101": dict(depth=101),
    "R18": dict(depth=18),
    "wide": dict(width=16),
    "groups": dict(width=16, groups=4),
    "boxes only": dict(masks=False),
    "keypoints": dict(masks=False, keypoints=17, classes=2),
    "masks and keypoints": dict(keypoints=5, classes=2),
}


@pytest.mark.parametrize("name", CASES)
def test_every_tensor_has_its_place(tmp_path: Path, name: str):
    conversion = from_torchvision(write(tmp_path, state_dict(**CASES[name])))
    assert not conversion.dropped
    model = build(conversion.settings["model"])
    model.load_state_dict(conversion.state)
    roi_head = model.roi_head
    assert roi_head.with_mask == (name not in ("boxes only", "keypoints"))
    assert roi_head.with_keypoint == ("keypoints" in name)
    expected = dict(R18=("ResNet", 18), R101=("ResNet", 101), groups=("ResNeXt", 50)).get(name)
    if expected:
        backbone = conversion.settings["model"]["backbone"]
        assert (backbone["type"], backbone["depth"]) == expected


def test_old_and_new_names_are_one_model(tmp_path: Path):
    states = [
        from_torchvision(write(tmp_path, state_dict(legacy=legacy))).state
        for legacy in (False, True)
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_background_goes_last(tmp_path: Path):
    source = state_dict(classes=4)
    conversion = from_torchvision(write(tmp_path, source))
    state, prefix = conversion.state, "roi_heads.box_predictor."
    head = "roi_head.bbox_head."
    assert torch.equal(state[head + "fc_cls.bias"], source[prefix + "cls_score.bias"][[1, 2, 3, 0]])
    assert torch.equal(state[head + "fc_reg.weight"], source[prefix + "bbox_pred.weight"][4:])
    assert torch.equal(
        state["roi_head.mask_head.conv_logits.bias"],
        source["roi_heads.mask_predictor.mask_fcn_logits.bias"][1:],
    )
    assert conversion.source_labels == [1, 2, 3] and conversion.source_background == 0
    dataset = conversion.settings["test_dataloader"]["dataset"]
    assert dataset["metainfo"]["classes"] == ("class_1", "class_2", "class_3")


def test_coco_ids(tmp_path: Path):
    """80 classes in the order of their ids, the background, then the ids that COCO leaves out."""
    source = state_dict(classes=91)
    path = write(tmp_path, source)
    bias = source["roi_heads.box_predictor.cls_score.bias"]
    conversion = from_torchvision(path)
    used = [i for i in range(1, 91) if i not in UNUSED_COCO_IDS]
    assert len(used) == 80 and conversion.source_labels == used
    found = conversion.state["roi_head.bbox_head.fc_cls.bias"]
    assert torch.equal(found, bias[[*used, 0, *UNUSED_COCO_IDS]])
    assert conversion.state["roi_head.mask_head.conv_logits.bias"].shape == (80,)
    assert "metainfo" not in conversion.settings["test_dataloader"]["dataset"]
    kept = from_torchvision(path, keep_unused=True)
    assert torch.equal(kept.state["roi_head.bbox_head.fc_cls.bias"], bias[[*range(1, 91), 0]])
    assert kept.settings["model"]["roi_head"]["bbox_head"]["num_classes"] == 90


def test_epsilon(tmp_path: Path):
    """Not in the weights: 0 for the files that torchvision itself treats so, else 1e-5."""

    def eps(name: str, **options) -> float:
        conversion = from_torchvision(write(tmp_path, state_dict(), name), **options)
        return build(conversion.settings["model"]).backbone.bn1.eps

    assert eps("model.pth") == 1e-5
    assert eps("maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth") == 0
    assert eps("maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", norm_eps=1e-5) == 1e-5
    assert eps("maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth") == 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("backbone.body.conv1.weight"), "no tensor backbone.body.conv1.weight"),
        (
            lambda s: s.update({"rpn.head.cls_logits.weight": torch.zeros(15, 16, 1, 1)}),
            "15 anchors per cell",
        ),
        (lambda s: s.pop("backbone.body.layer3.5.conv1.weight"), r"\(4, 5\) blocks"),
        (lambda s: s.update(extra=torch.zeros(1)), "1 not used:\n  extra"),
    ],
)
def test_other_models(tmp_path: Path, change, message: str):
    state = state_dict()
    change(state)
    with pytest.raises(UserError, match=message):
        from_torchvision(write(tmp_path, state))
