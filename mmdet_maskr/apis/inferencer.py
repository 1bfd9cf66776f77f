"""Detect on images in a few lines of Python, with masks and keypoints in what is returned."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmcv.ops import get_compiling_cuda_version
from mmdet.apis import DetInferencer
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.fileio import dump
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_maskr.deploy.optimization import optimize as fast_form
from mmdet_maskr.errors import UserError
from mmdet_maskr.models.mask_heads import ComposedMaskHead
from mmdet_maskr.ops.mask_rle import RLEMasks

CONFIG_SUFFIXES = (".py", ".json", ".yaml", ".yml")

ImageInput = str | Path | np.ndarray


class MaskRInferencer(DetInferencer):
    """mmdet's DetInferencer for boxes, masks and keypoints. ::

        inferencer = MaskRInferencer('configs/maskr_keypoint_r50_fpn_1x.py', 'epoch_12.pth')
        person = inferencer('photo.jpg', out_dir='out', no_save_pred=False)['predictions'][0]

    Called with one or several images: path, URL, folder, or array (H, W, 3) in BGR order, as
    ``cv2.imread`` gives it; and with DetInferencer's options. A dictionary for each image comes
    back, and with ``no_save_pred=False`` goes to ``out_dir/preds/NAME.json``; pictures go to
    ``out_dir/vis``. Files of an array are named by a running number, that of the image since the
    inferencer was built. In pixels of the image, for D detections, highest score first:

    - ``labels`` (D), ``scores`` (D), ``bboxes`` (D x [x1, y1, x2, y2]);
    - ``masks``: D RLEs of COCO with ``counts`` as a string;
    - ``keypoints``: D lists of K [x, y], in the boxes' continuous coordinates (COCO's files have
      0.5 less), empty where a detection's class has none; ``keypoint_scores``: D lists of K.

    Names, colours and skeleton are the checkpoint's own (``meta['dataset_meta']``); what it lacks
    comes from the data set of the config's ``test_dataloader``.

    Args:
        model: path of a config, a config, or a name in mmdet's model index. None takes the config
            from the checkpoint.
        weights: path or URL of a checkpoint.
        device: None takes the first accelerator that mmcv's ops run on, or the CPU.
        scope: where ``model`` is looked up if it is a name.
        palette: colours instead of the data set's: 'coco', 'voc', 'citys' or 'random'.
        show_progress: show a progress bar.
        visualizer: config of another visualizer than :class:`.InstanceVisualizer`.
        optimize: detect with a fast form of the model, :func:`mmdet_maskr.deploy.optimize`; with
            ``return_datasamples=True``, masks are then RLEMasks.

    Raises:
        UserError: no such config; a model with more or fewer classes than its names; when called,
            no such image or folder, an empty folder, or an array of another shape.
    """

    def __init__(
        self,
        model: str | Path | Config | dict | None = None,
        weights: str | Path | None = None,
        device: str | None = None,
        scope: str = "mmdet",
        palette: str = "none",
        show_progress: bool = True,
        visualizer: dict | None = None,
        optimize: bool = False,
    ) -> None:
        model = str(model) if isinstance(model, Path) else model
        weights = str(weights) if isinstance(weights, Path) else weights
        if isinstance(model, str) and model.endswith(CONFIG_SUFFIXES) and not Path(model).is_file():
            raise UserError(f"there is no config {Path(model).absolute()}.")
        self._visualizer_cfg = ConfigDict(visualizer or dict(type="InstanceVisualizer"))
        super().__init__(
            model=model,
            weights=weights,
            device=device or default_device(),
            scope=scope,
            palette=palette,
            show_progress=show_progress,
        )
        if optimize:
            mask_head = getattr(getattr(self.model, "roi_head", None), "mask_head", None)
            masks = "rle" if isinstance(mask_head, ComposedMaskHead) else None
            self.model = fast_form(self.model, inplace=True, masks=masks)

    def _load_weights_to_model(
        self, model: nn.Module, checkpoint: dict | None, cfg: Config | ConfigDict
    ) -> None:
        """Load the weights, and join what the checkpoint and the config say about the data set."""
        # DetInferencer's own would take COCO's classes where the checkpoint names none
        super(DetInferencer, self)._load_weights_to_model(model, checkpoint, cfg)
        dataset = DATASETS.build({**copy.deepcopy(cfg.test_dataloader.dataset), "lazy_init": True})
        given = _checkpoint_meta(checkpoint)
        meta = join_meta(given, dataset.metainfo)
        if self.palette != "none":
            meta["palette"] = self.palette
        bbox_head = getattr(getattr(model, "roi_head", None), "bbox_head", None)
        expected = getattr(bbox_head, "num_classes", len(meta["classes"]))
        if len(meta["classes"]) != expected:
            where = "checkpoint" if "classes" in given else "config's test_dataloader.dataset"
            raise UserError(
                f"the model has {expected} classes, but the {where} names {len(meta['classes'])}: "
                f"{', '.join(meta['classes'][:5])}{', ...' if len(meta['classes']) > 5 else ''}. "
                "Set test_dataloader.dataset.metainfo=dict(classes=(...)), or another model."
            )
        model.dataset_meta = meta

    def _init_visualizer(self, cfg: Config | ConfigDict):
        cfg.visualizer = copy.deepcopy(self._visualizer_cfg)
        return super()._init_visualizer(cfg)

    def _inputs_to_list(self, inputs: ImageInput | Sequence[ImageInput]) -> list:
        """The images, a folder's in the order of their names."""
        if isinstance(inputs, Path):
            inputs = str(inputs)
        images = super()._inputs_to_list(inputs)
        images = [str(image) if isinstance(image, Path) else image for image in images]
        if isinstance(inputs, str) and images != [inputs]:
            images.sort()
            if not images:
                raise UserError(f"there are no images in the folder {inputs}.")
        for index, image in enumerate(images):
            _check_image(image, index)
        return images

    def visualize(self, inputs: list, preds: list[DetDataSample], *args, **kwargs):
        """DetInferencer's; it takes arrays for RGB here, although the model takes them for BGR."""
        images = [i[..., ::-1] if isinstance(i, np.ndarray) else i for i in inputs]
        return super().visualize(images, preds, *args, **kwargs)

    def postprocess(self, preds: list[DetDataSample], *args, **kwargs) -> dict:
        """DetInferencer's; the picture and the JSON file of an image then have the same number."""
        done = self.num_predicted_imgs + len(preds)
        results = super().postprocess(preds, *args, **kwargs)
        self.num_predicted_imgs = self.num_visualized_imgs = done
        return results

    def pred2dict(self, data_sample: DetDataSample, pred_out_dir: str = "") -> dict:
        """The predictions of an image as lists, and as a JSON file where a folder is given.

        Args:
            data_sample: with ``pred_instances``.
            pred_out_dir: the file is ``preds/NAME.json`` in it; '' for none.

        Returns:
            What the class's description says.
        """
        instances = data_sample.pred_instances
        plain = InstanceData(**{k: instances[k] for k in ("labels", "scores", "bboxes")})
        result = super().pred2dict(DetDataSample(pred_instances=plain))
        if "masks" in instances:
            result["masks"] = to_rles(instances.masks)
        if "keypoints" in instances:
            result.update(_keypoint_lists(instances.keypoints, instances.keypoint_scores))
        path = data_sample.get("img_path")
        name = f"{self.num_predicted_imgs:08d}" if path is None else Path(path).stem
        self.num_predicted_imgs += 1
        if pred_out_dir != "":
            dump(result, str(Path(pred_out_dir) / "preds" / f"{name}.json"))
        return result


def default_device() -> str:
    """The first accelerator that mmcv's compiled ops run on, or the CPU."""
    device = get_device()
    without_ops = device == "cuda" and get_compiling_cuda_version() == "not available"
    return "cpu" if without_ops or device == "mps" else device


def join_meta(given: dict, config_meta: dict) -> dict:
    """What a checkpoint says about its data set, with what it lacks from the config's data set.

    Where both name different classes, the checkpoint's alone counts, but for the palette: the
    config's is preferred, as DetInferencer does.

    Args:
        given: what the checkpoint says; may be empty.
        config_meta: metainfo of the data set.
    """
    palette = config_meta.get("palette", given.get("palette", "random"))
    same = list(given.get("classes", config_meta["classes"])) == list(config_meta["classes"])
    meta = {**config_meta, **given} if same else given
    return {**meta, "palette": palette}


def _checkpoint_meta(checkpoint: dict | None) -> dict:
    """``dataset_meta`` with keys in small letters; mmdet 2 had CLASSES and PALETTE beside it."""
    meta = {} if checkpoint is None else checkpoint.get("meta", {})
    old = {key: meta[key] for key in ("CLASSES", "PALETTE") if key in meta}
    return {key.lower(): value for key, value in meta.get("dataset_meta", old).items()}


def to_rles(masks: Tensor | RLEMasks) -> list[dict]:
    """COCO's RLEs of an image's masks, ``counts`` as a string, as JSON can hold it.

    Args:
        masks: (D, H, W) or RLEMasks.
    """
    rles = masks.rles if isinstance(masks, RLEMasks) else encode_mask_results(masks.cpu().numpy())
    return [dict(size=list(rle["size"]), counts=_as_text(rle["counts"])) for rle in rles]


def _as_text(counts: bytes | str) -> str:
    return counts.decode() if isinstance(counts, bytes) else counts


def _keypoint_lists(points: Tensor, scores: Tensor) -> dict[str, list]:
    """(D, K, 2) and (D, K) as lists, empty where the scores are zero: classes without keypoints."""
    has_keypoints = scores.ne(0).any(dim=1).tolist()
    return {
        name: [row if has else [] for row, has in zip(values.tolist(), has_keypoints, strict=True)]
        for name, values in (("keypoints", points), ("keypoint_scores", scores))
    }


def _check_image(image: object, index: int) -> None:
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3:
            raise UserError(
                f"image {index} is an array of shape {image.shape}: it must be (H, W, 3), in BGR."
            )
    elif isinstance(image, str):
        if "://" not in image and not Path(image).is_file():
            raise UserError(f"there is no image {Path(image).absolute()}.")
