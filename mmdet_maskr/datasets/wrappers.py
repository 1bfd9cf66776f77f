"""Data sets within data sets: ConcatDataset, RepeatDataset, ClassBalancedDataset and their like.

A wrapper has its data sets under ``dataset`` or ``datasets``, in the config and when it is built.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmdet.registry import DATASETS

from mmdet_maskr.datasets.transforms import check_pipeline
from mmdet_maskr.datasets.transforms.pipeline_check import NOTHING
from mmdet_maskr.errors import UserError

# What the data sets within a wrapper have to agree on, for labels and keypoints to mean the same.
SHARED = ("classes", "keypoints", "keypoint_classes", "keypoint_swaps")


def leaves(dataset: Any) -> Iterator[Any]:
    """The data sets that read files, in order, of a config or of a built data set."""
    inner = _within(dataset)
    if not inner:
        yield dataset
    for part in inner:
        yield from leaves(part)


def _within(dataset: Any) -> list:
    """The data sets that a wrapper holds; none for a data set that reads files."""
    if isinstance(dataset, Mapping):
        several, one = dataset.get("datasets"), dataset.get("dataset")
    else:
        several, one = getattr(dataset, "datasets", None), getattr(dataset, "dataset", None)
    if several is not None:
        return list(several)
    return [] if one is None else [one]


def pipelines(dataset: Mapping) -> list:
    """Pipelines of a config's data sets that read files; those that are equal once.

    Raises:
        UserError: one of them has none.
    """
    found: list = []
    for leaf in leaves(dataset):
        if leaf.get("pipeline") is None:
            raise UserError(f"the data set {_name(leaf)} has no pipeline.")
        if leaf["pipeline"] not in found:
            found.append(leaf["pipeline"])
    return found


def the_pipeline(dataset: Mapping, purpose: str) -> Sequence[dict]:
    """The one pipeline of a config's data sets.

    Args:
        dataset: config of a data set, wrapped or not.
        purpose: what it is for, for messages.

    Raises:
        UserError: there are several different ones, or none.
    """
    found = pipelines(dataset)
    if len(found) > 1:
        raise UserError(
            f"the data sets within {_name(dataset)} have {len(found)} different pipelines, and "
            f"{purpose} needs one: give them the same."
        )
    return found[0]


def metainfo_of(dataset: Mapping) -> dict:
    """The metainfo of a config's data set, wrapped or not, without reading annotations.

    Raises:
        UserError: the data sets within differ in classes or keypoints.
    """
    built = [DATASETS.build(_lazy(leaf)) for leaf in leaves(dataset)]
    return joined_metainfo([leaf.metainfo for leaf in built], _name(dataset))


def joined_metainfo(metainfos: Sequence[Mapping], what: str) -> dict:
    """One metainfo for data sets that are used as one: the first, where labels mean the same.

    Palettes and the like may differ.

    Args:
        metainfos: of the data sets.
        what: what holds them, for messages.

    Raises:
        UserError: they differ in classes or keypoints.
    """
    first = metainfos[0]
    for other in metainfos[1:]:
        for key in SHARED:
            if _plain(first.get(key)) != _plain(other.get(key)):
                raise UserError(
                    f"the data sets within {what} differ in metainfo[{key!r}]: {first.get(key)} "
                    f"and {other.get(key)}. Labels would not mean the same; give all of them the "
                    f"same metainfo=dict({key}=...)."
                )
    return dict(first)


def prepare(dataset: Any) -> None:
    """Make a built data set, wrapped or not, fit to be used as one; check its pipelines.

    mmdet's ConcatDataset has a list of metainfos where only palettes differ, which neither
    evaluators nor hooks take. It gets the first one.

    Raises:
        UserError: the data sets within differ in classes or keypoints, or the pipeline of a
            MultiImageMixDataset leaves masks or keypoints behind.
    """
    _checked(dataset)


def _checked(dataset: Any) -> frozenset[str]:
    """What is loaded after the data set's pipelines."""
    inner = _within(dataset)
    loaded = NOTHING.union(*map(_checked, inner))
    if not inner:
        return check_pipeline(dataset.pipeline) if hasattr(dataset, "pipeline") else NOTHING
    if isinstance(getattr(dataset, "_metainfo", None), list):
        dataset._metainfo = joined_metainfo(dataset._metainfo, type(dataset).__name__)
    elif hasattr(dataset, "_metainfo") and len(inner) == 1:  # a copy of what was a list then
        dataset._metainfo = inner[0].metainfo
    own = getattr(dataset, "pipeline", None)
    return loaded if own is None else check_pipeline(own, loaded)


def _lazy(leaf: Mapping) -> dict:
    """A config whose data set does not read its annotations."""
    return {**leaf, "lazy_init": True}


def _name(dataset: Mapping) -> str:
    kind = dataset.get("type", "the data set")
    return kind.__name__ if inspect.isclass(kind) else str(kind)


def _plain(value: Any) -> Any:
    """Lists as tuples, so that configs may write either."""
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value
