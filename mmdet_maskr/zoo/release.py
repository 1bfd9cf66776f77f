"""Releases: a folder with all that is needed to load a model.

``model.safetensors`` has the weights, with names of classes and keypoints; ``config.py`` is whole;
``release.json`` says what it is and how good; ``README.md`` is the same for people. Each file that
is loaded has its SHA-256 next to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from mmdet_maskr import safetensors_files
from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.checksums import checksum_file, digest_of, find_bad_bytes
from mmdet_maskr.engine.trained_input import KEY, input_of
from mmdet_maskr.errors import UserError
from mmdet_maskr.folders import check_writable
from mmdet_maskr.safe_configs import check_imports, read_literals
from mmdet_maskr.version import __version__
from mmdet_maskr.weights.config_file import Name, comment, write_settings
from mmdet_maskr.zoo import card
from mmdet_maskr.zoo.prepare import Local

CONFIG = "config.py"
WEIGHTS = "model.safetensors"
CONVERTED = "model.pth"  # of maskr convert-weights
FACTS = "release.json"
CARD = "README.md"
FILES = (WEIGHTS, f"{WEIGHTS}.sha256", CONFIG, f"{CONFIG}.sha256", FACTS, CARD)
# They are of the machine or of the run, not of the model.
_LEFT_OUT = ("work_dir", "resume", "launcher", "load_from", "experiment_name", "randomness")


class Release(NamedTuple):
    """What is published.

    Attributes:
        name: of the model.
        state: weights by name.
        config: whole, without what it inherits from.
        dataset_meta: names of classes, and of keypoints, colors.
        scores: AP by name, in percent.
        license: of the weights.
        origin: one line that says what they were made of.
    """

    name: str
    state: Mapping[str, Any]
    config: Config
    dataset_meta: Mapping[str, Any]
    scores: Mapping[str, float]
    license: str
    origin: str


def write(release: Release, folder: Path) -> Path:
    """Write a release; a folder with other files in it is refused.

    Raises:
        UserError: the folder is in use, or cannot be written; the config holds what is no data.
    """
    others = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    strange = sorted(set(others) - set(FILES))
    if strange:
        raise UserError(f"{folder} has other files, such as {strange[0]}: choose a new folder.")
    check_writable(folder, str(folder))
    text = config_text(release)
    meta = {
        "dataset_meta": plain(release.dataset_meta),
        "source": release.origin,
        KEY: input_of(release.config.model),
    }
    try:
        safetensors_files.write(folder / WEIGHTS, release.state, meta)
        write_whole(folder / CONFIG, text)
        for name in (WEIGHTS, CONFIG):
            digest = digest_of(folder / name)
            write_whole(checksum_file(folder / name), f"{digest}  {name}\n")
        facts = facts_of(release, {name: digest_of(folder / name) for name in (WEIGHTS, CONFIG)})
        write_whole(folder / FACTS, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        write_whole(folder / CARD, card.text(facts))
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}.") from error
    return folder


def facts_of(release: Release, digests: Mapping[str, str]) -> dict[str, Any]:
    """What ``release.json`` says."""
    keypoints = release.dataset_meta.get("keypoint_names") or release.dataset_meta.get("keypoints")
    return dict(
        name=release.name,
        license=release.license,
        origin=release.origin,
        mmdet_maskr=__version__,
        model=release.config.model.type,
        backbone=release.config.model.backbone.type,
        parameters=sum(value.numel() for value in release.state.values()),
        classes=list(release.dataset_meta["classes"]),
        keypoints=plain(keypoints) if keypoints else None,
        scores=dict(release.scores),
        sha256=dict(digests),
    )


def config_text(release: Release) -> str:
    """The config as one file of names and values.

    Raises:
        UserError: it holds functions or classes.
    """
    settings = release.config.to_dict()
    for name in _LEFT_OUT:
        settings.pop(name, None)
    without_pretrained(settings.get("model"))
    settings["load_from"] = Name(f"'{{{{ fileDirname }}}}/{WEIGHTS}'")
    text = comment(f"{release.name}: {release.origin}") + write_settings(settings)
    read_literals(text, f"the config of {release.name}")
    return text


def without_pretrained(part: Any) -> None:
    """Remove files that backbones start from, as the weights replace them."""
    if isinstance(part, dict):
        init = part.get("init_cfg")
        if isinstance(init, dict) and init.get("type") == "Pretrained":
            part["init_cfg"] = None
        part.pop("pretrained", None)
        for value in part.values():
            without_pretrained(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            without_pretrained(value)


def plain(value: Any) -> Any:
    """A value as JSON has it: tuples and sets are lists, numbers are Python's."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


# ------------------------------------------------------------------------------------------ read
def open_folder(folder: Path, named: str) -> Local:
    """The model in a folder, checked; its config is read as data where it is a release.

    Args:
        folder: that :func:`write` or ``maskr convert-weights`` wrote.
        named: as the user named it.

    Raises:
        UserError: a file is missing, damaged, or more than data.
    """
    config = folder / CONFIG
    weights = next((p for p in (folder / WEIGHTS, folder / CONVERTED) if p.is_file()), None)
    if not config.is_file() or weights is None:
        lacking = CONFIG if not config.is_file() else WEIGHTS
        raise UserError(
            f"{named} has no {lacking}: only folders written by maskr publish can be loaded."
        )
    if weights.name == CONVERTED:  # config.py inherits from this package's
        return Local(str(config), str(weights), f"{named}: converted weights")
    damage = find_bad_bytes(config)
    if damage is not None:
        raise UserError(f"{named}: {CONFIG} is refused: {damage}.")
    where = f"{named}: {CONFIG}"
    settings = read_literals(config.read_text(encoding="utf-8"), where)
    if "_base_" in settings:
        raise UserError(f"{where} has a _base_, so it is not complete.")
    check_imports(settings.get("custom_imports"), where)
    return Local(str(config), str(weights), _title(folder, named))


def _title(folder: Path, named: str) -> str:
    try:
        facts = json.loads((folder / FACTS).read_bytes())
        scores = ", ".join(f"{name} {value:.1f}" for name, value in facts["scores"].items())
        return f"{facts['name']} of {named} ({scores or 'no AP given'}; {facts['license']})"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return named
