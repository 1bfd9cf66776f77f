"""The zoo's tables of README.md and docs/zoo.md, from the catalogue of pretrained models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mmdet_maskr.errors import UserError
from mmdet_maskr.zoo.catalogue import PretrainedModel, find, models

PAGES = ("README.md", "docs/zoo.md")
# What README shows: one of each kind.
PICKS = (
    "mask_rcnn_R_50_FPN_3x",
    "mask_rcnn_R_101_FPN_400ep_LSJ",
    "mask_rcnn_vitdet_b_100ep",
    "cascade_mask_rcnn_vitdet_h_75ep",
    "maskrcnn_resnet50_fpn_v2",
    "mask-rcnn_swin-s-p4-w7_fpn_amp-ms-crop-3x_coco",
    "keypoint_rcnn_X_101_32x8d_FPN_3x",
    "panoptic_fpn_R_101_3x",
    "mask_rcnn_R_50_FPN_cityscapes",
)
KINDS = ("box", "mask", "keypoint", "PQ")
_SECTION = r"(<!-- zoo: {} -->\n).*?(\n<!-- end of zoo -->)"


def table(chosen: Sequence[PretrainedModel], links: bool) -> str:
    """A table in Markdown.

    Args:
        chosen: the models.
        links: with the config of ours that trains such a model.
    """
    scores = ["box AP", "mask AP", "keypoint AP", "PQ"]
    head = ["name", "finds", "backbone", "data", *scores, "M params"]
    lines = [[*head, "by", "config"] if links else head]
    lines.append(["---"] * len(lines[0]))
    for model in chosen:
        scores = [f"{model.ap[kind]:.1f}" if kind in model.ap else "" for kind in KINDS]
        row = [f"`{model.name}`", model.task, model.backbone, model.data, *scores]
        row.append(f"{model.parameters / 1e6:.0f}")
        if links:
            row += [model.source, ", ".join(f"`{name}`" for name in model.configs)]
        lines.append(row)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def sections(root: Path) -> dict[str, str]:
    """The pages with their tables as the catalogue has them, by path in the repository.

    Raises:
        UserError: a page has no place for its table.
    """
    tables = dict(
        picks=table([find(name) for name in PICKS], links=False), all=table(models(), links=True)
    )
    found = {}
    for page in PAGES:
        text = (root / page).read_text(encoding="utf-8")
        for kind, content in tables.items():
            for begin, end in re.findall(_SECTION.format(kind), text, re.DOTALL):
                text = _between(text, begin, end, content)
        if "<!-- zoo: " not in text:
            raise UserError(f"{page} has no line <!-- zoo: picks --> or <!-- zoo: all -->.")
        found[page] = text
    return found


def _between(text: str, begin: str, end: str, content: str) -> str:
    """A text with other content between two marks."""
    before, _, rest = text.partition(begin)
    return before + begin + f"\n{content}\n" + end + rest.partition(end)[2]
