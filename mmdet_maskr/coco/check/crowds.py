"""Which annotations with iscrowd=1 are crowds, and which are single objects.

In COCO, a crowd is a region of objects that were not annotated one by one; there is at most one per
image and class. CVAT and Datumaro write iscrowd=1 for each object drawn with the brush, and only
for these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mmdet_maskr.coco.check.values import crowd_flag, is_id
from mmdet_maskr.errors import UserError

READINGS = ("auto", "keep", "none")
DOUBTFUL_SHARE = 0.25  # of a class; of COCO's largest ones it is 0.06
FEW = 3  # of which no share is taken
_LISTED = 8


class Others(NamedTuple):
    """Annotations with iscrowd=0.

    Args:
        total: how many there are, by category id.
        as_of_brush: whether all of them have attributes and no RLE, as in files made with CVAT's
            brush.
    """

    total: Mapping[Any, int]
    as_of_brush: bool


class Crowds:
    """Decides which annotations with iscrowd=1 are crowds.

    Args:
        annotations: annotations of a file; entries without ids are skipped.
        reading: 'auto'; 'keep' if all are crowds, 'none' if all are single objects.
        others: counts of the annotations with iscrowd=0.

    Attributes:
        flagged: number with iscrowd=1, by category id.
        total: how many there are, by category id.
        single: categories whose annotations with iscrowd=1 are single objects: those with an RLE in
            a file of CVAT or Datumaro, and all if the class has no other objects.
        doubtful: other categories with too many of them to be crowds.

    Raises:
        UserError: ``reading`` has another value.
    """

    def __init__(
        self, annotations: Iterable[Any], reading: str = "auto", others: Others | None = None
    ) -> None:
        if reading not in READINGS:
            raise UserError(f"crowds={reading!r}: it must be one of {READINGS}.")
        self.reading = reading
        self.flagged: Counter = Counter()
        self.total: Counter = Counter(others.total if others else {})
        coco: Counter = Counter()  # that are crowds by their ids
        in_image: Counter = Counter()
        # all have CVAT's attributes, and iscrowd=1 goes with an RLE
        brush = others is None or others.as_of_brush
        for annotation in annotations:
            if not isinstance(annotation, Mapping) or not is_id(annotation.get("category_id")):
                continue
            category = annotation["category_id"]
            is_flagged = crowd_flag(annotation.get("iscrowd")) == 1
            self.total[category] += 1
            brush &= isinstance(annotation.get("attributes"), Mapping)
            brush &= is_flagged == isinstance(annotation.get("segmentation"), Mapping)
            if not is_flagged:
                continue
            self.flagged[category] += 1
            coco[category] += _is_cocos(annotation)
            if is_id(annotation.get("image_id")):
                in_image[category, annotation["image_id"]] += 1
        several = {category for (category, _), count in in_image.items() if count > 1}
        self.single: set = set()
        self.doubtful: set = set()
        for category, count in self.flagged.items():
            own = count - coco[category]
            if not own or reading == "keep":
                continue
            if reading == "none" or brush or own == self.total[category]:
                self.single.add(category)
            elif category in several or own >= max(FEW, DOUBTFUL_SHARE * self.total[category]):
                self.doubtful.add(category)
        self.known = not self.flagged - coco

    def is_single(self, annotation: Mapping) -> bool:
        """Whether the annotation is a single object in spite of iscrowd=1."""
        return (
            annotation.get("category_id") in self.single
            and crowd_flag(annotation.get("iscrowd")) == 1
            and not _is_cocos(annotation)
        )

    def told(self, names: Mapping[Any, str]) -> str:
        """Sentences on annotations with iscrowd=1 by class, and how they are used; '' without any.

        Args:
            names: class names by category id.
        """
        sentences = []
        for categories, what in (
            (self.single, "are trained on and scored as single objects (crowds='keep' of dataset "
             "and evaluator ignores them)"),
            (self.doubtful, "are ignored as crowds, of which COCO has one an image and class at "
             "most: if they are single objects, set crowds='none' in dataset and evaluator"),
            (self.flagged.keys() - self.single - self.doubtful, "are ignored as crowds"),
        ):  # fmt: skip
            if categories:
                listed = self._listed(categories, names)
                count = sum(self.flagged[category] for category in categories)
                sentences.append(f"{count} objects with iscrowd=1 ({listed}) {what}.")
        return " ".join(sentences)

    def _listed(self, categories: Iterable[Any], names: Mapping[Any, str]) -> str:
        most = sorted(categories, key=lambda c: (-self.flagged[c], str(c)))
        texts = [
            f"{'all' if self.flagged[c] == self.total[c] else self.flagged[c]} of the "
            f"{self.total[c]} of {names.get(c, c)!r}"
            for c in most[:_LISTED]
        ]
        rest = len(most) - _LISTED
        return ", ".join(texts) + (f" and some of {rest} more classes" if rest > 0 else "")


def _is_cocos(annotation: Mapping) -> bool:
    """Whether it has the id of a crowd of COCO, which is made of category and image."""
    parts = [annotation.get(key) for key in ("id", "category_id", "image_id")]
    if not all(isinstance(part, int) for part in parts):
        return False
    number, category, image = parts
    return number == 900_000_000_000 + category * 100_000_000 + image  # type: ignore[operator]
