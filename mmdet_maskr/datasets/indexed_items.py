"""A data set's images that are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmdet_maskr.coco.index import AnnotationIndex


class IndexedItems(Sequence):
    """Stands for mmdet's ``data_list``: a dict an image, made of the index each time.

    Args:
        index: of the annotation file, ``source`` then.
        rows: (M,) of the images, in order.
        make: gives the dict, of the image's entry and those of its annotations.
    """

    def __init__(
        self, index: AnnotationIndex, rows: np.ndarray, make: Callable[[dict, list[dict]], dict]
    ) -> None:
        self.source, self.rows, self.make = index, rows, make

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        """One image, or several by a slice."""
        if isinstance(place, slice):
            return IndexedItems(self.source, self.rows[place], self.make)
        row = int(self.rows[place])
        return self.make(self.source.image(row), self.source.annotations(self.source.of_image(row)))

    def __deepcopy__(self, memo: dict) -> IndexedItems:
        """Another one of the same images; nothing in it changes."""
        return IndexedItems(self.source, self.rows, self.make)

    def take(self, places: Sequence[int] | np.ndarray) -> IndexedItems:
        """Some of the images, in another order perhaps."""
        return IndexedItems(self.source, self.rows[np.asarray(places, np.int64)], self.make)
