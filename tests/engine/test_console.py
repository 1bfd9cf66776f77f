"""Short lines on the console, everything in the file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

from mmdet_maskr.engine.console import short_message, shorten_console

TRAIN = (
    "Iter(train) [ 10/1000]  lr: 2.0000e-04  eta: 0:12:34  time: 0.2000  data_time: 0.0123  "
    "grad_norm: 3.1000  loss: 1.2345  loss_rpn_cls: 0.1000  loss_mask: 0.5000"
)
VAL = "Iter(val) [4/4]    coco/leaf_precision: 0.5000  coco/bbox_mAP: 0.4567  coco/bbox_mAP_50: 0.8"


def test_messages():
    assert short_message(TRAIN) == "iteration 10/1000, loss 1.23, 0:12:34 left"
    long = TRAIN.replace("0:12:34", "1 day, 2:03:04")
    assert short_message(long) == "iteration 10/1000, loss 1.23, 1 day, 2:03:04 left"
    scores = f"{VAL}  coco/segm_mAP: 0.4000  coco/segm_mAP_s: -1.0000  time: 0.1"
    assert short_message(scores) == "validation: box AP 45.7, mask AP 40.0"
    assert short_message("resumed epoch: 0, iter: 40") == "resumed after iteration 40"
    assert short_message("3 objects have no mask") == "3 objects have no mask"
    assert short_message("Iter(val) [4/4]  time: 0.1") == "Iter(val) [4/4]  time: 0.1"


def test_the_file_keeps_everything(tmp_path: Path, capsys: pytest.CaptureFixture):
    file = tmp_path / "a.log"
    logger = MMLogger("short", log_file=str(file), logger_name="short")
    shorten_console(logger)
    said = ["System environment:\n  Python", "Config:\na = 1", TRAIN, VAL, "Evaluating bbox..."]
    for message in said:
        logger.info(message)
    logger.info("resumed epoch: 0, iter: 40")
    logger.warning("Advance dataloader 40 steps to skip data that has already been trained")
    logger.warning("nothing is left to train: the checkpoint has 40 iterations")
    logger.warning("3 images are gone")
    logger.error("no disk")
    logging.shutdown()
    shown = [line[10:] for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        "iteration 10/1000, loss 1.23, 0:12:34 left",
        "validation: box AP 45.7",
        "resumed after iteration 40",
        "WARNING: 3 images are gone",
        "ERROR: no disk",
    ]
    content = file.read_text(encoding="utf-8")
    assert all(message in content for message in [*said, "3 images are gone", "no disk"])
