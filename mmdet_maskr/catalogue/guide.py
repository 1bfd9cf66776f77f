"""``configs/README.md``: which config to use for what, and all configs in groups."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmdet_maskr.catalogue.files import configs_dir
from mmdet_maskr.catalogue.published import DETECTRON2_RECIPES, PAPER_ROWS
from mmdet_maskr.errors import UserError

# What one wants, and the config to start from.
PICKS = (
    ("masks of your own objects, on one GPU or more", "maskr_r50_fpn_1x"),
    ("the same in mixed precision: less memory, faster on recent GPUs", "maskr_r50_fpn_amp-1x"),
    ("live pictures on a CPU, edge devices, videos", "light/maskr_effnet-lite0_fpn_480-3x"),
    ("a smaller backbone under the paper's heads", "maskr_r18_fpn_1x"),
    ("better masks for three times the training, with the same model", "maskr_r50_fpn_ms-3x"),
    ("better masks with a larger backbone of convolutions", "maskr_x101-64x4d_fpn_ms-3x"),
    ("better masks with a transformer", "maskr_swin-s_fpn_ms-crop-3x"),
    ("the best masks, for days on many GPUs", "maskr_vit-b_sfp_lsj-100e"),
    ("small batches, or training a backbone from scratch", "maskr_r50-gn_fpn_3x"),
    ("boxes and keypoints", "maskr_keypoint_r50_fpn_90k"),
    ("boxes, masks and keypoints of persons", "maskr_keypoint_mask_r50_fpn_90k"),
    ("masks of many classes, keypoints of persons", "maskr_joint_r50_fpn_1x"),
    ("boxes alone", "compositions/faster_r50_fpn_1x"),
    ("boxes that fit more closely", "compositions/cascade_maskr_r50_fpn_1x"),
    ("sharper borders of large objects", "compositions/point_rend_r50_fpn_1x"),
    ("stuff and things in one picture", "compositions/panoptic_fpn_r50_fpn_1x"),
    ("more than a thousand classes, most of them rare", "lvis/maskr_r50_fpn_ms-1x"),
    ("the paper's numbers", "maskr_r50_fpn_160k"),
    ("Detectron2's numbers", "maskr_r50-caffe_fpn_ms-3x"),
    ("to see a training in minutes, without a GPU or data", "mini/maskr_shapes"),
    ("the same on photos", "mini/maskr_coco_mini"),
)
TOP_GROUPS = ("Keypoints", "The paper's recipe", "Detectron2's recipes", "Masks on COCO")
FOLDERS = {
    "compositions": "Other detectors around our parts",
    "lvis": "LVIS",
    "cityscapes": "Cityscapes",
    "voc": "PASCAL VOC",
    "light": "Light, for CPUs and edge devices",
    "mini": "In miniature, on a CPU",
    "ablations": "The paper's ablation tables",
    "read_base": "MMEngine's newer style of configs",
}
INTRODUCTION = """\
# Which config to take

Take the one that is nearest to what you want as `_base_` of your own, and change what differs:
classes and folders as in [own datasets](../docs/own_dataset.md), keys and the parts of names as
in [configs](../docs/config.md). `python tools/list_configs.py WORD` adds parameters and GFLOPs.
"""


def guide(models: Sequence[dict]) -> str:
    """The page.

    Args:
        models: entries of the metafile, by :func:`.model_index.entry`.

    Raises:
        UserError: a config that is to be taken for something is not there.
    """
    by_name = {name_of(model): model for model in models}
    missing = [name for _, name in PICKS if name not in by_name]
    if missing:
        raise UserError(
            f"there are no configs {', '.join(missing)}, which PICKS of {Path(__file__).name} "
            "names: name others."
        )
    lines = ["| for | take |", "|---|---|"]
    lines += [f"| {purpose} | {_link(name)} |" for purpose, name in PICKS]
    parts = [INTRODUCTION, "\n".join(lines) + "\n"]
    groups: dict[str, list[str]] = {title: [] for title in (*TOP_GROUPS, *FOLDERS.values())}
    for name, model in by_name.items():
        meta = model["Metadata"]
        cells = [_link(name), _purpose(name), meta["Training Data"], meta["Schedule"]]
        groups.setdefault(group_of(name), []).append("| " + " | ".join(cells) + " |")
    for title, rows in groups.items():
        if rows:
            head = ["| config | what it is | data | schedule |", "|---|---|---|---|"]
            parts.append(f"## {title}\n\n" + "\n".join([*head, *rows]) + "\n")
    return "\n".join(parts)


def name_of(model: dict) -> str:
    """Name of a config by its entry, relative to the folder of configs."""
    return model["Config"].removeprefix("configs/").removesuffix(".py")


def group_of(name: str) -> str:
    """The section of a config; a folder without a title is one of its own name."""
    folder, _, stem = name.rpartition("/")
    if folder:
        top = folder.split("/")[0]
        return FOLDERS.get(top, top)
    if "keypoint" in stem or "joint" in stem:
        return "Keypoints"
    if name in PAPER_ROWS:
        return "The paper's recipe"
    return "Detectron2's recipes" if name in DETECTRON2_RECIPES else "Masks on COCO"


def _link(name: str) -> str:
    return f"[`{name}`]({name}.py)"


def _purpose(name: str) -> str:
    """The comment at the head of a config, which says what it is for."""
    words = []
    for line in (configs_dir() / f"{name}.py").read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        words.append(line.removeprefix("# "))
    return " ".join(words).replace("|", "\\|")
