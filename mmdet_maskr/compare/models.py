"""The models of a comparison: how they are named, loaded and described."""

from __future__ import annotations

import contextlib
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.catalogue.complexity import build_bare, count_operations, count_parameters
from mmdet_maskr.catalogue.files import configs_dir
from mmdet_maskr.catalogue.published import Published, published
from mmdet_maskr.datasets import wrappers
from mmdet_maskr.engine.config_reading import read_config
from mmdet_maskr.errors import UserError
from mmdet_maskr.quiet import quiet
from mmdet_maskr.visualization.colors import class_colors
from mmdet_maskr.visualization.skeleton import Color
from mmdet_maskr.zoo.resolve import resolve

FORM = "CONFIG.py:WEIGHTS.pth or NAME=CONFIG.py:WEIGHTS.pth, or the name of a pretrained model"
_SOURCE = re.compile(
    r"(?:(?P<name>[^=/]+)=)?(?P<config>.+?\.(?:py|json|ya?ml)):(?P<weights>.+)", re.DOTALL
)
# of detectors whose parts count_operations does not know how to run
_UNCOUNTED = (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError)


class Source(NamedTuple):
    """A model as the user names it.

    Attributes:
        name: shown on the page.
        config: path of the config.
        weights: path or URL of the checkpoint.
    """

    name: str
    config: str
    weights: str


class ComparedModel(NamedTuple):
    """A loaded model, with what the page says about it.

    Attributes:
        source: its names.
        inferencer: on the device.
        colors: RGB, one a class.
        parameters: their number.
        operations: multiply-adds on an image of 1280 x 800, None where they are not counted.
        published: what others published for the config, if it is one of the catalogue.
    """

    source: Source
    inferencer: MaskRInferencer
    colors: list[Color]
    parameters: int
    operations: int | None
    published: Published | None

    @property
    def meta(self) -> dict:
        """Of the dataset that it was trained on: ``classes``, perhaps ``keypoints`` ..."""
        return self.inferencer.model.dataset_meta


def read_sources(texts: Sequence[str]) -> list[Source]:
    """Models as the command line names them: :data:`FORM`.

    Models without a name are called as their configs are; those with the same config get the name
    of the weights too, and then that of the weights' folder.

    Raises:
        UserError: another form, a file or a pretrained model that is not there, the same name
            twice.
    """
    found = []
    for text in texts:
        match = _SOURCE.fullmatch(text)
        if match is None:
            found.append(_pretrained(text))
            continue
        for part in ("config", "weights"):
            path = match[part]
            if not ("://" in path and part == "weights") and not Path(path).is_file():
                raise UserError(f"--models {text}: there is no {part} file {path}.")
        found.append((match["name"], match["config"], match["weights"]))
    given = [name for name, _, _ in found if name is not None]
    doubled = [name for name, count in Counter(given).items() if count > 1]
    if doubled:
        raise UserError(f"--models has the name {doubled[0]!r} twice: each model needs its own.")
    unnamed = [(Path(config), Path(weights)) for name, config, weights in found if name is None]
    made = iter(_names(unnamed, given))
    names = [name or next(made) for name, _, _ in found]
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise UserError(
            f"--models has several models that would be called {doubled[0]!r}: write {FORM}."
        )
    return [Source(name, *found[i][1:]) for i, name in enumerate(names)]


def _pretrained(text: str) -> tuple[str, str, str]:
    """Name, config and weights of ``[NAME=]MODEL``, where MODEL is a pretrained one."""
    name, _, reference = text.rpartition("=")
    if reference.endswith((".py", ".json", ".yaml", ".yml", ".pth")):  # a half of FORM
        raise UserError(f"--models {text}: write {FORM}.")
    local = resolve(reference)
    return name or Path(reference.rpartition("://")[2]).name, local.config, local.weights


def load_models(sources: Sequence[Source], device: str | None = None) -> list[ComparedModel]:
    """Load the models one after another; see :func:`load_model`."""
    return [load_model(source, device) for source in sources]


def load_model(source: Source, device: str | None = None) -> ComparedModel:
    """Load a model, count its parameters and operations, and look it up in the catalogue.

    Args:
        source: names of its files.
        device: None takes the first accelerator that mmcv's ops run on, or the CPU.

    Raises:
        UserError: a config without classes or without a test pipeline; weights that lack some of
            the model's, or have others of other shapes.
    """
    cfg = read_config(str(source.config))
    dataset = cfg.get("test_dataloader", {}).get("dataset", {})
    if not any("pipeline" in leaf for leaf in wrappers.leaves(dataset)):
        raise UserError(
            f"{source.config} has no test_dataloader.dataset.pipeline, which defines how "
            "images are loaded: use the config of the training, or one from configs/."
        )
    # what mmengine says of weights that do not fit is an error below
    with quiet(), contextlib.redirect_stdout(io.StringIO()):
        inferencer = MaskRInferencer(
            source.config, source.weights, device=device, show_progress=False
        )
        bare = build_bare(cfg.model)
    return ComparedModel(
        source=source,
        inferencer=inferencer,
        colors=class_colors(
            inferencer.model.dataset_meta.get("palette"),
            len(inferencer.model.dataset_meta["classes"]),
        ),
        parameters=count_parameters(bare),
        operations=_operations(bare),
        published=_published(Path(source.config)),
    )


def _names(paths: list[tuple[Path, Path]], given: list[str]) -> list[str]:
    """The shortest of three forms by which each model is told from the others."""
    forms = [
        (config.stem, f"{config.stem} {weights.stem}", f"{weights.parent.name}/{weights.stem}")
        for config, weights in paths
    ]
    counts = [Counter([*column, *given]) for column in zip(*forms, strict=True)]
    return [
        next((form for form, count in zip(row, counts, strict=True) if count[form] == 1), row[-1])
        for row in forms
    ]


def _operations(bare) -> int | None:
    try:
        return count_operations(bare)
    except _UNCOUNTED:
        return None


def _published(config: Path) -> Published | None:
    folder = configs_dir().resolve()
    if not config.resolve().is_relative_to(folder):
        return None
    return published(config.resolve().relative_to(folder).with_suffix("").as_posix())
