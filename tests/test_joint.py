"""One model with masks for 80 classes and keypoints for people, on real photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner

PHOTOS = 6


def joint_config(repo: Path, coco_mini: Path, work_dir: Path) -> Config:
    """configs/maskr_joint_r50_fpn_1x.py with the mini model's widths, small photos, few steps."""
    cfg = Config.fromfile(repo / "configs" / "maskr_joint_r50_fpn_1x.py")
    mini = Config.fromfile(repo / "configs" / "mini" / "maskr_keypoint_coco_mini.py").model
    mini.roi_head.bbox_head.num_classes = mini.roi_head.mask_head.num_classes = 80
    mini.roi_head.keypoint_head.keypoint_labels = cfg.model.roi_head.keypoint_head.keypoint_labels
    mini.test_cfg.rcnn.score_thr = 0.0
    cfg.model = mini
    for split in ("train", "val", "test"):
        loader = cfg[f"{split}_dataloader"]
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.update(data_root=str(coco_mini), indices=PHOTOS)
        resize = next(
            s for s in loader.dataset.pipeline if s["type"] in ("KeypointResize", "Resize")
        )
        resize["scale"] = (160, 128)
        if split != "train":
            evaluator = cfg[f"{split}_evaluator"]
            for key in ("ann_file", "keypoint_ann_file"):
                evaluator[key] = evaluator[key].replace("data/coco", str(coco_mini))
    cfg.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=1, val_interval=1)
    cfg.default_hooks.logger.interval = 1
    cfg.optim_wrapper.optimizer.lr = 0.001
    cfg.work_dir = str(work_dir)
    return cfg


def test_trains_and_is_scored_on_all_three(repo: Path, coco_mini: Path, tmp_path: Path):
    cfg = joint_config(repo, coco_mini, tmp_path)
    runner = Runner.from_cfg(cfg)
    classes = runner.train_loop.dataloader.dataset.metainfo["classes"]
    assert len(classes) == 80 and classes[0] == "person"
    runner.train()
    scalars = {k: v.data for k, v in runner.message_hub.log_scalars.items()}
    for name in ("loss_mask", "loss_keypoint"):
        history, counts = scalars[f"train/{name}"]
        assert len(counts) == PHOTOS // 2 and np.isfinite(history).all() and (history >= 0).all()
    assert scalars["train/loss_keypoint"][0].max() > 1, "there are people in the photos"
    for kind in ("bbox", "segm", "keypoints"):
        assert f"val/coco/{kind}_mAP" in scalars

    model = runner.model.eval()
    with torch.no_grad():
        batch = next(iter(runner.val_loop.dataloader))
        found = model.test_step(batch)[0].pred_instances
    people = found.labels == 0
    assert (found.keypoint_scores[people] > 0).all()
    assert (found.keypoint_scores[~people] == 0).all() and (~people).any()
