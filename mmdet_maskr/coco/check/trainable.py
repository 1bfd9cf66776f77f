"""Which annotations training uses, why it drops the others, and the likely cause.

mmdet leaves out annotations that it cannot use, without a message: ``CocoDataset.parse_data_info``
skips them, and ``LoadAnnotations`` marks them as ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from mmdet_maskr.coco.check.boxes import AS_COCO, Mismatch, compare

# What keeps an annotation out of training.
REASONS = {
    "image": "of images that are not in the file",
    "category": "of category ids that are not in the file",
    "other-class": "of classes that are not the dataset's",
    "ignore": "with ignore=1",
    "crowd": "with iscrowd=1",
    "outside": "with a box outside of its image",
    "area": "with an area of 0 or less",
    "small": "with a box under a pixel wide or high",
    "rle": "with a run-length code, which poly2mask=False ignores",
    "polygon": "without a polygon of three points",
}
MEANT = ("other-class", "ignore", "crowd")  # as the file or the config says
WARN_SHARE = 0.05  # of the annotations left out for other reasons
WARN_MEANT = 0.5  # ignored ones and crowds; of COCO's one in a hundred is a crowd
FRACTION = 1.001  # boxes without a larger number are no pixels


class Tally:
    """Counts the annotations of a file, one by one.

    Args:
        categories: category ids in the file, in its order.
        wanted: category ids of the dataset's classes; None for all.
        polygons_only: whether masks are loaded with ``poly2mask=False``.

    Attributes:
        reasons: number of annotations left out, by a key of :data:`REASONS`.
        used_images: ids of images with a used annotation or a crowd.
        mismatches: used annotations whose box does not match the bounds of the mask, by id.
        compared: number of used annotations with a mask.
        box_only: number of used annotations without a mask.
    """

    def __init__(
        self,
        categories: Collection[Any],
        wanted: Collection[Any] | None = None,
        polygons_only: bool = False,
    ) -> None:
        self.categories = list(categories)
        self._known = set(categories)
        self._wanted = self._known if wanted is None else set(wanted)
        self._polygons_only = polygons_only
        self.reasons: Counter[str] = Counter()
        self.used_images: set = set()
        self.mismatches: dict[Any, Mismatch] = {}
        self.compared = self.box_only = 0
        self.total = 0
        self._used_categories: Counter = Counter()
        self._fractions = 0

    def add(self, annotation: Mapping, image: Mapping | None) -> None:
        """Count an annotation that has passed the essential checks."""
        self.total += 1
        self._used_categories[annotation["category_id"]] += 1
        self._fractions += max(map(abs, annotation["bbox"])) <= FRACTION
        reason = self._why(annotation, image)
        if reason is not None:
            self.reasons[reason] += 1
        if reason in (None, "crowd"):
            self.used_images.add(annotation["image_id"])
        mask = annotation.get("segmentation")
        self.box_only += reason is None and not mask
        if reason not in (None, "crowd", "rle") or image is None or not mask:
            return
        self.compared += 1
        found = compare(annotation["bbox"], mask, image["width"], image["height"])
        if found is not None:
            self.mismatches[annotation.get("id")] = found

    def add_many(self, categories: Mapping[Any, int], fractions: int) -> None:
        """Count annotations whose reasons were already counted.

        Args:
            categories: number of annotations by category id.
            fractions: number of boxes without a value above 1.
        """
        self._used_categories.update(categories)
        self._fractions += fractions

    def _why(self, annotation: Mapping, image: Mapping | None) -> str | None:
        """A key of REASONS, or None for what is used; the rules are mmdet's."""
        if image is None:
            return "image"
        if annotation["category_id"] not in self._known:
            return "category"
        skipped = why_skipped(annotation, image, self._wanted)
        if skipped is not None:
            return skipped
        if annotation.get("iscrowd"):
            return "crowd"
        mask = annotation.get("segmentation")
        if self._polygons_only and isinstance(mask, dict):
            return "rle"
        if isinstance(mask, list) and mask:
            if not any(len(p) >= 6 and len(p) % 2 == 0 for p in mask):
                return "polygon"
        return None

    @property
    def used(self) -> int:
        """The number of annotations that training uses."""
        return self.total - sum(self.reasons.values())

    @property
    def is_much(self) -> bool:
        """Whether enough annotations are left out for a warning."""
        candidates = self.total - self.reasons["other-class"]
        unmeant = sum(n for reason, n in self.reasons.items() if reason not in MEANT)
        meant = self.reasons["ignore"] + self.reasons["crowd"]
        return unmeant > WARN_SHARE * candidates or meant > WARN_MEANT * candidates

    @property
    def all_fractions(self) -> bool:
        """Whether no box has a value above 1."""
        return 0 < self.total == self._fractions

    def listed(self) -> str:
        """The annotations left out, as text."""
        return ", ".join(f"{n} {REASONS[reason]}" for reason, n in self.reasons.most_common())

    def shift(self) -> dict | None:
        """The probable meaning of shifted category ids, see :func:`meant_ids`."""
        return meant_ids(self._used_categories, self.categories)

    def cause(self) -> str:
        """A sentence on the likely cause in the file, or ''."""
        if self.all_fractions or self._fractions > 0.5 * self.total:
            return (
                "The boxes have no number above 1: they are fractions of the image's size, and "
                f"COCO's are {AS_COCO} in pixels."
            )
        if self.shift():
            return shifted(self._used_categories, self.categories)
        if self.reasons["crowd"] > WARN_MEANT * self.total:
            return (
                "iscrowd=1 is for groups that nobody told apart, which are ignored: set it to 0 "
                "for single objects (CVAT writes 1 for all that is drawn with the brush)."
            )
        most = max(self.reasons, key=self.reasons.__getitem__, default=None)
        return {
            "rle": "Set poly2mask=True in the pipeline's LoadAnnotations.",
            "area": "area is that of the mask in pixels.",
            "image": "image_id of an annotation is the id of an entry of images; where ids are "
            "shifted, the other annotations are on a wrong image.",
            "category": "category_id of an annotation is the id of an entry of categories.",
        }.get(most or "", "")

    def boxes_cause(self) -> str:
        """The probable meaning of boxes that do not match their masks."""
        readings = Counter(m.reading for m in self.mismatches.values() if m.reading)
        if not readings:
            return ""
        reading, count = readings.most_common(1)[0]
        return f"{count} of them would fit as {reading}; COCO's are {AS_COCO} in pixels."


def why_skipped(annotation: Mapping, image: Mapping, wanted: Collection[Any]) -> str | None:
    """Why mmdet's CocoDataset skips an annotation; None if it does not.

    Args:
        annotation: an annotation of the image.
        image: with ``width`` and ``height``.
        wanted: category ids of the dataset's classes.

    Returns:
        A key of :data:`REASONS`.
    """
    if annotation["category_id"] not in wanted:
        return "other-class"
    if annotation.get("ignore"):
        return "ignore"
    x, y, w, h = annotation["bbox"]
    inside_w = min(x + w, image["width"]) - max(x, 0)
    inside_h = min(y + h, image["height"]) - max(y, 0)
    if inside_w <= 0 or inside_h <= 0:
        return "outside"
    if w < 1 or h < 1:
        return "small"
    return "area" if annotation["area"] <= 0 else None


def meant_ids(used: Collection[Any], categories: list) -> dict | None:
    """The intended category ids, if some ids are unknown and one rule makes all of them known.

    Rules: id - 1, id + 1, and positions in the file's list.

    Args:
        used: ids of the annotations.
        categories: ids of the file's categories, in its order.

    Returns:
        The intended id by the used id; None if all ids are known, if no rule fits, or if several
        rules fit with different results.
    """
    known = set(categories)
    if not used or all(i in known for i in used):
        return None
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in used):
        return None
    places = dict(enumerate(categories))
    rules = [
        {i: i + 1 for i in used},
        {i: i - 1 for i in used},
        {i: places.get(i) for i in used},
        {i: places.get(i - 1) for i in used},
    ]
    found = [rule for rule in rules if all(v is not None and v in known for v in rule.values())]
    return found[0] if found and all(rule == found[0] for rule in found) else None


def shifted(used: Collection[Any], categories: list) -> str:
    """A sentence on shifted category ids."""
    return (
        f"The annotations have category ids {_range(used)} and the categories {_range(categories)}:"
        " ids that are shifted, so that the rest would be trained as a wrong class."
    )


def _range(ids: Collection[Any]) -> str:
    ordered = sorted(ids, key=str) if any(isinstance(i, str) for i in ids) else sorted(ids)
    return str(ordered) if len(ordered) < 9 else f"{ordered[0]} to {ordered[-1]}"
