"""Each part takes the options of its counterpart, and does what that does or names the cure."""

from __future__ import annotations

import inspect

import mmcv.ops
import numpy as np
import pytest
import torch
from mmdet.datasets import transforms as mmdet_transforms
from mmdet.engine import hooks as mmdet_hooks
from mmdet.models.roi_heads import mask_heads, roi_extractors, shared_heads
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder
from mmdet.registry import MODELS, OPTIM_WRAPPERS, TASK_UTILS, TRANSFORMS, VISUALIZERS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine import optim
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

import mmdet_maskr.datasets
import mmdet_maskr.engine
import mmdet_maskr.evaluation
import mmdet_maskr.models
import mmdet_maskr.visualization
from mmdet_maskr.datasets import transforms
from mmdet_maskr.engine.optim_wrapper import BFloat16OptimWrapper
from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.visualizer import InstanceVisualizer

ours = mmdet_maskr.models
# those that do not derive from their counterpart; what derives is found below
COUNTERPARTS = [
    (ours.LevelRoIExtractor, roi_extractors.SingleRoIExtractor),
    (ours.Res5Head, shared_heads.ResLayer),
    (ours.ComposedMaskHead, mask_heads.FCNMaskHead),
    (ours.InterleavedMaskHead, mask_heads.HTCMaskHead),
    (transforms.KeypointRandomAffine, mmdet_transforms.RandomAffine),
    (BFloat16OptimWrapper, optim.AmpOptimWrapper),
    (mmdet_maskr.engine.DatasetFitHook, mmdet_hooks.NumClassCheckHook),
]


def registered() -> list[tuple[type, type]]:
    """Our registered classes and the nearest class of OpenMMLab that each derives from."""
    pairs = []
    for registry in (MODELS, TASK_UTILS, TRANSFORMS, VISUALIZERS, *_others()):
        for cls in registry.module_dict.values():
            if isinstance(cls, type) and cls.__module__.startswith("mmdet_maskr."):
                theirs = [
                    c for c in cls.__mro__ if c.__module__.startswith(("mmdet.", "mmengine."))
                ]
                if theirs and theirs[0].__name__ not in ("BaseModule", "BaseTransform", "Hook"):
                    pairs.append((cls, theirs[0]))
    return pairs


def _others() -> list:
    from mmdet.registry import DATASETS, HOOKS, LOOPS, METRICS, RUNNERS

    return [DATASETS, HOOKS, LOOPS, METRICS, RUNNERS, OPTIM_WRAPPERS]


def options(cls: type) -> set[str]:
    """Names that the constructor takes, and those it hands on to its bases' constructors."""
    names: set[str] = set()
    for base in cls.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters.values()
            named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
            names |= {p.name for p in parameters if p.kind in named}
            if not any(p.kind == p.VAR_KEYWORD for p in parameters):
                break
    return names


PAIRS = COUNTERPARTS + registered()


@pytest.mark.parametrize(("part", "counterpart"), PAIRS, ids=lambda cls: cls.__name__)
def test_options_and_methods_of_the_counterpart_are_there(part: type, counterpart: type):
    assert options(counterpart) - options(part) == set()
    for name in dir(counterpart):
        method, own = (inspect.getattr_static(cls, name, None) for cls in (counterpart, part))
        if name.startswith("_") or not inspect.isfunction(method):
            continue
        assert inspect.isfunction(own), name
        taken = inspect.signature(own).parameters
        if not any(p.kind == p.VAR_KEYWORD for p in taken.values()):
            wanted = [
                p.name
                for p in inspect.signature(method).parameters.values()
                if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
            ]
            assert [p for p in taken if p in wanted] == wanted, name


def test_every_part_of_the_table_is_compared():
    """What is registered and has a counterpart is in the list above, or derives from it."""
    assert len(PAIRS) > 30
    assert {part for part, _ in PAIRS} >= {
        ours.SampledRPNHead, ours.ParallelRoIHead, ours.Res5Head, ours.SizedAnchorGenerator,
        ours.WeightedBoxCoder, InstanceVisualizer,
    }  # fmt: skip


def extractor(name: str, strides: list[int], roi_layer: dict | None = None, **options):
    layer = dict(type="RoIAlign", output_size=7, **(roi_layer or {}))
    return MODELS.build(
        dict(type=name, roi_layer=layer, out_channels=2, featmap_strides=strides, **options)
    )


def random_rois(count: int, size: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(count, 2, generator=generator) * size / 2
    sides = size / 2 ** (torch.rand(count, 2, generator=generator) * 6)
    return torch.cat([torch.zeros(count, 1), corner, corner + sides], 1)


@pytest.mark.parametrize("strides", [[4, 8, 16, 32], [8, 16, 32], [5, 10, 15], [16]])
@pytest.mark.parametrize("finest_scale", [56, 40, 100.0])
def test_finest_scale(strides: list[int], finest_scale: float):
    maps = [torch.rand(1, 2, 512 // s, 512 // s) for s in strides]
    rois = random_rois(60, 900)
    theirs, own = (
        extractor(name, strides, finest_scale=finest_scale)
        for name in ("SingleRoIExtractor", "LevelRoIExtractor")
    )
    assert own.finest_scale == theirs.finest_scale
    levels = own.map_roi_levels(rois, len(strides))
    assert torch.equal(levels, theirs.map_roi_levels(rois, len(strides)))
    assert len(levels.unique()) >= min(len(strides), 3)
    torch.testing.assert_close(own(maps, rois), theirs(maps, rois), rtol=1e-4, atol=1e-5)


def test_two_rules_for_levels():
    for rule in (dict(canonical_size=224), dict(canonical_level=4)):
        with pytest.raises(UserError, match="two rules for the level of a RoI"):
            extractor("LevelRoIExtractor", [4, 8], finest_scale=56, **rule)
    with pytest.raises(UserError, match="finest_scale must be positive"):
        extractor("LevelRoIExtractor", [4, 8], finest_scale=0)
    assert extractor("LevelRoIExtractor", [4, 8]).finest_scale == 56
    assert extractor("LevelRoIExtractor", [8, 16], canonical_size=112).finest_scale == 56


@pytest.mark.parametrize(
    "layer",
    [dict(sampling_ratio=-1), dict(sampling_ratio=-7), dict(use_torchvision=True),
     dict(use_torchvision=True, aligned=False), dict(use_torchvision=False, pool_mode="max")],
)  # fmt: skip
def test_options_of_mmcvs_roi_align(layer: dict):
    if layer.get("use_torchvision"):
        pytest.importorskip("torchvision")
    maps, rois = [torch.rand(1, 2, 64, 64)], random_rois(20, 250)
    theirs, own = (
        extractor(name, [4], layer)(maps, rois)
        for name in ("SingleRoIExtractor", "LevelRoIExtractor")
    )
    torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-5)


def test_torchvisions_roi_align():
    """It computes what ours does, so that the option says nothing; it has no maximum."""
    plain, told = (
        extractor("LevelRoIExtractor", [4], dict(use_torchvision=t)) for t in (False, True)
    )
    maps, rois = [torch.rand(1, 2, 64, 64)], random_rois(20, 250)
    assert torch.equal(plain(maps, rois), told(maps, rois))
    with pytest.raises(UserError, match="use_torchvision=False"):
        extractor("LevelRoIExtractor", [4], dict(use_torchvision=True, pool_mode="max"))


NORMED = dict(type="NormedConv2d", tempearture=20)


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("name", ["ComposedMaskHead", "InterleavedMaskHead"])
def test_predictor_cfg(name: str, class_agnostic: bool):
    """Seesaw's predictor: weights load, and all channels or one compute what mmdet's head does."""
    theirs = dict(ComposedMaskHead="FCNMaskHead", InterleavedMaskHead="HTCMaskHead")[name]
    heads = []
    for each in (theirs, name):
        torch.manual_seed(0)
        head = MODELS.build(
            dict(type=each, num_convs=1, in_channels=8, conv_out_channels=8, num_classes=5,
                 class_agnostic=class_agnostic, predictor_cfg=dict(NORMED))
        )  # fmt: skip
        head.init_weights()
        heads.append(head)
    heads[1].load_state_dict(heads[0].state_dict(), strict=True)
    x, labels = torch.rand(4, 8, 14, 14), torch.tensor([3, 0, 4, 2])
    expected, found = (head(x) for head in heads)
    if isinstance(expected, list):
        expected, found = expected[0], found[0]
    torch.testing.assert_close(found, expected)
    if name == "ComposedMaskHead":
        chosen = heads[1](x, labels)[:, 0]
        index = labels * 0 if class_agnostic else labels
        torch.testing.assert_close(chosen, expected[torch.arange(4), index])
        assert heads[1](x[:0], labels[:0]).shape == (0, 1, 28, 28)


def test_predictor_cfg_of_the_usual_convolution_and_of_an_mlp():
    head = ours.ComposedMaskHead(predictor_cfg=dict(type="Conv"), num_classes=3)
    assert type(head.conv_logits) is type(ours.ComposedMaskHead(num_classes=3).conv_logits)
    with pytest.raises(UserError, match="has no effect with tower='mlp'"):
        ours.ComposedMaskHead(tower="mlp", predictor_cfg=dict(NORMED))
    with pytest.raises(UserError, match="init_cfg must be None"):
        ours.ComposedMaskHead(init_cfg=dict(type="Kaiming", layer="Conv2d"))


@pytest.mark.parametrize(
    "given",
    [dict(), dict(stage=2, dilation=2, stride=1), dict(style="caffe", with_cp=True),
     dict(norm_cfg=dict(type="BN", requires_grad=False), norm_eval=False)],
)  # fmt: skip
def test_res5_head_takes_res_layers_options(given: dict):
    theirs, own = shared_heads.ResLayer(18, **given), ours.Res5Head(18, **given)
    own.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.rand(2, own.layer4[0].conv1.in_channels if "stage" not in given else 128, 8, 8)
    theirs.train(), own.train()
    torch.testing.assert_close(own(x), theirs(x))
    assert [m.training for m in own.modules()] == [m.training for m in theirs.modules()]


def test_res5_heads_weights_file():
    assert ours.Res5Head(18, pretrained="a.pth").init_cfg == dict(
        type="Pretrained", checkpoint="a.pth"
    )
    with pytest.raises(UserError, match="leave pretrained out"):
        ours.Res5Head(18, pretrained="a.pth", init_cfg=dict(type="Kaiming", layer="Conv2d"))
    with pytest.raises(UserError, match=r"shared_head\.stage"):
        ours.Res5Head(18, stage=0)
    pytest.importorskip("mmcv._ext")
    head = ours.Res5Head(50, dcn=dict(type="DCN", deform_groups=1, fallback_on_stride=False))
    assert any(isinstance(m, mmcv.ops.DeformConv2d) for m in head.modules())


def test_amp_options():
    parameter = torch.nn.Parameter(torch.zeros(1))
    for given in (dict(loss_scale="dynamic"), dict(loss_scale=512.0), dict(dtype="bfloat16"),
                  dict(loss_scale=dict(init_scale=4.0)), dict(dtype=torch.bfloat16),
                  dict(use_fsdp=False), dict(accumulative_counts=2)):  # fmt: skip
        OPTIM_WRAPPERS.build(
            dict(type="BFloat16OptimWrapper", optimizer=torch.optim.SGD([parameter], 0.1), **given)
        )
    with pytest.raises(UserError, match="AmpOptimWrapper"):
        BFloat16OptimWrapper(optimizer=torch.optim.SGD([parameter], 0.1), dtype="float16")


def test_anchor_generators_sizes_are_named():
    for given, sizes in (
        (dict(scales=[8]), "[[32], [64]]"),
        (dict(scales=[2, 4], base_sizes=[10, 20]), "[[20, 40], [40, 80]]"),
        (dict(octave_base_scale=4, scales_per_octave=2), "[[16.0, "),
    ):
        with pytest.raises(UserError) as found:
            ours.SizedAnchorGenerator(strides=[4, 8], ratios=[1.0], **given)
        assert f"sizes={sizes}" in str(found.value)
        stock = AnchorGenerator(strides=[4, 8], ratios=[1.0], **given)
        side = (stock.base_anchors[0][:, 2] - stock.base_anchors[0][:, 0]).tolist()
        assert side[0] == float(sizes[2:].split(",")[0].split("]")[0])
    for given in (dict(scale_major=False), dict(centers=[(0, 0), (0, 0)])):
        with pytest.raises(UserError, match="AnchorGenerator has both"):
            ours.SizedAnchorGenerator(strides=[4, 8], sizes=[[32], [64]], **given)
    with pytest.raises(UserError, match="needs sizes"):
        ours.SizedAnchorGenerator(strides=[4, 8])
    boxes = ours.SizedAnchorGenerator([4], [[32]], use_box_type=True)
    assert isinstance(boxes.grid_priors([(2, 2)], device="cpu")[0], HorizontalBoxes)


def test_box_coders_options():
    rois, deltas = random_rois(5, 90)[:, 1:], torch.randn(5, 4) * 3
    given = dict(target_stds=(0.1, 0.1, 0.2, 0.2))
    own, theirs = ours.WeightedBoxCoder(**given), DeltaXYWHBBoxCoder(**given)
    for limit in (16 / 1000, 0.5):
        found = own.decode(rois, deltas, (100, 100), wh_ratio_clip=limit)
        sides = rois[:, 2:] - rois[:, :2]
        assert (found[:, 2:] - found[:, :2] <= sides / limit + 1e-3).all()
    small = deltas / 10
    torch.testing.assert_close(
        own.decode(rois, small, (100, 100)), theirs.decode(rois, small, (100, 100))
    )
    boxes = ours.WeightedBoxCoder((10, 10, 5, 5), use_box_type=True)
    decoded = boxes.decode(HorizontalBoxes(rois), small)
    assert isinstance(decoded, HorizontalBoxes)
    encoded = boxes.encode(HorizontalBoxes(rois), decoded)
    torch.testing.assert_close(encoded, small, rtol=1e-3, atol=1e-3)
    for wrong in (dict(), dict(weights=(1, 1, 1, 1), **given)):
        with pytest.raises(UserError, match="either weights or target_stds"):
            ours.WeightedBoxCoder(**wrong)
    for wrong in (dict(target_means=(0.1, 0, 0, 0)), dict(add_ctr_clamp=True)):
        with pytest.raises(UserError, match="DeltaXYWHBBoxCoder"):
            ours.WeightedBoxCoder((1, 1, 1, 1), **wrong)


STILL = dict(
    max_rotate_degree=0, max_translate_ratio=0, scaling_ratio_range=(1, 1), max_shear_degree=0
)


def affine(border: tuple[int, int], **options: object) -> dict:
    """A white square moved by nothing but the border."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:20, 30:50] = 255
    step = TRANSFORMS.build(
        dict(type="KeypointRandomAffine", border=border, border_val=(7, 7, 7), **STILL, **options)
    )
    boxes = HorizontalBoxes(torch.tensor([[30.0, 10, 50, 20], [0, 0, 4, 40]]))
    masks = mmdet_maskr.datasets.transforms.affine.BitmapMasks(
        np.stack([(image[..., 0] > 0), np.arange(60) < np.full((40, 1), 4)]).astype(np.uint8),
        40,
        60,
    )
    labels, seg_map = np.array([0, 1]), image[..., 0].copy()
    results = dict(img=image, img_shape=(40, 60), gt_bboxes=boxes, gt_masks=masks)
    return step(dict(results, gt_bboxes_labels=labels, gt_seg_map=seg_map))


@pytest.mark.parametrize("border", [(0, 0), (5, 3), (-10, -8)])
def test_affine_border(border: tuple[int, int]):
    """Width and height change by twice (x, y); the center stays; nothing is out of step."""
    found = affine(border)
    height, width = 40 + 2 * border[1], 60 + 2 * border[0]
    assert found["img"].shape == (height, width, 3) and found["img_shape"] == (height, width)
    assert found["gt_masks"].masks.shape[1:] == found["gt_seg_map"].shape == (height, width)
    x1, y1, x2, y2 = np.add([30, 10, 50, 20], [*border, *border]).tolist()
    x2, y1 = min(x2, width), max(y1, 0)
    assert found["gt_bboxes"].tensor[0].tolist() == [x1, y1, x2, y2]
    assert (found["img"][y1:y2, x1:x2] == 255).all()
    assert found["gt_masks"].masks[0].sum() == (y2 - y1) * (x2 - x1)
    assert len(found["gt_bboxes"]) == (1 if border[0] < 0 else 2)
    if border[0] > 0:
        assert (found["img"][0] == 7).all()


def test_affine_boxes_that_are_not_clipped():
    boxes = affine((-20, 0), bbox_clip_border=False)["gt_bboxes"].tensor
    assert boxes.tolist() == [[10, 10, 30, 20]]
    assert affine((-5, -12))["gt_bboxes"].tensor[0].tolist() == [25, 0, 45, 8]
    found = affine((-5, -12), bbox_clip_border=False)["gt_bboxes"].tensor
    assert found[0].tolist() == [25, -2, 45, 8]
    with pytest.raises(UserError, match="leaves nothing"):
        affine((-30, 0))


def picture(**options: object) -> np.ndarray:
    """One instance with a mask, drawn on black."""
    visualizer = InstanceVisualizer(least_side=0, **options)
    mask = torch.zeros(1, 240, 320, dtype=torch.bool)
    mask[0, 100:140, 100:160] = True
    instances = InstanceData(
        bboxes=torch.tensor([[60.0, 60, 200, 180]]), labels=torch.tensor([0]), masks=mask
    )
    image = np.zeros((240, 320, 3), np.uint8)
    return visualizer._draw_instances(
        image, instances, ["thing", "other"], [(200, 100, 50), (9, 9, 9)]
    )


def test_visualizers_alpha_and_line_width():
    for option in ("alpha", "mask_alpha"):
        inside = picture(**{option: 0.5})[120, 130].tolist()
        assert inside == [100, 50, 25]
    thin, thick = ((picture(line_width=w)[70:170, 50:70] > 0).any(2).sum(1) for w in (1, 9))
    assert thin.max() <= 3 and 9 <= thick.min() <= 13
    with pytest.raises(UserError, match="leave one out"):
        picture(alpha=0.5, mask_alpha=0.5)


def test_visualizers_colors():
    plain = picture(alpha=1.0, line_width=5)
    assert plain[120, 130].tolist() == [200, 100, 50] == plain[120, 60].tolist()
    drawn = picture(alpha=1.0, line_width=5, mask_color=(0, 255, 0), bbox_color=(0, 0, 255))
    assert drawn[120, 130].tolist() == [0, 255, 0] and drawn[120, 60].tolist() == [0, 0, 255]
    letters = picture(text_color=(255, 0, 255))
    magenta = (letters[..., 2] > 150) & (letters[..., 1] < 90)
    assert magenta.any() and not ((plain[..., 2] > 150) & (plain[..., 1] < 90)).any()
    named = picture(bbox_color="green", text_color="voc", line_width=5)
    assert named[120, 60].tolist() == [0, 255, 0]


def test_a_model_with_seesaws_predictor_predicts(repo):
    """In the whole model, ours computes all channels for it, and an optimized form too."""
    from mmengine.config import Config

    from mmdet_maskr.deploy import optimize

    cfg = Config.fromfile(repo / "configs" / "_base_" / "models" / "maskr_mini_fpn.py").model
    cfg.roi_head.mask_head.predictor_cfg = ConfigDict(NORMED)
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    x = [torch.rand(1, 64, s, s) for s in (24, 12, 6, 3)]
    proposals = [InstanceData(bboxes=torch.tensor([[4.0, 4, 60, 60], [0, 0, 20, 90]]))]
    results = []
    for each in (model, optimize(model)):
        with torch.no_grad():
            results.append(each.roi_head._mask_forward(
                x, torch.cat([torch.zeros(2, 1), proposals[0].bboxes], 1),
                labels=torch.tensor([0, 1]))["mask_preds"])  # fmt: skip
    assert results[0].shape == (2, 1, 28, 28)
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)
