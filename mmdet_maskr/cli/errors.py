"""``maskr errors``: kinds of errors, with tables and a figure."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation.error_analysis.analysis import KINDS, analyze, tables
from mmdet_maskr.evaluation.error_analysis.figure import draw_errors
from mmdet_maskr.evaluation.error_analysis.inputs import comparisons


def run(args: argparse.Namespace) -> None:
    if not 0 < args.background_iou < args.iou <= 1:
        raise UserError(
            f"--background-iou {args.background_iou:g} and --iou {args.iou:g}: 0 < "
            "--background-iou < --iou <= 1 must hold."
        )
    out_dir = args.out_dir or Path(args.results[0]).parent / "errors"
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints while it reads
        compared = comparisons(args.truth, args.results, args.data_root)
    analyses, texts = {}, []
    for kind, comparison in compared.items():
        print(f"analyzing {KINDS[kind]}: {len(comparison.found.scores)} detections", flush=True)
        analyses[kind] = analyze(comparison, args.score_thr, args.iou, args.background_iou)
        texts.append(tables(kind, analyses[kind]))
    text = "\n\n".join(texts) + "\n"
    print("\n" + text)
    write_whole(out_dir / "errors.txt", text)
    write_whole(out_dir / "errors.json", json.dumps(analyses, indent=1) + "\n")
    draw_errors(analyses, out_dir / "errors.png")
    print(f"written: {out_dir}/errors.txt, errors.json, errors.png")
