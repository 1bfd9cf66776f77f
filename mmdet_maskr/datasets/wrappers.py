"""Datasets within datasets: ConcatDataset, RepeatDataset, ClassBalancedDataset and their like.

A wrapper has its datasets under ``dataset`` or ``datasets``, in the config and when it is built.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from mmdet.datasets import MultiImageMixDataset
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset

from mmdet_maskr.datasets.transforms import check_pipeline
from mmdet_maskr.datasets.transforms.pipeline_check import NOTHING
from mmdet_maskr.errors import UserError

# What the datasets within a wrapper have to agree on, for labels and keypoints to mean the same.
SHARED = ("classes", "keypoints", "keypoint_classes", "keypoint_swaps")


def leaves(dataset: Any) -> Iterator[Any]:
    """The datasets that read files, in order, of a config or of a built dataset."""
    inner = _within(dataset)
    if not inner:
        yield dataset
    for part in inner:
        yield from leaves(part)


def _within(dataset: Any) -> list:
    """The datasets that a wrapper holds; none for a dataset that reads files."""
    if isinstance(dataset, Mapping):
        several, one = dataset.get("datasets"), dataset.get("dataset")
    else:
        several, one = getattr(dataset, "datasets", None), getattr(dataset, "dataset", None)
    if several is not None:
        return list(several)
    return [] if one is None else [one]


def chain(dataset: Any, index: int) -> Iterator[Any]:
    """A built dataset, and those within that image number ``index`` comes from, outermost first.

    Raises:
        UserError: a wrapper that does not say where its images come from.
    """
    return (part for part, _ in _path(dataset, index))


def place_of(dataset: Any, index: int) -> tuple[BaseDataset, int]:
    """The built dataset that reads image number ``index``, and the image's number in it.

    Raises:
        UserError: a wrapper mixes images.
    """
    place = dataset, index
    for place in _path(dataset, index):
        if isinstance(place[0], MultiImageMixDataset):
            raise UserError(
                f"a {type(place[0]).__name__} mixes images: draw its results with "
                "mode='transformed'."
            )
    return place


def _path(dataset: Any, index: int) -> Iterator[tuple[Any, int]]:
    while True:
        yield dataset, index
        inner = _within(dataset)
        if not inner:
            return
        if hasattr(dataset, "datasets"):
            which, index = dataset._get_ori_dataset_idx(index)
            dataset = inner[which]
        elif hasattr(dataset, "_get_ori_dataset_idx"):  # repeated, or balanced by class
            index, dataset = dataset._get_ori_dataset_idx(index), inner[0]
        elif isinstance(dataset, MultiImageMixDataset):
            dataset = inner[0]
        else:
            raise UserError(
                f"a {type(dataset).__name__} does not list its images: use mode='transformed'."
            )


def pipelines(dataset: Mapping) -> list[list]:
    """Pipelines that images of a config's dataset go through, each with those of wrappers after.

    Args:
        dataset: config of a dataset, wrapped or not.

    Returns:
        One for each dataset that reads files; equal ones once.

    Raises:
        UserError: one of them has none.
    """
    inner = _within(dataset)
    own = dataset.get("pipeline")
    if not inner:
        if own is None:
            raise UserError(f"the dataset {_name(dataset)} has no pipeline.")
        return [list(own)]
    found: list[list] = []
    for part in inner:
        for pipeline in pipelines(part):
            whole = [*pipeline, *(own or ())]
            if whole not in found:
                found.append(whole)
    return found


def the_pipeline(dataset: Mapping, purpose: str) -> list:
    """The one pipeline of a config's dataset.

    Args:
        dataset: config of a dataset, wrapped or not.
        purpose: what it is for, for messages.

    Raises:
        UserError: there are several different ones, or none.
    """
    found = pipelines(dataset)
    if len(found) > 1:
        raise UserError(
            f"the datasets within {_name(dataset)} have {len(found)} different "
            f"pipelines, and {purpose} needs one: use the same pipeline in all of them."
        )
    return found[0]


def change_pipelines(
    dataset: MutableMapping, change: Callable[[list], Sequence], after: Sequence = ()
) -> None:
    """Change what images of a config's dataset go through, in place.

    Args:
        dataset: config of a dataset, wrapped or not. Pipelines of wrappers end up empty.
        change: gives the new pipeline for a whole old one.
        after: pipelines of wrappers around it.
    """
    own = list(dataset.get("pipeline") or ())
    inner = {id(part): part for part in _within(dataset)}  # a config may name one twice
    for part in inner.values():
        change_pipelines(part, change, [*own, *after])
    if not inner:
        dataset["pipeline"] = change([*own, *after])
    elif "pipeline" in dataset:
        dataset["pipeline"] = []


def metainfo_of(dataset: Mapping) -> dict:
    """The metainfo of a config's dataset, wrapped or not, without reading annotations.

    Raises:
        UserError: the datasets within differ in classes or keypoints.
    """
    built = [DATASETS.build(_lazy(leaf)) for leaf in leaves(dataset)]
    return joined_metainfo([leaf.metainfo for leaf in built], _name(dataset))


def joined_metainfo(metainfos: Sequence[Mapping], what: str) -> dict:
    """One metainfo for datasets that are used as one: the first, where labels mean the same.

    Palettes and the like may differ.

    Args:
        metainfos: of the datasets.
        what: what holds them, for messages.

    Raises:
        UserError: they differ in classes or keypoints.
    """
    first = metainfos[0]
    for other in metainfos[1:]:
        for key in SHARED:
            if _plain(first.get(key)) != _plain(other.get(key)):
                raise UserError(
                    f"the datasets within {what} differ in metainfo[{key!r}]: {first.get(key)} "
                    f"and {other.get(key)}. Labels would have different meanings: set the same "
                    f"metainfo=dict({key}=...)."
                )
    return dict(first)


def one_metainfo(metainfo: Any, what: str) -> Any:
    """A metainfo, also of what mmdet's ConcatDataset has and stores in checkpoints: a list of them.

    Args:
        metainfo: anything; what is no list is given back.
        what: what it is of, for messages.

    Raises:
        UserError: the list's entries differ in classes or keypoints.
    """
    if isinstance(metainfo, (list, tuple)) and metainfo:
        return joined_metainfo(metainfo, what)
    return metainfo


def prepare(dataset: Any) -> None:
    """Make a built dataset, wrapped or not, fit to be used as one; check its pipelines.

    mmdet's ConcatDataset has a list of metainfos where only palettes differ, which neither
    evaluators nor hooks take. It gets the first one.

    Raises:
        UserError: the datasets within differ in classes or keypoints, or the pipeline of a
            MultiImageMixDataset leaves masks or keypoints behind.
    """
    _checked(dataset)


def _checked(dataset: Any) -> frozenset[str]:
    """What is loaded after the dataset's pipelines."""
    inner = _within(dataset)
    loaded = NOTHING.union(*map(_checked, inner))
    if not inner:
        return check_pipeline(dataset.pipeline) if hasattr(dataset, "pipeline") else NOTHING
    if isinstance(getattr(dataset, "_metainfo", None), list):
        dataset._metainfo = joined_metainfo(dataset._metainfo, type(dataset).__name__)
    elif hasattr(dataset, "_metainfo") and len(inner) == 1:  # a copy of what was a list then
        dataset._metainfo = inner[0].metainfo
    own = getattr(dataset, "pipeline", None)
    if own is None:
        return loaded
    own = [step.transform if isinstance(step, _Step) else step for step in own]
    if isinstance(dataset, MultiImageMixDataset):
        dataset.pipeline = [_Step(number, step) for number, step in enumerate(own)]
    return check_pipeline(own, loaded)


class _Step:
    """A transform of a wrapper's own pipeline that is named where it fails.

    Those of datasets that read files are named by SurvivesUnreadableImages.
    """

    def __init__(self, number: int, transform: Callable) -> None:
        self.number, self.transform = number, transform

    def __call__(self, results: dict) -> dict | None:
        try:
            return self.transform(results)
        except (UserError, MemoryError):
            raise
        except Exception as error:
            raise UserError(
                f"transform {self.number} ({type(self.transform).__name__}) of the wrapper's "
                f"pipeline failed on image {results.get('img_path')} (id {results.get('img_id')}): "
                f"{type(error).__name__}: {error}."
            ) from error

    def __getattr__(self, name: str) -> Any:
        if name == "transform":  # not yet, while it is unpickled
            raise AttributeError(name)
        return getattr(self.transform, name)


def _lazy(leaf: Mapping) -> dict:
    """A config whose dataset reads no annotations, and needs no packages of its transforms."""
    return {**leaf, "lazy_init": True, "pipeline": []}


def _name(dataset: Mapping) -> str:
    kind = dataset.get("type", "the dataset")
    return kind.__name__ if inspect.isclass(kind) else str(kind)


def _plain(value: Any) -> Any:
    """Lists as tuples, so that configs may write either."""
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value
