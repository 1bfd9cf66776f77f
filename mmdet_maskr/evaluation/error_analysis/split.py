"""Errors by kind, and the AP that would be gained if there were none of a kind.

Symbols: D detections, G annotations, t_f and t_b the foreground and background thresholds.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from mmdet_maskr.evaluation.error_analysis.matching import Matching

FOREGROUND, BACKGROUND = 0.5, 0.1  # the paper's t_f and t_b
CLS, LOC, BOTH, DUPE, BKG, MISS = "Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"
FALSE_POSITIVE, FALSE_NEGATIVE = "FP", "FN"
ERRORS = {
    CLS: "right place, wrong class",
    LOC: "right class, badly placed",
    BOTH: "wrong class and badly placed",
    DUPE: "a better scored detection has the object already",
    BKG: "no object there",
    MISS: "object that no detection comes near",
}
RECALLS = np.linspace(0.0, 1.0, 101)  # COCO's


@dataclass(frozen=True)
class ErrorSplit:
    """AP and what errors cost of it.

    Args:
        ap: AP at IoU (or OKS) t_f, over the classes; NaN where there is nothing to find.
        gains: for each key of :data:`ERRORS`, and for 'FP' (all false positives) and 'FN' (all
            misses), how much AP rises if it is fixed alone. They do not add up to 1 - ap.
        counts: how many errors there are of each key of :data:`ERRORS`.
        kinds: (D,) the error of each detection, '' for those that are right or ignored.
        nearest: (D,) row of the annotation that an error of Cls, Loc, Both or Dupe is about, or -1.
        missed: (G,) bool, annotations that no Cls or Loc error is about either.
    """

    ap: float
    gains: dict[str, float]
    counts: dict[str, int]
    kinds: np.ndarray
    nearest: np.ndarray
    missed: np.ndarray


def split_errors(
    matching: Matching, foreground: float = FOREGROUND, background: float = BACKGROUND
) -> ErrorSplit:
    """Tell the errors apart as section 2 of Bolya et al. does, and fix them one kind at a time.

    A detection that matches nothing is, in this order, of kind Loc if its best overlap with an
    object of its class is in [t_b, t_f); Cls if that with one of another class is t_f or more; Dupe
    if that with one of its class is; Bkg if none is t_b or more; else Both.

    Args:
        matching: at t_f.
        foreground: t_f.
        background: t_b.
    """
    own, own_gt = _best(matching, same_class=True)
    other, other_gt = _best(matching, same_class=False)
    wrong = ~matching.correct & ~matching.ignored
    kinds = np.full(len(matching.scores), "", dtype="<U4")
    nearest = np.full(len(matching.scores), -1)
    undecided = wrong.copy()
    for kind, is_it, gt in (
        (LOC, (own >= background) & (own < foreground), own_gt),
        (CLS, other >= foreground, other_gt),
        (DUPE, own >= foreground, own_gt),
        (BKG, np.maximum(own, other) < background, np.full_like(own_gt, -1)),
        (BOTH, np.ones_like(wrong), other_gt),
    ):
        chosen = undecided & is_it
        kinds[chosen], nearest[chosen] = kind, gt[chosen]
        undecided &= ~chosen
    missed = ~matching.gt_found
    missed[nearest[np.isin(kinds, (CLS, LOC))]] = False
    base = fixed_ap(matching, kinds, nearest, missed, ())
    gains = {
        kind: fixed_ap(matching, kinds, nearest, missed, fixed) - base
        for kind, fixed in (
            *((kind, (kind,)) for kind in ERRORS),
            (FALSE_POSITIVE, (FALSE_POSITIVE,)),
            (FALSE_NEGATIVE, (FALSE_NEGATIVE,)),
        )
    }
    counts = {kind: int((kinds == kind).sum()) for kind in ERRORS}
    counts[MISS] = int(missed.sum())
    return ErrorSplit(base, gains, counts, kinds, nearest, missed)


def fixed_ap(
    matching: Matching,
    kinds: np.ndarray,
    nearest: np.ndarray,
    missed: np.ndarray,
    fixed: Collection[str],
) -> float:
    """AP over classes, after errors of some kinds have been fixed.

    Of the detections whose Cls or Loc error is about an object that no one has found, the best
    scored becomes right; all others that are fixed are taken away. Missed objects are no longer
    looked for; a class of which nothing is left to find has AP 0 while wrong detections of it are
    left, and does not count without. All this is as in the paper's code.

    Args:
        matching: as matched.
        kinds: (D,) errors.
        nearest: (D,) the annotations that they are about.
        missed: (G,) bool.
        fixed: keys of :data:`ERRORS`, 'FP' or 'FN'.
    """
    correct, categories = matching.correct.copy(), matching.categories.copy()
    kept = ~matching.ignored
    if FALSE_POSITIVE in fixed:
        kept &= correct
    fix = np.isin(kinds, [kind for kind in fixed if kind != MISS])
    fixable = fix & np.isin(kinds, (CLS, LOC))
    fixable[fixable] = ~matching.gt_found[nearest[fixable]]
    rows = np.flatnonzero(fixable)
    rows = rows[np.argsort(-matching.scores[rows], kind="stable")]
    _, first = np.unique(nearest[rows], return_index=True)
    best = rows[first]
    kept &= ~fix
    kept[best] = correct[best] = True
    categories[best] = matching.gt_categories[nearest[best]]
    wanted = np.ones(len(matching.gt_ids), bool)
    if FALSE_NEGATIVE in fixed:
        wanted = matching.gt_found
    elif MISS in fixed:
        wanted = ~missed
    aps = []
    for category in np.unique(matching.gt_categories):
        rows = kept & (categories == category)
        total = int((wanted & (matching.gt_categories == category)).sum())
        ap = average_precision(matching.scores[rows], correct[rows], total)
        aps.append(0.0 if np.isnan(ap) and rows.any() else ap)
    known = [ap for ap in aps if not np.isnan(ap)]
    if aps and not known:
        return 1.0  # all that there was to fix is fixed
    return float(np.mean(known)) if known else float("nan")


def average_precision(scores: np.ndarray, correct: np.ndarray, total: int) -> float:
    """COCO's interpolated AP of one class; NaN where there is nothing to find.

    Args:
        scores: (D,) of the detections that count.
        correct: (D,) bool.
        total: how many objects there are.
    """
    if total == 0:
        return float("nan")
    if len(scores) == 0:
        return 0.0
    right = np.cumsum(correct[np.argsort(-scores, kind="stable")])
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(right / total, RECALLS, side="left")
    return float(np.append(precision, 0.0)[np.minimum(places, len(right))].mean())


def _best(matching: Matching, same_class: bool) -> tuple[np.ndarray, np.ndarray]:
    """The highest similarity of each detection with annotations of its class or another: (D,), and
    the rows of these annotations: (D,), -1 where there is none."""
    dets, gts = matching.pairs.T
    fits = (matching.categories[dets] == matching.gt_categories[gts]) == same_class
    dets, gts, values = dets[fits], gts[fits], matching.similarities[fits]
    order = np.argsort(values, kind="stable")  # the last one written is the highest
    best, row = np.zeros(len(matching.scores)), np.full(len(matching.scores), -1)
    best[dets[order]] = values[order]
    row[dets[order]] = gts[order]
    return best, row
