"""Every composition trains on images without objects, and predicts where nothing is found."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from thin_configs import CONFIGS, load, thin, walk

CLASSES = 3
SIZE = (96, 128)
OBJECTS = [[8.0, 8, 60, 50], [70, 30, 120, 90]]
NAMES = [name for name in CONFIGS if name.startswith("compositions/")]
NAMES += [
    "maskr_r50_fpn_1x.py",
    "maskr_r50_c4_1x.py",
    "maskr_joint_r50_fpn_1x.py",
    "maskr_keypoint_r50_fpn_90k.py",
]


@pytest.fixture(scope="module", params=NAMES)
def model(request) -> nn.Module:
    init_default_scope("mmdet")  # a fixture of a module comes before that of each test
    cfg = thin(load(request.param), Path("nowhere"))
    for part in walk(cfg.model):
        for key in ("num_classes", "num_things_classes"):
            if key in part and part[key] == 80:
                part[key] = CLASSES
        if part.get("keypoint_labels"):
            part["keypoint_labels"] = [0]
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


def images() -> torch.Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def sample(boxes: list, keypoints: int = 17) -> DetDataSample:
    """An image with such objects, and a map of what is behind them."""
    meta = dict(img_shape=SIZE, ori_shape=(48, 64), scale_factor=(2.0, 2.0), flip=False)
    meta.update(pad_shape=SIZE, batch_input_shape=SIZE, flip_direction=None, img_id=0)
    data = DetDataSample(metainfo=meta)
    masks = torch.zeros(len(boxes), *SIZE, dtype=torch.uint8)
    points = torch.zeros(len(boxes), keypoints, 3)
    for mask, point, (x1, y1, x2, y2) in zip(masks, points, boxes, strict=True):
        mask[int(y1) : int(y2), int(x1) : int(x2)] = 1
        point[:] = torch.tensor([(x1 + x2) / 2, (y1 + y2) / 2, 2])
    data.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes).reshape(-1, 4),
        labels=torch.zeros(len(boxes), dtype=torch.long),
        masks=BitmapMasks(masks.numpy(), *SIZE),
        keypoints=points,
    )
    data.ignored_instances = InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
    )
    data.gt_sem_seg = PixelData(sem_seg=torch.randint(0, CLASSES, (1, *SIZE)))
    return data


@pytest.mark.parametrize("objects", [([], []), ([], OBJECTS)], ids=["none", "one image"])
def test_trains_without_objects(model: nn.Module, objects: tuple[list, list]):
    """Losses are finite and reach every parameter: distributed training waits for each."""
    model.train().zero_grad()
    losses = model.loss(images(), [sample(boxes) for boxes in objects])
    terms = [v for k, v in losses.items() if "loss" in k]
    total = sum(sum(term) if isinstance(term, list) else term.sum() for term in terms)
    total.backward()
    assert torch.isfinite(total)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(
    ("empty", "rescale"), [((0,), True), ((1,), False), ((0, 1), True), ((0, 1), False)], ids=str
)
def test_predicts_where_nothing_is_found(
    model: nn.Module, empty: tuple[int, ...], rescale: bool, monkeypatch: pytest.MonkeyPatch
):
    """Images without detections have empty fields; the others what they have on their own."""
    if not hasattr(model, "roi_head"):
        pytest.skip("proposals only")
    model.eval()
    predict = model.roi_head.predict_bbox

    def without(*args, **kwargs) -> list[InstanceData]:
        results = predict(*args, **kwargs)
        return [r[:0] if i in empty else r for i, r in enumerate(results)]

    monkeypatch.setattr(model.roi_head, "predict_bbox", without)
    data = [sample(OBJECTS), sample(OBJECTS)]
    with torch.no_grad():
        found = model.predict(images(), copy.deepcopy(data), rescale=rescale)
    for i, each in enumerate(found):
        if "panoptic" in type(model).__name__.lower():
            assert each.pred_panoptic_seg.sem_seg.shape[-2:] == ((48, 64) if rescale else SIZE)
            continue
        instances = each.pred_instances
        assert (len(instances) == 0) == (i in empty)
        size = (48, 64) if rescale else SIZE
        if "masks" in instances:
            assert len(instances.masks) == len(instances)
            assert len(instances) == 0 or instances.masks.shape[1:] == size
            assert len(instances) == 0 or 0 < instances.masks.float().mean() < 1
        if "keypoints" in instances:
            assert instances.keypoints.shape == (len(instances), 17, 2)
