"""Compare speed and memory with stock mmdet and mmcv.

Contenders run alternately in one process with the same inputs and the same number of threads, so
that both see the same machine; medians count, and the smallest and largest are shown with them.
Peak memory is the highest resident size during one run in a fresh process, above that before it.
"""

from __future__ import annotations

import argparse
import os

# Before torch is loaded: OpenMP's threads that spin for long slow one another on a busy machine.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from mmengine.registry import init_default_scope

import mmdet_maskr  # noqa: F401  (registers its parts)
from mmdet_maskr.benchmark.coco_eval import add_coco_eval
from mmdet_maskr.benchmark.data import add_data
from mmdet_maskr.benchmark.export import add_export
from mmdet_maskr.benchmark.guards import add_guards
from mmdet_maskr.benchmark.inference import add_inference
from mmdet_maskr.benchmark.keypoint_decode import add_keypoint_decode
from mmdet_maskr.benchmark.launches import add_launches
from mmdet_maskr.benchmark.mask import add_mask_head, add_mask_paste
from mmdet_maskr.benchmark.ops import add_ops
from mmdet_maskr.benchmark.roi_align import add_roi_align
from mmdet_maskr.benchmark.startup import add_startup
from mmdet_maskr.benchmark.train_step import add_train_step
from mmdet_maskr.engine.launch import run_tool


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Options of a comparison: python tools/benchmark.py NAME --help",
    )
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
    )
    for add in parts:
        add(subparsers)
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    init_default_scope("mmdet")
    args.run(args)


if __name__ == "__main__":
    run_tool(main)
