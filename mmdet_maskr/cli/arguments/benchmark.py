"""Compare speed and memory with stock mmdet and mmcv.

All candidates run in turn in one process, with the same inputs and the same number of threads.
Times are medians, with minimum and maximum. Peak memory is the increase of the resident size during
one run in a fresh process. Seams measures what is found, and no time.
"""

from __future__ import annotations

import argparse

from mmdet_maskr.benchmark.coco_eval import add_coco_eval
from mmdet_maskr.benchmark.data import add_data
from mmdet_maskr.benchmark.export import add_export
from mmdet_maskr.benchmark.guards import add_guards
from mmdet_maskr.benchmark.inference import add_inference
from mmdet_maskr.benchmark.keypoint_decode import add_keypoint_decode
from mmdet_maskr.benchmark.launches import add_launches
from mmdet_maskr.benchmark.live import add_live
from mmdet_maskr.benchmark.mask import add_mask_head, add_mask_paste
from mmdet_maskr.benchmark.ops import add_ops
from mmdet_maskr.benchmark.roi_align import add_roi_align
from mmdet_maskr.benchmark.seams import add_seams
from mmdet_maskr.benchmark.startup import add_startup
from mmdet_maskr.benchmark.train_step import add_train_step
from mmdet_maskr.benchmark.video import add_video


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    subparsers = parser.add_subparsers(metavar="NAME", required=True)
    parts = (
        add_inference,
        add_roi_align,
        add_train_step,
        add_launches,
        add_ops,
        add_mask_head,
        add_mask_paste,
        add_startup,
        add_keypoint_decode,
        add_guards,
        add_coco_eval,
        add_data,
        add_export,
        add_live,
        add_video,
        add_seams,
    )
    for add in parts:
        add(subparsers)
