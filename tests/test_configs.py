"""Every config parses, builds, trains a step and predicts; the models are what their names say."""

from __future__ import annotations

import ast
import functools
import json
import sys
import types
from pathlib import Path

import mmdet
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from small_datasets import write_cityscapes, write_coco, write_lvis, write_voc
from thin_configs import CONFIGS, ROOT, load, thin, walk, with_weights
from torch import nn

from mmdet_maskr.catalogue.files import is_old_name
from mmdet_maskr.coco.keypoint_meta import check_keypoint_meta, flip_indices, keypoint_labels
from mmdet_maskr.datasets import shapes

MMDET_CONFIGS = Path(mmdet.__file__).parent / ".mim" / "configs"
# Ours and mmdet's config of the same model.
PEERS = {
    "maskr_r18_fpn_1x": "mask_rcnn/mask-rcnn_r18_fpn_8xb8-amp-lsj-200e_coco",
    "maskr_r50_fpn_1x": "mask_rcnn/mask-rcnn_r50_fpn_1x_coco",
    "maskr_r101_fpn_2x": "mask_rcnn/mask-rcnn_r101_fpn_2x_coco",
    "maskr_r50-caffe_fpn_ms-3x": "mask_rcnn/mask-rcnn_r50-caffe_fpn_ms-poly-3x_coco",
    "maskr_r101-caffe_fpn_ms-3x": "mask_rcnn/mask-rcnn_r101-caffe_fpn_ms-poly-3x_coco",
    "maskr_r50-caffe_c4_ms-1x": "mask_rcnn/mask-rcnn_r50-caffe-c4_1x_coco",
    "maskr_x101-32x4d_fpn_1x": "mask_rcnn/mask-rcnn_x101-32x4d_fpn_1x_coco",
    "maskr_x101-32x8d_fpn_1x": "mask_rcnn/mask-rcnn_x101-32x8d_fpn_1x_coco",
    "maskr_x101-32x8d_fpn_ms-3x": "mask_rcnn/mask-rcnn_x101-32x8d_fpn_ms-poly-3x_coco",
    "maskr_x101-64x4d_fpn_2x": "mask_rcnn/mask-rcnn_x101-64x4d_fpn_2x_coco",
    "maskr_regnetx-400mf_fpn_ms-3x": "regnet/mask-rcnn_regnetx-400MF_fpn_ms-poly-3x_coco",
    "maskr_regnetx-800mf_fpn_ms-3x": "regnet/mask-rcnn_regnetx-800MF_fpn_ms-poly-3x_coco",
    "maskr_regnetx-1.6gf_fpn_ms-3x": "regnet/mask-rcnn_regnetx-1.6GF_fpn_ms-poly-3x_coco",
    "maskr_regnetx-3.2gf_fpn_ms-3x": "regnet/mask-rcnn_regnetx-3.2GF_fpn_ms-3x_coco",
    "maskr_regnetx-4gf_fpn_1x": "regnet/mask-rcnn_regnetx-4GF_fpn_1x_coco",
    "maskr_regnetx-6.4gf_fpn_1x": "regnet/mask-rcnn_regnetx-6.4GF_fpn_1x_coco",
    "maskr_regnetx-8gf_fpn_1x": "regnet/mask-rcnn_regnetx-8GF_fpn_1x_coco",
    "maskr_regnetx-12gf_fpn_1x": "regnet/mask-rcnn_regnetx-12GF_fpn_1x_coco",
    "maskr_r50-gn_fpn_2x": "gn/mask-rcnn_r50_fpn_gn-all_2x_coco",
    "maskr_r101-gn_fpn_2x": "gn/mask-rcnn_r101_fpn_gn-all_2x_coco",
    "maskr_r50-dconv-c3-c5_fpn_1x": "dcn/mask-rcnn_r50-dconv-c3-c5_fpn_1x_coco",
    "maskr_r101-dconv-c3-c5_fpn_1x": "dcn/mask-rcnn_r101-dconv-c3-c5_fpn_1x_coco",
    "maskr_r50-mdconv-c3-c5_fpn_1x": "dcnv2/mask-rcnn_r50-mdconv-c3-c5_fpn_1x_coco",
    "maskr_swin-t_fpn_1x": "swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco",
    "maskr_swin-s_fpn_ms-crop-3x": "swin/mask-rcnn_swin-s-p4-w7_fpn_amp-ms-crop-3x_coco",
    "compositions/cascade_maskr_r50_fpn_1x": "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco",
    "compositions/htc_without_semantic_r50_fpn_1x": "htc/htc-without-semantic_r50_fpn_1x_coco",
    "compositions/htc_r50_fpn_1x": "htc/htc_r50_fpn_1x_coco",
    "compositions/ms_maskr_r50_fpn_1x": "ms_rcnn/ms-rcnn_r50_fpn_1x_coco",
    "compositions/point_rend_r50_fpn_1x": "point_rend/point-rend_r50-caffe_fpn_ms-1x_coco",
    "compositions/panoptic_fpn_r50_fpn_1x": "panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco",
    "compositions/faster_r50_fpn_1x": "faster_rcnn/faster-rcnn_r50_fpn_1x_coco",
    "compositions/faster_r101_fpn_160k": "faster_rcnn/faster-rcnn_r101_fpn_1x_coco",
    "compositions/rpn_r50_fpn_1x": "rpn/rpn_r50_fpn_1x_coco",
    "cityscapes/maskr_r50_fpn_24k": "cityscapes/mask-rcnn_r50_fpn_1x_cityscapes",
    "lvis/maskr_r50_fpn_ms-1x": "lvis/mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1",
    "voc/faster_r50_fpn_ms-18k": "pascal_voc/faster-rcnn_r50_fpn_1x_voc0712",
    "voc/faster_r50-caffe_c4_ms-18k": "pascal_voc/faster-rcnn_r50-caffe-c4_ms-18k_voc0712",
}


@pytest.fixture(scope="session")
def data_roots(tmp_path_factory: pytest.TempPathFactory, shapes_root: Path) -> dict[str, Path]:
    """For each ``data_root`` of the configs a small dataset of its kind."""
    folder = tmp_path_factory.mktemp("data")
    return {
        "data/coco/": write_coco(folder / "coco", shapes_root),
        "data/shapes/": shapes_root,
        "data/shapes_bands/": shapes.write_dataset(
            folder / "bands", images=4, val_images=2, size=96, bands=5
        ),
        "data/lvis_v1/": write_lvis(folder / "lvis", shapes_root),
        "data/cityscapes/": write_cityscapes(folder / "cityscapes", shapes_root),
        "data/VOCdevkit/": write_voc(folder / "voc", shapes_root),
    }


def build_bare(cfg: Config) -> nn.Module:
    """A model of full width without memory for its weights, where it can be built so."""
    try:
        with torch.device("meta"):
            return MODELS.build(cfg.model)
    except RuntimeError as error:
        assert ".item() cannot be called on meta" in str(error)  # Swin's depths
        return MODELS.build(cfg.model)


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def test_short():
    """At most 60 lines, the first of which say what the config is for."""
    for name in CONFIGS:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 60, name
        assert lines[0].startswith("# ") and max(map(len, lines)) <= 100, name


def test_no_two_configs_say_the_same():
    """Each config differs from all others in its settings."""
    seen: dict[str, str] = {}
    for name in CONFIGS:
        text = json.dumps(load(name).to_dict(), sort_keys=True, default=str)
        assert seen.setdefault(text, name) == name


def test_old_names():
    """A config that has another name now is still found by the old one, which says so."""
    old = [p for p in ROOT.rglob("*.py") if is_old_name(p)]
    assert {p.stem for p in old} == {
        "maskr_keypoint_r50_fpn_1x",
        "maskr_keypoint_mask_r50_fpn_1x",
    }
    for path in old:
        with pytest.warns(DeprecationWarning, match=path.name):
            cfg = Config.fromfile(path)
        new = with_weights(f"{path.stem.removesuffix('_1x')}_90k.py")
        assert cfg.to_dict() == new.to_dict()
        assert new.train_cfg.max_iters == 90000


@pytest.mark.parametrize("name", CONFIGS)
def test_trains_and_predicts(name: str, data_roots: dict[str, Path]):
    cfg = load(name)
    assert cfg.custom_imports.imports == ["mmdet_maskr"]
    check_schedule(cfg)
    if cfg.model.backbone.type == "TimmBackbone":
        pytest.importorskip("timm", reason="timm is optional", exc_type=ImportError)
    if cfg.dataset_type == "LVISInstanceDataset":
        pytest.importorskip("lvis", reason="LVIS needs the package lvis")
    thin(cfg, data_roots[cfg.data_root])
    train, test = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    # what does not change the computation, so that it is done once for all schedules
    parts = dict(model=cfg.model, optim_wrapper=cfg.optim_wrapper, train=train, test=test)
    run_once(repr(Config(parts).to_dict()))


def check_schedule(cfg: Config) -> None:
    """Loop, learning rate, checkpoints and log count the same things, to the same end."""
    by_epoch = cfg.train_cfg.type == "EpochBasedTrainLoop"
    end = cfg.train_cfg.max_epochs if by_epoch else cfg.train_cfg.max_iters
    last = cfg.param_scheduler[-1]
    assert (last.by_epoch, last.end) == (by_epoch, end)
    assert all(milestone < end for milestone in last.get("milestones", ()))
    assert cfg.default_hooks.checkpoint.get("by_epoch", True) == by_epoch
    assert cfg.log_processor.by_epoch == by_epoch
    infinite = cfg.train_dataloader.sampler.type == "InfiniteSampler"
    assert infinite != by_epoch
    assert cfg.auto_scale_lr.base_batch_size in (
        cfg.train_dataloader.batch_size,
        8 * cfg.train_dataloader.batch_size,
    )


def test_has_the_guards():
    """Hooks of the runtime are kept where a config sets its own; classes are counted on RoIs."""
    base = {hook.type for hook in load("maskr_r50_fpn_1x.py").custom_hooks}
    for name in CONFIGS:
        hooks = [hook.type for hook in load(name).custom_hooks]
        uncounted = {"DatasetFitHook"} if "rpn" in name or "panoptic" in name else set()
        assert base - set(hooks) == uncounted, name
        assert "LossGuardHook" in hooks and len(set(hooks)) == len(hooks), name


@pytest.mark.parametrize(
    ("name", "tested"),
    [
        ("maskr_r50_fpn_1x", (800, 1088)),
        ("maskr_r50-syncbn_fpn_lsj-100e", (800, 1088)),
        ("maskr_r101-syncbn_fpn_lsj-100e", (800, 1088)),
        ("maskr_vit-b_sfp_lsj-100e", (1024, 2048)),  # but its pipeline gives no side above 1024
    ],
)
def test_padding(name: str, tested: tuple[int, int]):
    """Large-scale jitter trains on 1024 x 1024; images are tested padded to multiples of 32."""
    init_default_scope("mmdet")
    cfg = load(f"{name}.py")
    preprocessor = MODELS.build(cfg.model.data_preprocessor)

    def padded(height: int, width: int, training: bool) -> tuple[int, ...]:
        sample = DetDataSample(metainfo=dict(img_shape=(height, width)))
        masks = BitmapMasks(np.ones((2, height, width), np.uint8), height, width)
        sample.gt_instances = InstanceData(masks=masks, bboxes=torch.zeros(2, 4))
        image = torch.zeros(3, height, width, dtype=torch.uint8)
        batch = preprocessor(dict(inputs=[image], data_samples=[sample]), training=training)
        shape = tuple(batch["inputs"].shape[2:])
        (sample,) = batch["data_samples"]
        assert sample.batch_input_shape == shape
        if training:
            masks = sample.gt_instances.masks
            assert masks.masks.shape[1:] == shape == (masks.height, masks.width)
            assert masks.masks.sum() == 2 * height * width
        return shape

    assert padded(800, 1066, training=False) == tested
    assert padded(700, 900, training=True) == ((1024, 1024) if "lsj" in name else (704, 928))


def test_scores_what_it_predicts():
    """Metrics are those of the model's branches; keypoint heads have the data's keypoints."""
    checked = [name for name in CONFIGS if check_scores(name, load(name))]
    others = ("lvis", "panoptic", "voc")  # with metrics of their own
    assert set(CONFIGS) - set(checked) == {n for n in CONFIGS if any(o in n for o in others)}


def check_scores(name: str, cfg: Config) -> bool:
    """Compare the metrics of our evaluator with the model's branches; whether there is one."""
    roi_head = cfg.model.get("roi_head") or {}
    expected = {"bbox"} if roi_head else {"proposal"}
    if roi_head.get("mask_head"):
        expected.add("segm")
    if roi_head.get("keypoint_head"):
        expected.add("keypoints")
    for split in ("val", "test"):
        evaluators = cfg[f"{split}_evaluator"]
        evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
        metric = next((e.metric for e in evaluators if e.type == "CocoInstanceMetric"), None)
        if metric is None:
            return False
        assert set([metric] if isinstance(metric, str) else metric) == expected, name
    if roi_head.get("keypoint_head"):
        head, meta = roi_head.keypoint_head, DATASETS.get(cfg.dataset_type).METAINFO
        assert head.num_keypoints == len(meta["keypoints"]), name
        some = None if roi_head.bbox_head.num_classes == 1 else keypoint_labels(meta)
        assert head.get("keypoint_labels") == some, name
    return True


@pytest.fixture(autouse=True)
def panoptic_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """What panopticapi, which is on no index, does when panoptic segments are loaded."""
    package = types.ModuleType("panopticapi")
    package.utils = types.SimpleNamespace(rgb2id=lambda c: c.astype(int) @ [1, 256, 65536])
    monkeypatch.setitem(sys.modules, "panopticapi", package)


@functools.cache
def run_once(parts: str) -> None:
    """Build, one training step and a prediction on batches of two images."""
    init_default_scope("mmdet")
    torch.manual_seed(0)
    cfg = Config(ast.literal_eval(parts))
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    # mixed precision has tests of its own, and needs a GPU
    cfg.optim_wrapper.type = "OptimWrapper"
    cfg.optim_wrapper.pop("loss_scale", None)
    cfg.optim_wrapper.optimizer.lr /= 100  # the rates are for models that have warmed up
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)

    train_set = DATASETS.build(cfg.train)
    batch = pseudo_collate([train_set[0], train_set[1]])
    model.train()
    with optim_wrapper.optim_context(model):
        losses = model(**model.data_preprocessor(batch, training=True), mode="loss")
    total, _ = model.parse_losses(losses)
    assert bool(torch.isfinite(total)) and float(total) > 0, losses
    optim_wrapper.backward(total)
    trained = dict(p for p in model.named_parameters() if p[1].requires_grad)
    assert not [name for name, weight in trained.items() if weight.grad is None]
    optim_wrapper.step()
    assert all(bool(torch.isfinite(weight).all()) for weight in trained.values())

    test_set = DATASETS.build(cfg.test)
    model.eval()
    with torch.no_grad():
        results = model.test_step(pseudo_collate([test_set[0], test_set[1]]))
    assert len(results) == 2
    for sample in results:
        if hasattr(model, "semantic_head"):  # panoptic segmentation
            assert sample.pred_panoptic_seg.sem_seg.shape == (1, *sample.ori_shape)
            continue
        predicted = sample.pred_instances
        assert len(predicted.bboxes) == len(predicted.scores) == len(predicted.labels) > 0
        if getattr(getattr(model, "roi_head", None), "with_mask", False):
            assert predicted.masks.shape == (len(predicted.bboxes), *sample.ori_shape)
        if getattr(getattr(model, "roi_head", None), "with_keypoint", False):
            count = model.roi_head.keypoint_head.num_keypoints
            assert predicted.keypoints.shape == (len(predicted.bboxes), count, 2)


def test_pretrained_weights_cover_the_backbone():
    """Every backbone starts from a file; a res5 in the RoI head from the same one."""
    for name in CONFIGS:
        if "mini" in name:
            continue
        model = with_weights(name).model
        checkpoint = model.backbone.init_cfg.checkpoint
        if "ResNe" in model.backbone.type:
            assert str(model.backbone.depth) in checkpoint, name
        for part in walk(model):
            if part.get("type") == "Res5Head":
                assert part["init_cfg"]["checkpoint"] == checkpoint, name
                assert part["depth"] == model.backbone.depth, name
                assert part["style"] == model.backbone.style, name


@pytest.mark.parametrize("name", PEERS)
def test_same_parameters_as_mmdet(name: str):
    """Names and shapes of all weights are those of mmdet's own config."""
    peer = Config.fromfile(MMDET_CONFIGS / f"{PEERS[name]}.py")
    assert shapes_of(build_bare(load(f"{name}.py"))) == shapes_of(build_bare(peer))


def test_dc5_has_the_backbone_and_box_head_of_mmdet():
    """mmdet has DC5 for Faster R-CNN only: equal but for the mask head."""
    peer = Config.fromfile(MMDET_CONFIGS / "faster_rcnn/faster-rcnn_r50-caffe-dc5_1x_coco.py")
    ours = shapes_of(build_bare(load("maskr_r50-caffe_dc5_ms-1x.py")))
    assert {k: v for k, v in ours.items() if "mask_head" not in k} == shapes_of(build_bare(peer))


def test_r50_fpn_1x():
    """44.4 M parameters; 16 images a batch, lr 0.02, 12 epochs with drops after 8 and 11."""
    cfg = load("maskr_r50_fpn_1x.py")
    parameters = sum(p.numel() for p in build_bare(cfg).parameters())
    assert round(parameters / 1e6, 1) == 44.4
    assert cfg.optim_wrapper.optimizer.lr == 0.02
    assert cfg.auto_scale_lr.base_batch_size == 16 == 8 * cfg.train_dataloader.batch_size
    assert cfg.train_cfg.max_epochs == 12
    assert cfg.param_scheduler[1].milestones == [8, 11]


@pytest.mark.parametrize("body", ["r50_c4", "r101_c4", "r50_c5", "r50_fpn", "r101_fpn"])
def test_the_papers_recipe(body: str):
    """160k iterations of 16 images, lr 0.02 divided by 10 at 120k, fixed batch normalization."""
    cfg = load(f"maskr_{body}_160k.py")
    assert cfg.train_cfg.max_iters == 160000
    assert cfg.param_scheduler[1].milestones == [120000] and cfg.param_scheduler[1].gamma == 0.1
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ("SGD", 0.02, 0.9)
    assert optimizer.weight_decay == 0.0001 and cfg.auto_scale_lr.base_batch_size == 16
    for part in walk(cfg.model):
        if isinstance(part.get("norm_cfg"), dict):
            assert part["norm_cfg"]["requires_grad"] is False
    c4 = body.endswith("c4")
    assert cfg.model.train_cfg.rcnn.sampler.num == (64 if c4 else 512)
    assert cfg.model.test_cfg.rpn.max_per_img == (300 if c4 else 1000)


def test_resnext_has_half_the_rate_and_one_image_a_gpu():
    cfg = load("maskr_x101-64x4d_fpn_160k.py")
    assert (cfg.optim_wrapper.optimizer.lr, cfg.train_dataloader.batch_size) == (0.01, 1)
    assert (cfg.auto_scale_lr.base_batch_size, cfg.train_cfg.max_iters) == (8, 160000)


@pytest.mark.parametrize(
    ("name", "roi", "stride", "num", "proposals"),
    [("maskr_r50_c4_160k", 7, 1, 64, 300), ("maskr_r50-caffe_c4_ms-1x", 14, 2, 512, 1000)],
)
def test_two_forms_of_c4(name: str, roi: int, stride: int, num: int, proposals: int):
    """The paper's and Detectron2's: both give 7x7 after res5 and masks of 14x14."""
    model = load(f"{name}.py").model
    head = model.roi_head
    assert head.bbox_roi_extractor.roi_layer.output_size == roi
    assert (head.shared_head.stride, model.train_cfg.rcnn.sampler.num) == (stride, num)
    assert model.test_cfg.rpn.max_per_img == proposals and model.train_cfg.rcnn.mask_size == 14


def config_of_a_page(page: str, name: str, folder: Path) -> Config:
    """The config on a page of the documentation that has ``name/`` as data root."""
    text = (ROOT.parent / page).read_text(encoding="utf-8")
    blocks = (b for b in text.split("```") if b.startswith("python\n_base_"))
    block = next(b for b in blocks if f"data_root = '{name}/'" in b)
    file = folder / f"{name}.py"
    file.write_text(
        block.removeprefix("python\n").replace("'configs/", f"'{ROOT}/"), encoding="utf-8"
    )
    cfg = Config.fromfile(file)
    cfg.model.backbone.init_cfg = None
    return cfg


def test_own_dataset_as_on_its_page(tmp_path: Path):
    """The page's config for an own dataset has its folders and classes in all three splits."""
    cfg = config_of_a_page("docs/own_dataset.md", "pets", tmp_path)
    for split, file in (("train", "train"), ("val", "val"), ("test", "val")):
        dataset = cfg[f"{split}_dataloader"].dataset
        assert dataset.type == "CocoInstanceDataset"
        ann_file = f"annotations/instances_{file}.json"
        assert (dataset.data_root, dataset.ann_file) == ("pets/", ann_file)
        assert dataset.data_root == cfg.data_root  # else --data-root would find nothing to replace
        assert dataset.data_prefix.img == "images/"
        assert dataset.metainfo.classes == ("cat", "dog")
        if split != "train":
            evaluator = cfg[f"{split}_evaluator"]
            assert evaluator.ann_file == f"pets/{ann_file}" and "segm" in evaluator.metric
    roi_head = MODELS.build(cfg.model).roi_head
    assert roi_head.bbox_head.num_classes == roi_head.mask_head.num_classes == 2


def test_own_keypoints_as_in_the_documentation(tmp_path: Path):
    """The cats have four keypoints in dataset, metric and model."""
    cfg = config_of_a_page("docs/own_dataset.md", "cats", tmp_path)
    for split in ("train", "val", "test"):
        dataset = cfg[f"{split}_dataloader"].dataset
        assert dataset.type == "CocoKeypointDataset"
        assert dataset.data_root == cfg.data_root == "cats/"
        check_keypoint_meta(dataset.metainfo)
        assert flip_indices(dataset.metainfo) == [0, 2, 1, 3]
    assert cfg.val_evaluator.ann_file == "cats/val.json"
    assert MODELS.build(cfg.model).roi_head.keypoint_head.num_keypoints == 4


def test_the_file_to_copy_for_own_data(tmp_path: Path, shapes_root: Path):
    """custom_instance.py gives three splits and a metric, and trains once its names are changed."""
    bases = ("models/maskr_r50_fpn", "datasets/custom_instance", "schedules/schedule_1x")
    files = [str(ROOT / "_base_" / f"{base}.py") for base in (*bases, "default_runtime")]
    (tmp_path / "own.py").write_text(f"_base_ = {files}\n", encoding="utf-8")
    cfg = Config.fromfile(tmp_path / "own.py")
    for split, file in (("train", "train"), ("val", "val"), ("test", "val")):
        dataset = cfg[f"{split}_dataloader"].dataset
        assert dataset.ann_file == f"annotations/{file}.json"
        assert dataset.metainfo.classes == ("cat", "dog", "bird")
    assert cfg.val_evaluator.ann_file == "data/custom/annotations/val.json"
    dataset.update(
        data_root=str(shapes_root),
        metainfo=dict(classes=("disc", "box")),
        ann_file="annotations/instances_val.json",
        data_prefix=dict(img="val"),
    )
    labels = [
        i["bbox_label"]
        for info in DATASETS.build(dataset).load_data_list()
        for i in info["instances"]
    ]
    assert set(labels) == {0, 1}
