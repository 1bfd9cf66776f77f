"""How long processes of one training wait for each other."""

from __future__ import annotations

import torch
from mmengine.config import Config

# torch's own, where a config says nothing
_NCCL_SECONDS = 600
_OTHER_SECONDS = 1800


def seconds_of_waiting(cfg: Config) -> float:
    """After how long a collective operation fails: ``env_cfg.dist_cfg.timeout``."""
    options = cfg.get("env_cfg", {}).get("dist_cfg", {})
    on_gpus = torch.cuda.is_available() and options.get("backend", "nccl") == "nccl"
    return options.get("timeout") or (_NCCL_SECONDS if on_gpus else _OTHER_SECONDS)
