"""The images of a dataset, created from the index of its annotation file on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmdet.datasets import CocoDataset
from mmengine.dataset import force_full_init

from mmdet_maskr.coco.index import AnnotationIndex


class IndexedItems(Sequence):
    """Stands for mmdet's ``data_list``: a dict an image, made of the index each time.

    Args:
        index: of the annotation file, ``source`` then.
        rows: (M,) of the images, in order.
        make: gives the dict, of an image's row.
    """

    def __init__(
        self, index: AnnotationIndex, rows: np.ndarray, make: Callable[[int], dict]
    ) -> None:
        self.source, self.rows, self.make = index, rows, make

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        """One image, or several by a slice."""
        if isinstance(place, slice):
            return IndexedItems(self.source, self.rows[place], self.make)
        return self.make(int(self.rows[place]))

    def __deepcopy__(self, memo: dict) -> IndexedItems:
        """Another one of the same images; nothing in it changes."""
        return IndexedItems(self.source, self.rows, self.make)

    def take(self, places: Sequence[int] | np.ndarray) -> IndexedItems:
        """Some of the images, in another order perhaps."""
        return IndexedItems(self.source, self.rows[np.asarray(places, np.int64)], self.make)


class SharesIndex(CocoDataset):
    """A dataset whose ``data_list`` may be :class:`IndexedItems`, which all processes share.

    To be inherited before the dataset that reads the file, and sets ``_loaded`` (N,): which
    annotations it passes on.

    Attributes:
        PARSERS: functions ``parse_data_info`` that pass on just these.
    """

    PARSERS: tuple[Callable, ...] = ()
    _loaded: np.ndarray

    def filter_data(self) -> Any:
        """Leave images out as ``filter_cfg`` says.

        Raises:
            UserError: no image is left.
        """
        kept = super().filter_data()
        if isinstance(kept, IndexedItems):
            self.serialize_data = False  # processes share the index, without a copy to serialize
        return kept

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """What is known of an image, and ``sample_idx``."""
        items = self._indexed_items()
        if items is None:
            return super().get_data_info(idx)
        return dict(items[idx], sample_idx=idx if idx >= 0 else len(self) + idx)

    @force_full_init
    def get_cat_ids(self, idx: int) -> list[int]:
        """Labels of an image's instances."""
        items = self._indexed_items()
        if items is None or type(self).parse_data_info not in self.PARSERS:
            return super().get_cat_ids(idx)
        numbers = items.source.of_image(items.rows[idx])
        numbers = numbers[self._loaded[numbers]]
        codes = items.source.arrays["category"][numbers].tolist()
        return [self.cat2label[items.source.category_ids[code]] for code in codes]

    def _get_unserialized_subset(self, indices: int | Sequence[int]) -> Any:
        items = self._indexed_items()
        if items is None or isinstance(indices, int):
            return super()._get_unserialized_subset(indices)
        return items.take(indices)

    def _indexed_items(self) -> IndexedItems | None:
        items = getattr(self, "data_list", None)  # subsets of what is serialized have none
        return items if isinstance(items, IndexedItems) else None
