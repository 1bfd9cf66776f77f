"""The analysis of errors as numbers that JSON can hold, and as tables."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping

import numpy as np
from terminaltables import AsciiTable

from mmdet_maskr.evaluation import backends, scores
from mmdet_maskr.evaluation.backends import EvaluationInput
from mmdet_maskr.evaluation.error_analysis.confusion import confusion_matrix
from mmdet_maskr.evaluation.error_analysis.matching import match
from mmdet_maskr.evaluation.error_analysis.split import (
    BACKGROUND,
    ERRORS,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    FOREGROUND,
    MISS,
    ErrorSplit,
    split_errors,
)

KINDS = dict(bbox="boxes", segm="masks", keypoints="keypoints")
EXAMPLES = 20  # of each error, the best scored


def analyze(
    comparison: EvaluationInput,
    score_thr: float = 0.3,
    foreground: float = FOREGROUND,
    background: float = BACKGROUND,
) -> dict:
    """COCO's AP by class, what errors cost, and the confusion matrix, as JSON can hold it.

    Args:
        comparison: boxes, masks or keypoints.
        score_thr: detections below this score are not in the confusion matrix.
        foreground: t_f, the least IoU or OKS of what is right.
        background: t_b, below it there is nothing.

    Returns:
        ``classes``: names; ``ap`` by class, with COCO's items; ``errors``: ``ap`` at t_f, ``gains``
        and ``counts`` by error, ``counts_of_classes``; ``confusion``: (K + 1) lists of K + 1;
        ``examples``: by error the detections (or missed objects) with image, class and score.
    """
    truth = comparison.truth
    names = {i: truth.cats[i]["name"] for i in comparison.category_ids}
    with contextlib.redirect_stdout(io.StringIO()):
        backend, _ = backends.choose(comparison, "auto")
        evaluation = backends.evaluate(comparison, backend)
    matching = match(comparison, foreground)
    split = split_errors(matching, foreground, background)
    confusion = confusion_matrix(matching, comparison.category_ids, score_thr, foreground)
    counted = comparison.counted
    overall = scores.statistics(evaluation, scores.default_items(comparison.kind), counted)
    by_class = scores.scores_of_classes(evaluation, names, counted)
    return dict(
        classes=list(names.values()),
        ap=dict(all=_known(overall), **{name: _known(by_class[name]) for name in by_class}),
        thresholds=dict(foreground=foreground, background=background, score=score_thr),
        errors=dict(
            ap=_number(split.ap),
            gains={kind: _number(gain) for kind, gain in split.gains.items()},
            counts=split.counts,
            counts_of_classes=_counts_of_classes(split, matching, names),
        ),
        confusion=confusion.tolist(),
        examples=_examples(split, matching, names),
    )


def tables(kind: str, analysis: Mapping) -> str:
    """An analysis as text.

    Args:
        kind: 'bbox', 'segm' or 'keypoints'.
        analysis: of :func:`analyze`.
    """
    errors, foreground = analysis["errors"], analysis["thresholds"]["foreground"]
    items = list(analysis["ap"]["all"])
    rows = [
        [name, *(_percent(values.get(item)) for item in items)]
        for name, values in analysis["ap"].items()
    ]
    measure = "OKS" if kind == "keypoints" else "IoU"
    meanings = {FALSE_POSITIVE: "all false positives", FALSE_NEGATIVE: "all misses"}
    costs = [
        [name, ERRORS.get(name, meanings.get(name)), str(errors["counts"].get(name, "")),
         _percent(gain, sign=True)]
        for name, gain in errors["gains"].items()
    ]  # fmt: skip
    ap = f"AP at {measure} {foreground:g} is {_percent(errors['ap'])}; without these it would be"
    parts = [
        f"{KINDS[kind]}: AP by class (%)",
        AsciiTable([["class", *items], *rows]).table,
        f"{KINDS[kind]}: errors ({ap} higher by dAP)",
        AsciiTable([["error", "what it is", "count", "dAP"], *costs]).table,
        *confusions(analysis),
    ]
    return "\n".join(parts)


def confusions(analysis: Mapping, count: int = 10) -> list[str]:
    """The classes that are most often taken for one another, as lines."""
    matrix, names = np.array(analysis["confusion"]), analysis["classes"]
    between = matrix[:-1, :-1].copy()
    np.fill_diagonal(between, 0)
    order = np.argsort(-between, axis=None, kind="stable")[:count]
    pairs = [divmod(int(place), len(names)) for place in order]
    lines = [f"  {between[a, b]:5d} {names[a]} taken for {names[b]}" for a, b in pairs
             if between[a, b]]  # fmt: skip
    thr = analysis["thresholds"]["score"]
    return [f"most confused, at scores from {thr:g}:", *lines] if lines else []


def _counts_of_classes(split: ErrorSplit, matching, names: Mapping) -> dict[str, dict[str, int]]:
    return {
        name: {
            kind: int(
                (split.missed & (matching.gt_categories == category)).sum()
                if kind == MISS
                else ((split.kinds == kind) & (matching.categories == category)).sum()
            )
            for kind in ERRORS
        }
        for category, name in names.items()
    }


def _examples(split: ErrorSplit, matching, names: Mapping) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for kind in ERRORS:
        if kind == MISS:
            rows = np.flatnonzero(split.missed)[:EXAMPLES]
            found[kind] = [
                dict(image_id=_plain(matching.gt_images[row]), annotation=int(matching.gt_ids[row]),
                     category=names[matching.gt_categories[row]])
                for row in rows
            ]  # fmt: skip
            continue
        rows = np.flatnonzero(split.kinds == kind)
        rows = rows[np.argsort(-matching.scores[rows], kind="stable")][:EXAMPLES]
        found[kind] = [
            dict(
                image_id=_plain(matching.image_ids[row]),
                category=names[matching.categories[row]],
                score=float(matching.scores[row]),
                annotation=int(matching.gt_ids[near])
                if (near := split.nearest[row]) >= 0
                else None,
            )
            for row in rows
        ]
    return found


def _known(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if value == -1 else _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _plain(value: object) -> object:
    return value.item() if hasattr(value, "item") else value


def _percent(value: float | None, sign: bool = False) -> str:
    return "-" if value is None else f"{100 * value:{'+' if sign else ''}.1f}"
