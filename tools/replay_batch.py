"""Compute the losses of a batch that a training has saved because they were not finite.

Example:
    python tools/replay_batch.py CONFIG work_dirs/run/bad_batch_iter_123_rank_0.pth
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint

from mmdet_maskr.engine.batch_file import unpack_batch
from mmdet_maskr.engine.launch import run_tool
from mmdet_maskr.engine.resume import restore_random_states
from mmdet_maskr.errors import UserError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="path of the config that was trained")
    parser.add_argument("batch", help="bad_batch_iter_N_rank_R.pth of the work dir")
    parser.add_argument("--device", default="cpu", help="where to compute (%(default)s)")
    parser.add_argument(
        "--detect-anomaly",
        action="store_true",
        help="also compute gradients, and stop with a traceback at the operation that is at fault",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    for path in (args.config, args.batch):
        if not Path(path).is_file():
            raise UserError(f"there is no file {path}.")
    cfg = Config.fromfile(args.config)
    init_default_scope(cfg.get("default_scope", "mmdet"))
    model = MODELS.build(cfg.model)
    content = load_checkpoint(model, args.batch, map_location="cpu", strict=True)
    if "data_samples" not in content:
        raise UserError(f"{args.batch} is a checkpoint, not a batch that LossGuardHook has saved.")
    model.to(args.device).train()
    batch = unpack_batch(content)
    for sample in batch["data_samples"]:
        print(f"image {sample.img_id}: {sample.get('img_path')}")
    restore_random_states(content["random"])
    with torch.autograd.set_detect_anomaly(args.detect_anomaly):
        losses = model(**model.data_preprocessor(batch, True), mode="loss")
        loss, parts = model.parse_losses(losses)
        if args.detect_anomaly:
            loss.backward()
    print(f"iteration {content['iteration']}:{'then':>24}{'now':>14}")
    for name, value in parts.items():
        then = content["losses"].get(name, float("nan"))
        print(f"  {name:<20}{then:>18g}{float(value):>14g}")


if __name__ == "__main__":
    run_tool(main)
