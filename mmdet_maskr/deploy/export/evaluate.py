"""COCO AP of the inferencer's and the runtime's predictions."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config

from mmdet_maskr.datasets import wrappers
from mmdet_maskr.ops.mask_rle import RLEMasks


def scores(
    predict: Callable[[str], dict], cfg: Config, dataset_meta: dict, keypoints: int
) -> dict[str, float]:
    """The scores of ``cfg.test_evaluator`` on the images of ``cfg.test_dataloader``.

    Args:
        predict: returns the predictions for the path of an image.
        cfg: of the model.
        dataset_meta: names of classes and keypoints.
        keypoints: K; 0 for a model without keypoints.
    """
    dataset = copy.deepcopy(cfg.test_dataloader.dataset)
    for leaf in wrappers.leaves(dataset):
        leaf.update(test_mode=True, pipeline=[])
    data = DATASETS.build(dataset)
    wrappers.prepare(data)
    metric = METRICS.build(copy.deepcopy(cfg.test_evaluator))
    metric.dataset_meta = {**data.metainfo, **dataset_meta}
    for index in range(len(data)):
        info = data.get_data_info(index)
        shape = (info["height"], info["width"])
        found = as_instances(predict(info["img_path"]), shape, keypoints)
        sample = dict(
            img_id=info["img_id"],
            ori_shape=shape,
            instances=info["instances"],
            pred_instances=found,
        )
        metric.process({}, [sample])
    return metric.evaluate(len(data))


def as_instances(found: dict, shape: tuple[int, int], keypoints: int) -> dict:
    """Convert lists and RLEs to the tensors and RLEMasks that a metric takes."""
    instances = dict(
        bboxes=torch.tensor(found["bboxes"]).view(-1, 4),
        scores=torch.tensor(found["scores"]),
        labels=torch.tensor(found["labels"], dtype=torch.int64),
    )
    if "masks" in found:
        instances["masks"] = RLEMasks(found["masks"], shape)
    if "keypoints" in found:
        for name, width in (("keypoints", (2,)), ("keypoint_scores", ())):
            values = torch.zeros(len(found["scores"]), keypoints, *width)
            for i, value in enumerate(found[name]):
                if value:
                    values[i] = torch.tensor(value)
            instances[name] = values
    return instances
