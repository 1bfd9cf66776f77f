"""``maskr report``: one HTML page about a trained model."""

from __future__ import annotations

import argparse

from mmdet_maskr.report import write_report


def run(args: argparse.Namespace) -> None:
    path = write_report(
        args.work_dir,
        config=args.config,
        checkpoint=args.checkpoint,
        detections=args.detections,
        out=args.out,
        title=args.title,
        device=args.device,
    )
    print(f"written: {path} ({path.stat().st_size / 2**20:.1f} MB)")
