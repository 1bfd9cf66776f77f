"""The cost of a row on COCO, estimated without running it."""

from __future__ import annotations

from mmengine.config import Config

from mmdet_maskr.ablations.tables import TableRow
from mmdet_maskr.catalogue.published import numbers

ZOO_IMAGES, ZOO_GPUS = 16, 8  # in an iteration that the zoo timed


def training_images(cfg: Config, gpus: int) -> int:
    """How many images the training of a row sees, on so many GPUs; all rows count iterations."""
    return cfg.train_cfg.max_iters * cfg.train_dataloader.batch_size * gpus


def gpu_hours(row: TableRow, cfg: Config, gpus: int) -> float:
    """Expected GPU hours: Detectron2's time per image of the nearest model, on V100s.

    It grows with the number of pixels (``row.cost_factor``), and leaves out validation.
    """
    seconds = numbers()["zoo"][row.cost][0] * row.cost_factor
    return training_images(cfg, gpus) * seconds * ZOO_GPUS / ZOO_IMAGES / 3600
