"""What to publish of a checkpoint: its weights, and what is known about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_maskr.apis.class_names import checkpoint_meta, join_meta
from mmdet_maskr.checkpoint_files import read_checkpoint
from mmdet_maskr.datasets.wrappers import metainfo_of
from mmdet_maskr.engine.config_reading import read_config
from mmdet_maskr.engine.load_hooks import check_whole, weights_of
from mmdet_maskr.errors import UserError, no_file
from mmdet_maskr.quiet import quiet
from mmdet_maskr.zoo.release import Release

_KINDS = {"bbox": "box", "segm": "mask", "keypoints": "keypoint"}
_PLACES = (("message_hub", "runtime_info", "cfg"), ("meta", "cfg"))


def gather(
    checkpoint: str | Path,
    license: str,
    config: str | Path | None = None,
    name: str | None = None,
    scores: str | Path | None = None,
    origin: str | None = None,
) -> Release:
    """A release of a checkpoint.

    Args:
        checkpoint: of a training, or converted.
        license: of the weights.
        config: that it was trained with; None for the one in the checkpoint, or next to it.
        name: of the model; None for that of the checkpoint's folder.
        scores: JSON of ``maskr test``; None for what the training's logs say of this checkpoint.
        origin: what the weights were made of, for the card.

    Raises:
        UserError: files that are not there or do not fit one another; nobody names the classes.
    """
    path = Path(checkpoint).expanduser()
    if not path.is_file():
        raise no_file("checkpoint", path)
    content = read_checkpoint(str(path), map_location="cpu")
    cfg = _config_of(content, path, config)
    state = weights_of(content, f"checkpoint {path}")
    init_default_scope("mmdet")
    from mmdet_maskr.catalogue.complexity import build_bare

    with quiet():
        model = build_bare(cfg.model)
    check_whole(model, content, f"checkpoint {path}")
    wanted = model.state_dict()
    state = {key: value for key, value in state.items() if key in wanted}
    meta = _meta_of(content, cfg, path)
    found = read_scores(Path(scores)) if scores is not None else logged_scores(path)
    name = name or path.absolute().parent.name
    trained = f"Weights of {path.name}, trained with mmdet_maskr."
    return Release(name, state, cfg, meta, found, license, origin or trained)


def _config_of(content: Mapping[str, Any], path: Path, given: str | Path | None) -> Config:
    if given is not None:
        if not Path(given).is_file():
            raise no_file("config", given)
        return read_config(str(given))
    for place in _PLACES:
        value: Any = content
        for key in place:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value:
            return Config.fromstring(value, file_format=".py")
    sibling = path.with_name("config.py")
    if sibling.is_file():
        return read_config(str(sibling))
    raise UserError(
        f"checkpoint {path} contains no config: pass the config of its training with --config."
    )


def _meta_of(content: dict, cfg: Config, path: Path) -> dict[str, Any]:
    dataset = cfg.get("test_dataloader", {}).get("dataset")
    of_config = metainfo_of(dataset) if dataset is not None else {}
    given = checkpoint_meta(content)
    if "classes" not in of_config and "classes" not in given:
        raise UserError(f"neither checkpoint {path} nor its config has class names.")
    return join_meta(given, {**given, **of_config})


# ---------------------------------------------------------------------------------------- scores
def read_scores(path: Path) -> dict[str, float]:
    """AP by name in percent, of a JSON file of ``maskr test``.

    Raises:
        UserError: no such file, or one without AP.
    """
    if not path.is_file():
        raise no_file("file of scores", path)
    try:
        found = _scores_in(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}).") from error
    if not found:
        raise UserError(
            f"{path} has no AP, such as coco/bbox_mAP: pass a file that maskr test wrote."
        )
    return found


def _scores_in(values: Any) -> dict[str, float]:
    found = {}
    for key, value in values.items() if isinstance(values, Mapping) else ():
        last = key.rpartition("/")[2]
        kind, _, number = last.rpartition("_mAP")
        if kind in _KINDS and number in ("", "_50", "_75") and isinstance(value, (int, float)):
            found[f"{_KINDS[kind]} AP{number.removeprefix('_')}"] = round(100 * float(value), 1)
        elif last == "PQ":
            found["PQ"] = round(float(value), 1)
    return found


def logged_scores(checkpoint: Path) -> dict[str, float]:
    """AP that the logs of a training name for one of its checkpoints; empty where they do not."""
    number = "".join(char for char in checkpoint.stem.rpartition("_")[2] if char.isdigit())
    if not number:
        return {}
    found: dict[str, float] = {}
    for path in sorted(checkpoint.absolute().parent.glob("*/vis_data/*.json")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if "_mAP" not in line and "PQ" not in line:
                continue
            try:
                values = json.loads(line)
            except ValueError:  # cut, where a run was killed
                continue
            if isinstance(values, dict) and values.get("step") == int(number):
                found = _scores_in(values) or found  # of a resumed run the last counts
    return found
