"""Comparing a converted model with stored outputs, where it has no stored references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from detectron2_models import options, state_dict, write
from mmdet.structures import DetDataSample

from mmdet_maskr.weights import from_detectron2
from mmdet_maskr.weights.output import build
from mmdet_maskr.weights.verify import Reference, ReferenceCheck

CASCADE = dict(
    ROI_HEADS=dict(NAME="CascadeROIHeads"), ROI_BOX_HEAD=dict(CLS_AGNOSTIC_BBOX_REG=True)
)


@torch.no_grad()
def outputs(model: torch.nn.Module, image: np.ndarray) -> dict[str, np.ndarray]:
    """What the model gives, by the names of stored outputs, and logits that fit no stage."""
    size = image.shape[:2]
    sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0)))
    inputs = [torch.from_numpy(image).permute(2, 0, 1)]
    batch = model.data_preprocessor(dict(inputs=inputs, data_samples=[sample]))
    (result,) = model.predict(batch["inputs"], batch["data_samples"])
    found = result.pred_instances.numpy()
    maps = model.extract_feat(batch["inputs"])
    return dict(
        {f"feature_{i}": level.numpy() for i, level in enumerate(maps)},
        boxes=found.bboxes[:5],
        cls_logits=np.zeros((5, 4), np.float32),
        mask_logits=np.zeros((5, 3, 28, 28), np.float32),
        det_boxes=found.bboxes,
        det_scores=found.scores,
        det_labels=found.labels,
        det_masks_packed=np.packbits(found.masks),
        det_masks_shape=np.array(found.masks.shape),
    )


def test_a_cascade(tmp_path: Path, capfd):
    """Maps and detections are compared; logits of given boxes have no one stage."""
    arrays = state_dict(stages=3, box_classes=1)
    for name, value in arrays.items():
        if "bbox_pred" in name:  # boxes stay in the image, or have no area and are dropped
            arrays[name] = value * 0.01
    conversion = from_detectron2(*write(tmp_path, options(CASCADE), arrays))
    model = build(conversion.settings["model"])
    model.load_state_dict(conversion.state)
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    stored = outputs(model, image)
    assert len(stored["det_boxes"]) > 2
    comparison = ReferenceCheck(
        model, Reference(stored, image), conversion.source_labels, conversion.source_background
    )
    rows = comparison.rows()
    names = ["feature maps", "detections not found", "boxes", "scores", "mask pixels"]
    assert [row.name for row in rows] == names
    assert all(row.passed for row in rows)
    assert "logits of a cascade's stages are not compared" in "".join(capfd.readouterr())
    stored["det_boxes"] = stored["det_boxes"] + 1
    assert not all(row.passed for row in comparison.rows())
