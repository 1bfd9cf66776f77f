"""Say what a detector gets wrong: AP by class, errors by kind and cost, confused classes.

Errors are split as in TIDE (Bolya et al. 2020) into classification, localisation, both, duplicate,
background and missed, with the AP that mending each would gain. Results are files of COCO results
(tools/test.py with test_evaluator.outfile_prefix, or MaskRInferencer with coco_json), several if
boxes, masks and keypoints lie apart, or what tools/test.py --out wrote.

Examples:
    python tools/analyze_errors.py data/coco/annotations/instances_val2017.json found.json
    python tools/analyze_errors.py CONFIG predictions.pkl --out-dir errors
    python tools/analyze_errors.py CONFIG test.bbox.json test.segm.json test.keypoints.json
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.engine.launch import run_tool
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation.error_analysis.analysis import KINDS, analyse, tables
from mmdet_maskr.evaluation.error_analysis.figure import draw_errors
from mmdet_maskr.evaluation.error_analysis.inputs import comparisons
from mmdet_maskr.evaluation.error_analysis.split import BACKGROUND, FOREGROUND


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("truth", metavar="CONFIG|ANN", help="config, or COCO annotation file")
    parser.add_argument("results", nargs="+", help="COCO results (.json), or predictions (.pkl)")
    parser.add_argument("--data-root", help="folder of the data set (default: the config's)")
    parser.add_argument(
        "--out-dir",
        type=Path,
        help="folder for errors.json, errors.txt and errors.png (default: errors, beside the "
        "first results)",
    )
    parser.add_argument(
        "--iou", type=float, default=FOREGROUND, help="least IoU or OKS of a hit (default: 0.5)"
    )
    parser.add_argument(
        "--background-iou", type=float, default=BACKGROUND,
        help="with a lower IoU, a detection is on background (default: 0.1)",
    )  # fmt: skip
    parser.add_argument(
        "--score-thr", type=float, default=0.3,
        help="least score of a detection in the confusion matrix (default: %(default)s)",
    )  # fmt: skip
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if not 0 < args.background_iou < args.iou <= 1:
        raise UserError(
            f"--background-iou {args.background_iou:g} and --iou {args.iou:g}: they must be above "
            "0, the first below the second, and that at most 1."
        )
    out_dir = args.out_dir or Path(args.results[0]).parent / "errors"
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints while it reads
        compared = comparisons(args.truth, args.results, args.data_root)
    analyses, texts = {}, []
    for kind, comparison in compared.items():
        print(f"analysing {KINDS[kind]}: {len(comparison.found.scores)} detections", flush=True)
        analyses[kind] = analyse(comparison, args.score_thr, args.iou, args.background_iou)
        texts.append(tables(kind, analyses[kind]))
    text = "\n\n".join(texts) + "\n"
    print("\n" + text)
    write_whole(out_dir / "errors.txt", text)
    write_whole(out_dir / "errors.json", json.dumps(analyses, indent=1) + "\n")
    draw_errors(analyses, out_dir / "errors.png")
    print(f"written: {out_dir}/errors.txt, errors.json, errors.png")


if __name__ == "__main__":
    run_tool(main)
