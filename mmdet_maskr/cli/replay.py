"""``maskr replay``: losses of a saved batch, then and now."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader, _load_checkpoint_to_model

from mmdet_maskr.data_files import field, is_number
from mmdet_maskr.engine.batch_file import unpack_batch
from mmdet_maskr.engine.config_reading import read_config
from mmdet_maskr.engine.load_hooks import check_whole
from mmdet_maskr.engine.resume import restore_random_states
from mmdet_maskr.errors import UserError


def run(args: argparse.Namespace) -> None:
    # 1. the model, with the batch's weights
    for path in (args.config, args.batch):
        if not Path(path).is_file():
            raise UserError(f"there is no file {path}.")
    cfg = read_config(args.config)
    init_default_scope(cfg.get("default_scope", "mmdet"))
    if cfg.get("model") is None:
        raise UserError(f"{args.config} has no model.")
    model = MODELS.build(cfg.model)
    content = read_batch(args.batch)
    check_whole(model, content, f"batch {args.batch} for {args.config}")
    _load_checkpoint_to_model(model, content)
    try:
        model.to(args.device).train()
    except RuntimeError as error:
        raise UserError(f"--device {args.device}: {str(error).splitlines()[0]}") from error
    # 2. the batch, and the random states it was drawn with
    try:
        batch = unpack_batch(content)
        restore_random_states(content["random"])
    except UserError as error:
        raise UserError(f"batch {args.batch} is damaged: {error}") from error
    except Exception as error:  # of torch and numpy, of many types
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"batch {args.batch} is damaged: its random states cannot be read ({reason[:200]})."
        ) from error
    for sample in batch["data_samples"]:
        print(f"image {sample.get('img_id')}: {sample.get('img_path')}")
    # 3. losses
    with torch.autograd.set_detect_anomaly(args.detect_anomaly):
        try:
            losses = model(**model.data_preprocessor(batch, True), mode="loss")
        except Exception as error:
            if args.detect_anomaly:
                raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(
                f"the model of {args.config} cannot be trained on batch {args.batch} ({reason}). "
                "Was it saved with this config? --detect-anomaly shows the operation that "
                "fails."
            ) from error
        loss, parts = model.parse_losses(losses)
        if args.detect_anomaly:
            loss.backward()
    # 4. the losses of the training next to these
    print(f"iteration {content['iteration']}:{'then':>24}{'now':>14}")
    for name, value in parts.items():
        then = content["losses"].get(name, float("nan"))
        print(f"  {name:<20}{then:>18g}{float(value):>14g}")


def read_batch(path: str) -> dict:
    """A file of LossGuardHook's.

    Raises:
        UserError: it is damaged, or another file.
    """
    content = CheckpointLoader.load_checkpoint(path, map_location="cpu", logger="silent")
    if not isinstance(content, dict) or "data_samples" not in content:
        raise UserError(f"{path} is not a batch saved by LossGuardHook.")

    def is_losses(value: object) -> bool:
        return isinstance(value, dict) and all(
            isinstance(name, str) and (isinstance(v, float) or is_number(v))
            for name, v in value.items()
        )

    named = f"batch {path} is damaged:"
    field(content, "losses", is_losses, "numbers by name", named)
    field(content, "iteration", lambda value: type(value) is int, "a whole number", named)
    field(content, "random", lambda value: isinstance(value, dict), "states by name", named)
    return content
