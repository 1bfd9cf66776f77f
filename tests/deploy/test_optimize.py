"""An optimized model detects what the model detects, and leaves it alone."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from thin_configs import load, thin
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_maskr.deploy import optimize
from mmdet_maskr.deploy.convolution import FusedConv2d
from mmdet_maskr.deploy.fast_forms import FastForm
from mmdet_maskr.deploy.optimization import LowPrecisionHead
from mmdet_maskr.errors import UserError
from mmdet_maskr.models import InstanceTTAModel
from mmdet_maskr.ops.mask_rle import RLEMasks

# What each of them adds: backbone, heads, or an option of the mask head; and what stays as it is.
MODELS_AND_LEFT = {
    "maskr_r50_fpn_1x": [],
    "maskr_r18_fpn_1x": [],
    "maskr_r50_c4_1x": ["roi_head.bbox_head (BBoxHead)"],
    "maskr_r50-caffe_c4_ms-1x": ["roi_head.bbox_head (BBoxHead)"],
    "maskr_r50_c5_1x": [],
    "maskr_r50-caffe_dc5_ms-1x": [],
    "maskr_r50-gn_fpn_2x": ["backbone (ResNet)", "neck (FPN)"],
    "maskr_r50-syncbn_fpn_ms-3x": [],
    "maskr_r50-mdconv-c3-c5_fpn_1x": [],
    "maskr_x101-32x4d_fpn_1x": [],
    "maskr_regnetx-400mf_fpn_ms-3x": [],
    "maskr_swin-t_fpn_1x": ["backbone (SwinTransformer)"],
    "maskr_vit-b_sfp_lsj-100e": ["backbone (PlainViT)", "neck (SimpleFeaturePyramid)"],
    "maskr_joint_r50_fpn_1x": [],
    "maskr_keypoint_r50_fpn_90k": [],
    "light/maskr_effnet-lite0_fpn_480-3x": [],
    "mini/maskr_shapes": [],
    "compositions/cascade_maskr_r50_fpn_1x": [],
    "compositions/htc_without_semantic_r50_fpn_1x": [],
    "compositions/ms_maskr_r50_fpn_1x": [],
    "compositions/point_rend_r50_fpn_1x": [],
    "compositions/faster_r50_fpn_1x": [],
    "ablations/table_2b/maskr_mini_c4_softmax": [],
    "ablations/table_2c/maskr_mini_c4_roipool_max": [],
    "ablations/table_2e/maskr_mini_fpn_mlp2": ["roi_head.mask_head (MLPMaskHead)"],
    "ablations/class_agnostic/maskr_mini_c4_class_agnostic": [],
}
SIZES = ((96, 128), (120, 90))


def batch(count: int = 1) -> dict:
    generator = torch.Generator().manual_seed(3)
    samples = dict(inputs=[], data_samples=[])
    for i, shape in enumerate(SIZES[:count]):
        image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=generator)
        samples["inputs"].append(image)
        meta = dict(img_id=i, img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
        samples["data_samples"].append(DetDataSample(metainfo=meta))
    return samples


@torch.no_grad()
def detect(model: nn.Module, count: int = 1) -> list[InstanceData]:
    torch.manual_seed(1)
    return [sample.pred_instances for sample in model.test_step(batch(count))]


@torch.no_grad()
def build(cfg: Config) -> nn.Module:
    """Random weights, with the statistics of the image in batch normalization."""
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    inputs = model.data_preprocessor(batch(2))["inputs"]
    model.extract_feat(inputs)
    return model.eval()


@pytest.fixture
def model(shapes_root: Path) -> nn.Module:
    return build(thin(load("maskr_r50_fpn_1x.py"), shapes_root))


def assert_same(found: InstanceData, wanted: InstanceData) -> None:
    """The same detections in the same order; limits that hold on every processor."""
    assert len(found) == len(wanted) > 0
    assert found.labels.tolist() == wanted.labels.tolist()
    assert (found.bboxes - wanted.bboxes).abs().max() < 0.01
    assert (found.scores - wanted.scores).abs().max() < 1e-4
    if "masks" in wanted:
        masks = found.masks
        masks = torch.from_numpy(masks.numpy()) if isinstance(masks, RLEMasks) else masks
        assert (masks.bool() != wanted.masks.bool()).float().mean() < 1e-3
    if "keypoints" in wanted:
        moved = (found.keypoints - wanted.keypoints).abs().amax((1, 2))
        assert (moved < 0.02).float().mean() > 0.7  # two cells of random heatmaps may be even


@pytest.mark.parametrize("name", MODELS_AND_LEFT)
def test_detects_the_same(name: str, shapes_root: Path):
    model = build(thin(load(f"{name}.py"), shapes_root))
    fast = optimize(model)
    assert fast.optimization.left == MODELS_AND_LEFT[name]
    for found, wanted in zip(detect(fast, 2), detect(model, 2), strict=True):
        assert_same(found, wanted)


def test_everything_known_is_rewritten(model: nn.Module):
    fast = optimize(model)
    counts = fast.optimization.rewritten
    assert counts["Bottleneck"] == 16 and counts["FPN"] == counts["SampledRPNHead"] == 1
    assert not [m for m in fast.modules() if isinstance(m, _BatchNorm)]
    assert not [m for m in fast.modules() if type(m) is nn.Conv2d]
    maps = []
    fast.neck.register_forward_hook(lambda module, args, output: maps.extend(output))
    detect(fast)
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)


def test_the_original_stays(model: nn.Module, shapes_root: Path):
    before = copy.deepcopy(model.state_dict())
    wanted = detect(model)[0]
    fast = optimize(model)
    detect(fast)
    assert not any(isinstance(m, (FastForm, FusedConv2d)) for m in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(detect(model)[0].bboxes, wanted.bboxes)
    build(thin(load("maskr_r50_fpn_1x.py"), shapes_root)).load_state_dict(after, strict=True)
    assert next(model.rpn_head.parameters()).requires_grad
    model.train()


def test_in_place_and_with_rles(model: nn.Module):
    wanted = detect(model)[0]
    fast = optimize(model, inplace=True, masks="rle")
    assert fast is model
    found = detect(fast)[0]
    assert isinstance(found.masks, RLEMasks)
    assert_same(found, wanted)
    assert_same(detect(copy.deepcopy(fast))[0], wanted)


@pytest.mark.parametrize("kind", ["CascadeRoIHead", "AveragedCascadeRoIHead"])
def test_rles_of_a_cascade(kind: str, shapes_root: Path):
    """Its last stage's mask head gives them."""
    cfg = thin(load("compositions/cascade_maskr_r50_fpn_1x.py"), shapes_root)
    cfg.model.roi_head.type = kind
    model = build(cfg)
    wanted = detect(model)[0]
    found = detect(optimize(model, masks="rle"))[0]
    assert isinstance(found.masks, RLEMasks)
    assert_same(found, wanted)
    cfg.model.roi_head.mask_head.type = "FCNMaskHead"
    with pytest.raises(UserError, match=r"needs .*'ComposedMaskHead', not FCNMaskHead"):
        optimize(build(cfg), masks="rle")


def test_without_detections(shapes_root: Path):
    cfg = thin(load("mini/maskr_shapes.py"), shapes_root)
    cfg.model.test_cfg.rcnn.score_thr = 1.0
    for masks in ("rle", "dense"):
        found = detect(optimize(build(cfg), masks=masks))[0]
        assert len(found) == 0 and tuple(found.masks.shape) == (0, *SIZES[0])


def test_test_time_augmentation_around_it(shapes_root: Path):
    cfg = thin(load("mini/maskr_shapes.py"), shapes_root)
    model = build(cfg)
    tta = InstanceTTAModel(module=model).eval()
    fast = optimize(tta)
    assert isinstance(fast.module, FastForm) and tta.module is model
    assert not isinstance(model, FastForm)


def test_refuses(model: nn.Module):
    with pytest.raises(UserError, match=r"in evaluation mode.*model\.eval\(\)"):
        optimize(copy.deepcopy(model).train())
    fast = optimize(model)
    with pytest.raises(UserError, match="already optimized"):
        optimize(fast)
    with pytest.raises(UserError, match="takes a detector of mmdet, not Linear"):
        optimize(nn.Linear(1, 1))
    with pytest.raises(UserError, match="cannot be trained"):
        fast.train()
    with pytest.raises(UserError, match="cannot be trained"):
        fast.forward(torch.zeros(1, 3, 32, 32), mode="loss")
    with pytest.raises(UserError, match=r"masks must be one of .*'png'"):
        optimize(model, masks="png")
    with pytest.raises(UserError, match=r"autocast must be one of .*'int8'"):
        optimize(model, autocast="int8")


def test_rles_need_a_head_that_gives_them(shapes_root: Path):
    model = build(thin(load("compositions/faster_r50_fpn_1x.py"), shapes_root))
    with pytest.raises(UserError, match=r"masks='rle' needs mask_head\.type='ComposedMaskHead'"):
        optimize(model, masks="rle")


def test_own_forward_functions_are_left(model: nn.Module):
    """A subclass that computes something else is not taken for what it derives from."""

    class Doubled(type(model.neck)):
        def forward(self, inputs):
            return tuple(2 * x for x in super().forward(inputs))

    model.neck.__class__ = Doubled
    fast = optimize(model)
    assert not isinstance(fast.neck, FastForm)
    assert_same(detect(fast)[0], detect(model)[0])


def test_lower_precision_is_only_used_where_asked_for(model: nn.Module):
    wanted = detect(model)[0]
    types = {}
    for autocast in (None, "bfloat16"):
        fast = optimize(model, autocast=autocast)
        fast.neck.register_forward_hook(
            lambda module, args, output, key=autocast: types.update({key: output[0].dtype})
        )
        found = detect(fast)[0]
        assert len(found) > 0 and found.scores.dtype == torch.float32
        assert torch.isfinite(found.bboxes).all()
    assert types == {None: torch.float32, "bfloat16": torch.bfloat16}
    assert len(wanted) > 0


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "name",
    [
        "maskr_joint_r50_fpn_1x",
        "maskr_r50_c4_1x",
        "maskr_vit-b_sfp_lsj-100e",
        "compositions/cascade_maskr_r50_fpn_1x",
        "compositions/htc_r50_fpn_1x",
        "compositions/point_rend_r50_fpn_1x",
        "compositions/faster_r50_fpn_1x",
        "ablations/table_2e/maskr_mini_fpn_mlp2",
        "ablations/table_2c/maskr_mini_c4_roipool_max",
    ],
)
def test_lower_precision_of_every_part(name: str, precision: str, shapes_root: Path):
    """Stages of a cascade and heads that read the maps too; results are float32."""
    cfg = thin(load(f"{name}.py"), shapes_root)
    model = build(cfg)
    wanted = detect(model)[0]
    fast = optimize(model, autocast=precision)
    found = detect(fast)[0]
    assert len(found) == len(wanted) > 0
    for key in set(found.keys()) & {"bboxes", "scores", "keypoints", "keypoint_scores"}:
        assert found[key].dtype == torch.float32 and torch.isfinite(found[key]).all()
    difference = found.scores.sort().values - wanted.scores.sort().values
    assert 0 < difference.abs().max() < 0.05 * wanted.scores.max()
    heads = fast.roi_head.bbox_head
    for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
        assert isinstance(head, LowPrecisionHead)


def test_lower_precision_with_parts_of_mmdet(shapes_root: Path):
    """Its RoI extractor gives RoIs the maps' type, which moves them; so maps come in float32."""
    cfg = thin(load("mini/ablation_fpn.py"), shapes_root)
    for branch in ("bbox", "mask"):
        cfg.model.roi_head[f"{branch}_roi_extractor"].type = "SingleRoIExtractor"
    fast = optimize(build(cfg), autocast="bfloat16")
    maps = []
    fast.neck.register_forward_hook(lambda module, args, output: maps.extend(output))
    assert len(detect(fast)[0]) > 0
    assert {feature.dtype for feature in maps} == {torch.float32}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(model: nn.Module, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # it rounds to 11 bits
    model.cuda()
    assert_same(detect(optimize(model))[0].cpu(), detect(model)[0].cpu())
    assert len(detect(optimize(model, autocast="float16"))[0]) > 0
    assert_same(detect(optimize(model, compile=True))[0].cpu(), detect(model)[0].cpu())


def test_compiled(shapes_root: Path, monkeypatch: pytest.MonkeyPatch):
    """What is compiled, and when; torch's tracing without its slow code generator."""
    asked = []

    def compile_without_code(module: nn.Module, **options) -> None:
        asked.append(options)
        module._compiled_call_impl = torch.compile(module._call_impl, backend="eager")

    monkeypatch.setattr(nn.Module, "compile", compile_without_code)
    cfg = thin(load("mini/maskr_shapes.py"), shapes_root)
    cfg.model.roi_head.keypoint_head = cfg.model.roi_head.keypoint_roi_extractor = None
    model = build(cfg)
    fast = optimize(model, compile=True)
    assert fast.optimization.compiled == [
        "backbone", "roi_head.bbox_head", "roi_head.mask_head.convs"
    ]  # fmt: skip
    assert asked == [dict(options=dict(freezing=True))] * 3
    for count in (1, 2):
        for found, wanted in zip(detect(fast, count), detect(model, count), strict=True):
            assert_same(found, wanted)
    assert len(fast.optimization.first_calls) == 2
    assert all(seconds > 0 for seconds in fast.optimization.first_calls.values())


def test_stages_of_a_cascade_are_compiled(shapes_root: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **options: asked.append(module))
    cfg = thin(load("compositions/cascade_maskr_r50_fpn_1x.py"), shapes_root)
    fast = optimize(build(cfg), compile=True)
    heads = [*fast.roi_head.bbox_head, *(head.convs for head in fast.roi_head.mask_head)]
    assert asked == [fast.backbone, *heads] and len(heads) == 6


def test_graphs_begin_anew_with_each_augmented_image(
    shapes_root: Path, monkeypatch: pytest.MonkeyPatch
):
    """The features of all forms are kept until the last one is there, so not with each form."""
    monkeypatch.setattr(nn.Module, "compile", lambda module, **options: None)
    model = build(thin(load("mini/maskr_shapes.py"), shapes_root))
    data = batch()
    sample = data["data_samples"][0]
    sample.set_metainfo(dict(flip=False, flip_direction=None))
    forms = {key: [value, copy.deepcopy(value)] for key, value in data.items()}
    begun = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(1))
    for compiled in (False, True):
        fast = optimize(InstanceTTAModel(module=model).eval(), compile=compiled)
        assert len(fast.test_step(copy.deepcopy(forms))[0].pred_instances) > 0
        assert len(begun) == int(compiled)
