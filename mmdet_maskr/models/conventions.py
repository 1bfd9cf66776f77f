"""Whose conventions a part follows, where codebases agree on the idea and differ in the details."""

from __future__ import annotations

from mmdet_maskr.errors import UserError

CONVENTIONS = ("mmdet", "detectron2", "torchvision")


def check_convention(option: str, value: str, accepted: tuple[str, ...] = CONVENTIONS) -> str:
    """``value``, where it is accepted.

    Args:
        option: its name in a config, for the message.
        value: what was given.
        accepted: the conventions that the option knows.

    Raises:
        UserError: another value.
    """
    if value not in accepted:
        raise UserError(f"{option} must be one of {accepted}, not {value!r}.")
    return value
