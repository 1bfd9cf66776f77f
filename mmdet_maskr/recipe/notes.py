"""The messages about a folder before training."""

from __future__ import annotations

from mmdet_maskr.datasets.formats.prepared import Prepared
from mmdet_maskr.recipe.facts import Facts

FEW = 10  # photos, with which a score means little


def told(prepared: Prepared, facts: Facts) -> str:
    """Counts, assumptions and warnings, one line each."""
    summary = prepared.summary
    lines = [
        f"{prepared.root}: {summary['format']}, {len(facts.classes)} classes: "
        f"{', '.join(facts.classes[:20])}",
        f"  training: {facts.images} photos with {facts.objects} objects",
        f"  validation: {facts.val_images} photos with {sum(facts.val_counts.values())} objects",
    ]
    if "test" in prepared.files:
        lines.append("  test: only `maskr test` uses the photos of this split")
    lines += [f"  {count} {what}" for what, count in summary["assumed"]]
    if facts.negatives:
        lines.append(f"  {facts.negatives} photos without objects train as background")
    if 0 < facts.masks < 1:
        boxes = round((1 - facts.masks) * facts.objects)
        lines.append(
            f"  {boxes} objects with only a box train the box branch and not the mask branch"
        )
    elif not facts.masks:
        lines.append("  no object has a mask: training boxes"
                     + " and keypoints" * bool(facts.keypoints))  # fmt: skip
    if facts.bands is not None:
        lines.append(
            f"  photos of {' and '.join(facts.bands.types)} are loaded with all their bits"
        )
    lines += [f"WARNING: {text}" for text in _warnings(prepared, facts)]
    return "\n".join(lines)


def _warnings(prepared: Prepared, facts: Facts) -> list[str]:
    found = []
    leaks = prepared.summary["leaks"]
    if leaks:
        train, other = leaks[0]
        found.append(
            f"{len(leaks)} photos for validation or test are also in the training set, so the "
            f"scores will be too high; the first is {other}, the same as {train}."
        )
    if facts.deep and facts.bands is None:
        found.append(
            f"{facts.deep} photos have more than 8 bits, others have 8: all are read with 8 bits, "
            "which may lose most of their content."
        )
    single = [name for name, count in facts.counts.items() if count == 1]
    none = [name for name, count in facts.counts.items() if count == 0]
    unseen = [name for name, count in facts.val_counts.items() if not count and facts.counts[name]]
    for names, what in (
        (single, "has one training object: too few to learn it"),
        (none, "has no training object: it cannot be detected"),
        (unseen, "is in no validation photo: it gets no score"),
    ):
        found += [f"class {name!r} {what}." for name in names[:5]]
        if len(names) > 5:
            found.append(f"and {len(names) - 5} more classes: {what}.")
    if facts.images + facts.val_images < FEW:
        found.append(
            f"only {facts.images + facts.val_images} photos: the scores are unreliable, and more "
            "photos help most."
        )
    return found
