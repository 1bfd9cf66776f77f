"""The messages about a folder before training."""

from __future__ import annotations

from mmdet_maskr.datasets.formats.prepared import Prepared
from mmdet_maskr.recipe.facts import Facts

FEW = 10  # photos, with which a score means little


def told(prepared: Prepared, facts: Facts) -> str:
    """Counts, assumptions and warnings, one line each."""
    summary = prepared.summary
    lines = [
        f"{prepared.root}: {summary['format']}, {facts.images} photos train and "
        f"{facts.val_images} validate, {facts.objects} and {sum(facts.val_counts.values())} "
        f"objects of {len(facts.classes)} classes: {', '.join(facts.classes[:20])}"
    ]
    lines += [f"  {count} {what}" for what, count in summary["assumed"]]
    if facts.negatives:
        lines.append(f"  {facts.negatives} photos without objects, which train as background")
    if 0 < facts.masks < 1:
        boxes = round((1 - facts.masks) * facts.objects)
        lines.append(f"  {boxes} objects with a box and no mask, which train boxes alone")
    elif not facts.masks:
        lines.append("  no object has a mask: boxes" + " and keypoints" * bool(facts.keypoints)
                     + " are trained")  # fmt: skip
    if facts.bands is not None:
        lines.append(f"  photos of {' and '.join(facts.bands.types)}, loaded with all their bits")
    lines += [f"WARNING: {text}" for text in _warnings(prepared, facts)]
    return "\n".join(lines)


def _warnings(prepared: Prepared, facts: Facts) -> list[str]:
    found = []
    leaks = prepared.summary["leaks"]
    if leaks:
        train, other = leaks[0]
        found.append(
            f"{len(leaks)} photos that validate or test are the same as ones that train, so scores "
            f"are too high; the first is {other}, which is {train}."
        )
    if facts.deep and facts.bands is None:
        found.append(
            f"{facts.deep} photos have more than 8 bits and others 8: all are read as 8, in which "
            "little may be left of those."
        )
    single = [name for name, count in facts.counts.items() if count == 1]
    none = [name for name, count in facts.counts.items() if count == 0]
    unseen = [name for name, count in facts.val_counts.items() if not count and facts.counts[name]]
    for names, what in (
        (single, "has one object to train on: it will hardly be learned"),
        (none, "has no object to train on: it cannot be found"),
        (unseen, "is in no photo that validates: it has no score"),
    ):
        found += [f"class {name!r} {what}." for name in names[:5]]
        if len(names) > 5:
            found.append(f"and {len(names) - 5} classes more: {what}.")
    if facts.images + facts.val_images < FEW:
        found.append(
            f"{facts.images + facts.val_images} photos in all: the scores say little, and more "
            "photos help most."
        )
    return found
