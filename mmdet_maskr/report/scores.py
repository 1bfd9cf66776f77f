"""Numbers of a report's page: AP, operating points, calibration, kinds of errors."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mmdet_maskr.evaluation.error_analysis.split import ERRORS
from mmdet_maskr.report.charts import Line, line_chart
from mmdet_maskr.report.page import percent
from mmdet_maskr.report.quality import Quality

NAMES = dict(segm="Masks", bbox="Boxes", keypoints="Keypoints")
ITEMS = dict(mAP="AP", mAP_50="AP50", mAP_75="AP75", mAP_s="small", mAP_m="medium", mAP_l="large")
CONFUSIONS = 12  # pairs of classes


def score_sections(qualities: Mapping[str, Quality]) -> dict:
    """Tables and charts by the names that the page's template has for them.

    Args:
        qualities: by kind; the first one is looked at in detail.
    """
    scores = []
    for kind, quality in qualities.items():
        table = quality.analysis["ap"]
        items = list(table["all"])
        rows = [("all", [table["all"][item] for item in items], True)]
        if len(quality.analysis["classes"]) > 1:
            rows += [
                (name, [table[name].get(item) for item in items], False)
                for name in quality.analysis["classes"]
            ]
        scores.append((NAMES[kind], rows, [ITEMS.get(item, item) for item in items]))
    main = next(iter(qualities.values()))
    points = [("all", main.overall, True)]
    if len(main.points) > 1:
        names = main.analysis["classes"]
        points += [(n, p, False) for n, p in zip(names, main.points, strict=True)]
    errors = main.analysis["errors"]
    kinds = [
        (kind, meaning, errors["counts"][kind], errors["gains"][kind])
        for kind, meaning in ERRORS.items()
    ]
    return dict(
        scores=scores,
        points=points,
        points_of=NAMES[main.kind].lower(),
        measure="OKS" if main.kind == "keypoints" else "IoU",
        point_charts=_point_charts(main),
        calibration_text=_calibration_text(main),
        errors=kinds,
        errors_ap=errors["ap"],
        confusions=_confusions(main),
    )


def _point_charts(quality: Quality) -> list:
    thresholds, precision, recall = quality.curve
    sums = precision + recall
    f1 = np.divide(2 * precision * recall, sums, out=np.zeros_like(sums), where=sums > 0)
    lines = [
        Line(
            name, list(zip(thresholds.tolist(), values.tolist(), strict=True)), color, name == "F1"
        )
        for name, values, color in (
            ("precision", precision, 1),
            ("recall", recall, 2),
            ("F1", f1, 3),
        )
    ]
    bins = quality.calibration
    kept = bins.counts > 0
    reliability = list(zip(bins.scores[kept].tolist(), bins.shares[kept].tolist(), strict=True))
    charts = [
        line_chart("Precision, recall and F1 by least score", lines, "least score", (0, 1)),
        line_chart(
            "Share of detections that are right, by their score", [Line("", reliability, 1)],
            "score", (0, 1), diagonal=True,
        ),
    ]  # fmt: skip
    return [chart for chart in charts if chart]


def _calibration_text(quality: Quality) -> str:
    error = quality.calibration.error
    if math.isnan(error):
        return "There are no detections whose scores could be compared."
    return (
        f"Calibration: scores and the share that is right differ by {percent(error)} points on "
        "average (expected calibration error, ten bins). On the dashed line a score is the "
        "probability of being right."
    )


def _confusions(quality: Quality) -> list[tuple[str, str, int]]:
    matrix = np.array(quality.analysis["confusion"])[:-1, :-1]
    np.fill_diagonal(matrix, 0)
    names = quality.analysis["classes"]
    order = np.argsort(-matrix, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [divmod(int(place), len(names)) for place in order]
    return [(names[a], names[b], int(matrix[a, b])) for a, b in pairs if matrix[a, b]]
