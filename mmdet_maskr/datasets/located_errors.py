"""Pipelines whose errors know the transform that they came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mmcv.transforms
import mmengine.dataset

_PLACES = "_transforms_of_pipeline"  # attribute of an error: names, the innermost first


def failed_transform(error: BaseException) -> str | None:
    """Number and name of the transform of a pipeline that an error came from, if it did.

    Of transforms within others (RandomApply, a Compose) both are named.
    """
    return ", ".join(reversed(getattr(error, _PLACES, ()))) or None


def _call_each(transforms: Sequence[Callable], data: Any) -> Any:
    for index, transform in enumerate(transforms):
        try:
            data = transform(data)
        except Exception as error:
            names = [
                *getattr(error, _PLACES, ()),
                f"transform {index} ({type(transform).__name__})",
            ]
            setattr(error, _PLACES, names)
            raise
        if data is None:  # the dataset takes another image then
            return None
    return data


class PipelineWithPlaces(mmengine.dataset.Compose):
    """mmengine's Compose, which notes on an error where it came from."""

    def __call__(self, data: dict) -> dict | None:
        """Apply the transforms one after the other; None where one returns None."""
        return _call_each(self.transforms, data)


class InnerPipelineWithPlaces(mmcv.transforms.Compose):
    """MMCV's Compose, of transforms within others, which notes on an error where it came from."""

    def transform(self, results: dict) -> dict | None:
        """Apply the transforms one after the other; None where one returns None."""
        return _call_each(self.transforms, results)


_KINDS: dict[type, type] = {
    mmengine.dataset.Compose: PipelineWithPlaces,
    mmcv.transforms.Compose: InnerPipelineWithPlaces,
}


def with_places(pipeline: Any) -> Any:
    """A pipeline with the same transforms whose errors :func:`failed_transform` can place.

    Pipelines within its transforms are replaced, too. One of a class that is not mmengine's or
    MMCV's stays as it is.
    """
    kind = _KINDS.get(type(pipeline))
    if kind is None:
        return pipeline
    for transform in pipeline.transforms:
        for name, value in list(getattr(transform, "__dict__", {}).items()):
            if type(value) in _KINDS:
                setattr(transform, name, with_places(value))
            elif type(value) is list and any(type(item) in _KINDS for item in value):
                setattr(transform, name, [with_places(item) for item in value])
            elif type(value) is dict and any(type(item) in _KINDS for item in value.values()):
                setattr(transform, name, {key: with_places(item) for key, item in value.items()})
    return kind(pipeline.transforms)
