"""The pretrained models of others that load here by name, as data with their sources.

``models.json`` holds what Detectron2, torchvision and mmdet publish: address, checksum, AP, and
what the structure follows from. Nothing in it is measured here but the numbers of parameters.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmdet_maskr.cli.spelling import call
from mmdet_maskr.errors import UserError

TASKS = ("boxes", "masks", "keypoints", "panoptic")
SCHEME = "pretrained://"
COLUMNS = ("name", "task", "backbone", "data", "box", "mask", "kpt", "PQ", "M params", "from")
_SCORES = ("box", "mask", "keypoint", "PQ")


@dataclass(frozen=True, eq=False)
class PretrainedModel:
    """A model that somebody has published.

    Attributes:
        name: by which it is loaded.
        aliases: other names that are understood.
        source: 'detectron2', 'torchvision' or 'mmdet'.
        task: what it finds, one of :data:`TASKS`.
        backbone: backbone and neck.
        data: that it was trained on.
        url: of the file.
        checksum: 'md5:' or 'sha256:' and the first digits, as they are published.
        parameters: number of them, counted on the model that is built here.
        ap: AP in percent by 'box', 'mask', 'keypoint', and 'PQ'; as published.
        facts: where address and AP are published.
        license: of the weights, as the publisher says it.
        configs: ours that train such a model.
        options: Detectron2's options, by dotted name.
        source_config: the publisher's config.
        norm_eps: epsilon of the backbone's normalization, for torchvision's.
        classes: names of the classes where they are not COCO's; a key of :data:`CLASSES`.
    """

    name: str
    source: str
    task: str
    backbone: str
    data: str
    url: str
    checksum: str
    parameters: int
    ap: Mapping[str, float]
    facts: str
    license: str
    aliases: tuple[str, ...] = ()
    configs: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    source_config: str | None = None
    norm_eps: float | None = None
    classes: str | None = None

    @property
    def file(self) -> str:
        """Name of the file that is downloaded."""
        return self.url.rpartition("/")[2]

    @property
    def scores(self) -> str:
        """Such as 'box AP 41.0, mask AP 37.2'; '' where none are published."""
        named = ((kind if kind == "PQ" else f"{kind} AP", self.ap.get(kind)) for kind in _SCORES)
        return ", ".join(f"{kind} {value:.1f}" for kind, value in named if value is not None)

    def __str__(self) -> str:
        scores = f"published {self.scores}" if self.scores else "no AP published"
        return (
            f"{self.name}: {self.task} of {self.data}, {self.backbone}, by {self.source} "
            f"({scores}; {self.license})"
        )


@functools.cache
def content() -> dict[str, Any]:
    """``models.json`` as it is."""
    return json.loads(Path(__file__).with_name("models.json").read_text(encoding="utf-8"))


@functools.cache
def models() -> tuple[PretrainedModel, ...]:
    """All models, as they are ordered in the file."""
    sources, groups = content()["sources"], content()["options"]

    def options(row: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for group in row.get("options_of", ()):
            found.update(groups[group])
        return {**found, **row.get("options", {})}

    made = []
    for row in content()["models"]:
        given = {key: value for key, value in row.items() if key not in ("options", "options_of")}
        for key in ("aliases", "configs"):
            given[key] = tuple(given.get(key, ()))
        given.setdefault("facts", sources[row["source"]]["facts"])
        given.setdefault("license", sources[row["source"]]["license"])
        made.append(PretrainedModel(options=options(row), **given))
    return tuple(made)


def _key(name: str) -> str:
    """A name without what people write in more than one way."""
    return re.sub(r"[-_ ]", "_", name.lower().removesuffix(".yaml").removesuffix(".py"))


@functools.cache
def _by_key(known: tuple[PretrainedModel, ...]) -> dict[str, PretrainedModel]:
    found: dict[str, PretrainedModel] = {}
    for model in known:
        for name in (model.name, *model.aliases):
            found.setdefault(_key(name), model)
    return found


def get(name: str) -> PretrainedModel | None:
    """A model by its name, or an alias of it; None where there is none."""
    return _by_key(models()).get(_key(name.removeprefix(SCHEME)))


def why_not(name: str) -> str | None:
    """Why a model that Detectron2 publishes cannot be had here; None for any other name."""
    key = _key(name.removeprefix(SCHEME).rpartition("/")[2])
    for family in content()["unsupported"]:
        if re.search(rf"(^|_){family['pattern']}(_|$)", key):
            return family["reason"]
    return None


def find(name: str) -> PretrainedModel:
    """A model by its name, or an alias of it.

    Raises:
        UserError: there is none, with the nearest names; or one of Detectron2's that cannot be
            converted, with the reason.
    """
    found = get(name)
    if found is not None:
        return found
    reason = why_not(name)
    if reason is not None:
        raise UserError(f"{name} of Detectron2 cannot be converted: {reason}.")
    known = _by_key(models())
    close = difflib.get_close_matches(_key(name.removeprefix(SCHEME)), known, n=3)
    names = list(dict.fromkeys(known[key].name for key in close))
    hint = f"did you mean {' or '.join(names)}? " if names else ""
    raise UserError(
        f"there is no pretrained model {name!r}. {hint}{call('zoo --pretrained')} lists them."
    )


def select(
    words: Sequence[str] = (),
    task: str | None = None,
    backbone: str | None = None,
    data: str | None = None,
    source: str | None = None,
    min_ap: float | None = None,
    max_params: float | None = None,
) -> list[PretrainedModel]:
    """The models that one asks for.

    Args:
        words: of which the name, the backbone or the dataset has one; none for all.
        task: one of :data:`TASKS`.
        backbone: a part of the backbone, such as 'R-50' or 'ViT'.
        data: a part of the dataset's name.
        source: 'detectron2', 'torchvision' or 'mmdet'.
        min_ap: AP of the task that a model has at least, in percent.
        max_params: millions of parameters that a model has at most.
    """

    def has(text: str, part: str | None) -> bool:
        return part is None or part.lower() in text.lower()

    return [
        model
        for model in models()
        if (not words or any(has(f"{model.name} {model.backbone} {model.data}", w) for w in words))
        and (task is None or model.task == task)
        and has(model.backbone, backbone)
        and has(model.data, data)
        and (source is None or model.source == source)
        and (min_ap is None or (main_ap(model) or 0) >= min_ap)
        and (max_params is None or model.parameters <= max_params * 1e6)
    ]


def main_ap(model: PretrainedModel) -> float | None:
    """The published AP of what a model is for."""
    kind = dict(boxes="box", masks="mask", keypoints="keypoint", panoptic="PQ")[model.task]
    return model.ap.get(kind)


def table(chosen: Sequence[PretrainedModel]) -> str:
    """Models as text in columns; AP in percent, as published."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    for model in chosen:
        scores = [f"{model.ap[kind]:.1f}" if kind in model.ap else "-" for kind in _SCORES]
        size = f"{model.parameters / 1e6:.1f}"
        rows.append(
            (model.name, model.task, model.backbone, model.data, *scores, size, model.source)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = range(4, 9)
    return "\n".join(
        "  ".join(
            text.rjust(width) if at in right else text.ljust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
