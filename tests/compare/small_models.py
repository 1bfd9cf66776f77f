"""Small models with random weights, as files."""

from __future__ import annotations

from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

REPO = Path(__file__).resolve().parents[2]
KEYPOINT_PARTS = ("keypoint_head", "keypoint_roi_extractor")


def write_model(
    folder: Path, name: str, seed: int, meta: dict | None = None, keypoints: bool = True
) -> str:
    """``CONFIG:WEIGHTS`` of a shapes model that keeps six detections of any scores.

    Args:
        folder: for both files.
        name: of both files.
        seed: of the weights.
        meta: the checkpoint's ``dataset_meta``; its ``classes`` give the number of classes.
        keypoints: with the keypoint branch.
    """
    init_default_scope("mmdet")
    cfg = Config.fromfile(REPO / "configs" / "mini" / "maskr_shapes.py")
    roi_head = cfg.model.roi_head
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=6)
    if not keypoints:
        for part in KEYPOINT_PARTS:
            roi_head.pop(part, None)
    if meta is not None:
        for head in (roi_head.bbox_head, roi_head.mask_head):
            head.num_classes = len(meta["classes"])
    torch.manual_seed(seed)
    state = MODELS.build(cfg.model).state_dict()
    cfg.dump(folder / f"{name}.py")
    content = dict(state_dict=state, meta={} if meta is None else dict(dataset_meta=meta))
    torch.save(content, folder / f"{name}.pth")
    return f"{folder / name}.py:{folder / name}.pth"
