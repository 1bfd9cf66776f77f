"""mmdet 2.x and 3.x: from a config to one with this plugin's parts; names stay as they are."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdet_maskr.datasets.wrappers import one_metainfo
from mmdet_maskr.errors import UserError
from mmdet_maskr.models.mask_heads import towers
from mmdet_maskr.weights.output import C4_BASE, FPN_BASE, PANOPTIC_BASE, base_settings
from mmdet_maskr.weights.rename import NameMap, Rule

_COMPOSED = "compositions/{}_r50_fpn_1x.py"
# Detectors that can be converted, and the config that has what they train on.
DETECTORS: dict[str, tuple[str, ...]] = dict(
    MaskRCNN=FPN_BASE,
    FasterRCNN=FPN_BASE,
    CascadeRCNN=FPN_BASE,
    HybridTaskCascade=(_COMPOSED.format("htc"),),
    PointRend=(_COMPOSED.format("point_rend"),),
    MaskScoringRCNN=(_COMPOSED.format("ms_maskr"),),
    PanopticFPN=PANOPTIC_BASE,
)
# Parts of mmdet and those here that take the same options and weights and give the same outputs.
SAME_OPTIONS = dict(
    StandardRoIHead="ParallelRoIHead",
    RPNHead="SampledRPNHead",
    PointRendRoIHead="MaskRPointRendRoIHead",
    MMSyncBN="SyncBN",  # which needs no process group
)
MASK_HEAD_OPTIONS = {
    "type", "num_convs", "roi_feat_size", "in_channels", "conv_kernel_size", "conv_out_channels",
    "num_classes", "class_agnostic", "upsample_cfg", "conv_cfg", "norm_cfg", "predictor_cfg",
    "loss_mask",
}  # fmt: skip
SAME_NAME = (Rule(r"(.*)", "{1}"),)


class MMDetModel:
    """What a config of mmdet says.

    Args:
        config: path of the config.
        meta: of the checkpoint, for the names of the classes.

    Raises:
        UserError: no such file, no config, or another detector.
    """

    def __init__(self, config: str | Path, meta: Mapping[str, Any]) -> None:
        path = Path(config)
        if path.suffix != ".py" or not path.is_file():
            raise UserError(f"there is no config {path}: --from mmdet needs the .py file.")
        try:
            self.config = Config.fromfile(path).to_dict()
        except Exception as error:  # the code in the config may raise anything
            raise UserError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
        self.given = self.config.get("model")
        kind = self.given.get("type") if isinstance(self.given, dict) else None
        if kind not in DETECTORS:
            raise UserError(
                f"{path}: model.type is {kind!r}; one of {', '.join(DETECTORS)} can be converted."
            )
        self.meta = meta
        self.old = "data" in self.config and "train_dataloader" not in self.config  # mmdet 2.x

    @property
    def base(self) -> tuple[str, ...]:
        """The config that has what such a model trains on."""
        return DETECTORS[self.given["type"]] if self.given.get("neck") is not None else C4_BASE

    @property
    def num_classes(self) -> int:
        """K, without the background."""
        head = self.given["roi_head"]["bbox_head"]
        return (head[0] if isinstance(head, list) else head)["num_classes"]

    def model(self, base: dict) -> dict:
        """The ``model`` of the config.

        Args:
            base: ``model`` of the base config, which has the preprocessing for mmdet 2.x.

        Raises:
            UserError: options of mmdet 2.x that its versions read in different ways.
        """
        model = copy.deepcopy(self.given)
        for unused in ("pretrained", "init_cfg"):
            model.pop(unused, None)
        for split in ("train_cfg", "test_cfg"):  # mmdet before 2.8 had them next to the model
            model[split] = model.get(split) or copy.deepcopy(self.config.get(split))
        if self.old:
            model["data_preprocessor"] = self._preprocessor(base["data_preprocessor"])
        if model["rpn_head"]["type"] != "GARPNHead":  # that one has kept the old names
            for split, name in (("test_cfg", "rpn"), ("train_cfg", "rpn_proposal")):
                _rename_options(f"{split}.{name}", (model[split] or {}).get(name) or {})
        for part in _parts(model):
            part["type"] = SAME_OPTIONS.get(part["type"], part["type"])
            if part["type"] == "SingleRoIExtractor":
                _fit_extractor(part)
            if part["type"] == "FCNMaskHead" and _composes(part):
                part["type"] = "ComposedMaskHead"
                part.pop("roi_feat_size", None)  # ignored there, checked here
            part.pop("pretrained", None)
        model["backbone"]["init_cfg"] = None
        if "shared_head" in model["roi_head"]:
            model["roi_head"]["shared_head"].pop("init_cfg", None)
        return model

    def _preprocessor(self, base: dict) -> dict:
        """mmdet 2.x normalizes and pads in the pipeline."""
        steps = {step["type"]: step for step in _steps(self.config)}
        normalize = steps.get("Normalize") or self.config.get("img_norm_cfg")
        if normalize is None:
            raise UserError("the config of mmdet 2.x has neither Normalize nor img_norm_cfg.")
        return dict(
            base,
            mean=list(normalize["mean"]),
            std=list(normalize["std"]),
            bgr_to_rgb=bool(normalize.get("to_rgb", True)),
            pad_size_divisor=steps.get("Pad", {}).get("size_divisor", 1),
        )

    def pipelines(self) -> dict[str, list[dict]]:
        """``train_pipeline`` and ``test_pipeline``; empty where the base's are to be kept.

        mmdet 2.x has other transforms: its resizing goes into the base's.
        """
        if self.old:
            resize = next((step for step in _steps(self.config) if "img_scale" in step), None)
            return {} if resize is None else _resized(resize["img_scale"])
        found = {}
        for name, split in (("train_pipeline", "train"), ("test_pipeline", "test")):
            dataset = self.config.get(f"{split}_dataloader", {}).get("dataset", {})
            if "pipeline" not in dataset:  # wrapped datasets have it further inside
                return {}
            found[name] = dataset["pipeline"]
        return found

    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, from the checkpoint; None for COCO's 80."""
        stored = one_metainfo(self.meta.get("dataset_meta"), "the checkpoint") or {}
        names = stored.get("classes") or self.meta.get("CLASSES")
        if self.num_classes == 80:
            return None
        if names is not None and not isinstance(names, str) and len(names) == self.num_classes:
            return tuple(names)
        return tuple(f"class_{i}" for i in range(self.num_classes))

    def name_map(self) -> NameMap:
        """Names are the same."""
        return NameMap(rules=SAME_NAME)


def _parts(value: Any) -> Iterator[dict]:
    """All dictionaries with a type, inner ones first."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _parts(inner)
        if "type" in value:
            yield value
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _parts(inner)


def _rename_options(where: str, proposals: dict) -> None:
    """Options of the proposals by the names that mmdet has had since 2.11 (its pull request 4636).

    RPNHead never read nms_across_levels.

    Args:
        where: the options' name, for messages.
        proposals: the options, which are changed.

    Raises:
        UserError: two numbers of proposals, of which each version of mmdet took another.
    """
    proposals.pop("nms_across_levels", None)
    numbers = {name: proposals.pop(name) for name in ("nms_post", "max_num") if name in proposals}
    if numbers and "max_per_img" not in proposals:
        if len(set(numbers.values())) > 1:
            raise UserError(
                f"{where} has {numbers}: mmdet before 2.11 took nms_post, and later versions "
                "max_num. Replace both by max_per_img with the right value."
            )
        proposals["max_per_img"] = next(iter(numbers.values()))
    threshold = proposals.pop("nms_thr", None)
    if threshold is not None:
        proposals.setdefault("nms", dict(type="nms", iou_threshold=threshold))


def _fit_extractor(part: dict) -> None:
    """An extractor with RoIAlign as ours; other layers are not the same here.

    mmcv's RoIPool does not round RoIs, as ours does. finest_scale is the size at which RoIs leave
    the finest level, at any stride.
    """
    if part["roi_layer"]["type"] != "RoIAlign":
        return
    part["type"] = "LevelRoIExtractor"
    finest = part.pop("finest_scale", 56)
    strides = part["featmap_strides"]
    size = finest * 16 / strides[0]
    if len(strides) > 1 and size != 224:
        part["canonical_size"] = size


def _composes(part: dict) -> bool:
    """Whether ComposedMaskHead takes the options of an FCNMaskHead, which has further ones."""
    if not set(part) <= MASK_HEAD_OPTIONS:
        return False
    try:
        towers.check_tower("fcn", part.get("num_convs", 4), 1, part.get("conv_kernel_size", 3))
        towers.check_upsampling(part.get("upsample_cfg") or {})
    except UserError:
        return False
    return True


def _steps(config: dict) -> Iterator[dict]:
    """The transforms of mmdet 2.x's test pipeline, those inside of MultiScaleFlipAug too."""
    for step in config["data"]["test"].get("pipeline") or config.get("test_pipeline", []):
        yield step
        yield from step.get("transforms", [])


def _resized(scale: Any) -> dict[str, list[dict]]:
    """The base's pipelines with another size."""
    scale = scale[0] if isinstance(scale, list) else scale
    found = {}
    for name, path in (("train_pipeline", "train"), ("test_pipeline", "test")):
        steps = base_settings(FPN_BASE)[f"{path}_dataloader"]["dataset"]["pipeline"]
        found[name] = [
            dict(step, scale=tuple(scale)) if step["type"] == "Resize" else step for step in steps
        ]
    return found
