"""Loads backbone weights from a file strictly: missing or different weights are an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmdet_maskr.errors import UserError

KINDS = ("Pretrained", "PretrainedBands")
SHOWN = 3  # names in a message


def pretrained_of(init_cfg: object) -> Mapping | None:
    """The ``init_cfg`` of pretrained weights; None for None.

    Raises:
        UserError: ``init_cfg`` has another type.
    """
    if init_cfg is None:
        return None
    if isinstance(init_cfg, Mapping) and init_cfg.get("type") in KINDS:
        return init_cfg
    raise UserError(
        f"model.backbone.init_cfg must be None or dict(type='Pretrained', checkpoint=...), not "
        f"{init_cfg!r}."
    )


def read_state(init_cfg: Mapping) -> dict[str, Tensor]:
    """Tensors by name of ``checkpoint``; those under ``prefix``, without it, where it is given.

    Raises:
        UserError: the file has none.
    """
    checkpoint = init_cfg["checkpoint"]
    content = CheckpointLoader.load_checkpoint(checkpoint, map_location="cpu")
    for key in ("state_dict", "model"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
    prefix = init_cfg.get("prefix") or ""
    prefix += "." * (bool(prefix) and not prefix.endswith("."))
    state = {
        name.removeprefix(prefix): value
        for name, value in content.items()
        if name.startswith(prefix) and isinstance(value, Tensor)
    }
    if not state:
        under = f" under {prefix}" if prefix else ""
        raise UserError(f"model.backbone.init_cfg: {checkpoint} has no weights{under}.")
    return state


def check_state(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], spare: Sequence[str], source: str
) -> list[str]:
    """Compare names and shapes.

    Args:
        wanted: the :meth:`torch.nn.Module.state_dict` of the backbone.
        state: the state dict of the file.
        spare: prefixes of names in the file that may be unused, such as the classifier's.
        source: the file, for messages.

    Returns:
        The unused names.

    Raises:
        UserError: weights are missing, unexpected, or have another shape.
    """
    counter = "num_batches_tracked"
    missing = [n for n in wanted if n not in state and not n.endswith(counter)]
    other = [
        f"{n}: {tuple(state[n].shape)} in it, {tuple(wanted[n].shape)} in the model"
        for n in wanted
        if n in state and state[n].shape != wanted[n].shape
    ]
    left = [n for n in state if n not in wanted]
    unknown = [n for n in left if not n.startswith(tuple(spare)) and not n.endswith(counter)]
    kinds = {"missing": missing, "of another shape": other, "without a place": unknown}
    problems = [f"{len(n)} {kind} ({_first(n)})" for kind, n in kinds.items() if n]
    if problems:
        raise UserError(
            f"model.backbone.init_cfg: the weights {source} do not fit this backbone: "
            f"{'; '.join(problems)}."
        )
    return left


def load_state(
    module: nn.Module, state: Mapping[str, Tensor], spare: Sequence[str], source: str
) -> None:
    """Load weights from a file into a backbone, and log the unused ones.

    Raises:
        UserError: as in :func:`check_state`.
    """
    left = check_state(module.state_dict(), state, spare, source)
    module.load_state_dict({n: v for n, v in state.items() if n not in left}, strict=False)
    unused = f"; not used: {_first(left)}" if left else ""
    print_log(f"backbone weights loaded from {source}{unused}", logger="current")


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
