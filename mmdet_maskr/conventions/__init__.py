"""Conventions of other codebases, for steps that they compute differently.

One object and one file for each codebase; a config says its name. Another codebase is a subclass of
:class:`.Convention` with what differs, given to :func:`register`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mmdet_maskr.conventions.base import Convention
from mmdet_maskr.conventions.detectron2 import Detectron2
from mmdet_maskr.conventions.mmdet import MMDet
from mmdet_maskr.conventions.torchvision import Torchvision
from mmdet_maskr.errors import UserError

__all__ = ["Convention", "accepted", "find", "of_test_cfg", "register"]

_BY_NAME: dict[str, Convention] = {}


def register(convention: Convention) -> None:
    """Let configs name a convention."""
    _BY_NAME[convention.name] = convention


for _convention in (MMDet(), Detectron2(), Torchvision()):
    register(_convention)


def accepted(step: str = "name") -> list[str]:
    """Names of the conventions that have a step of their own."""
    return [name for name, convention in _BY_NAME.items() if convention.has(step)]


def find(option: str, name: str, step: str = "name") -> Convention:
    """The convention of a name.

    Args:
        option: where the name stands in a config, for the message.
        name: what stands there.
        step: method of :class:`.Convention` that the option needs.

    Raises:
        UserError: another name, or that of a convention without the step.
    """
    if name not in accepted(step):
        raise UserError(f"{option} must be one of {tuple(accepted(step))}, not {name!r}.")
    return _BY_NAME[name]


def of_test_cfg(option: str, cfg: Mapping | None) -> Convention:
    """The convention that proposals or detections are chosen by.

    Args:
        option: name of ``cfg`` in a config, for the message.
        cfg: ``test_cfg.rpn``, ``test_cfg.rcnn`` or ``train_cfg.rpn_proposal``; None in a model that
            is not tested.

    Raises:
        UserError: an unknown one, or options of NMS that it does not have.
    """
    convention = find(f"{option}.convention", (cfg or {}).get("convention", "mmdet"))
    if cfg is not None:
        convention.check_nms(option, cfg)
    return convention
