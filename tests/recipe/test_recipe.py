"""A folder becomes a config: rules of its numbers, text with reasons, what is refused."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from mmdet_maskr import pypi_weights
from mmdet_maskr.cli.parser import parser_of
from mmdet_maskr.datasets.formats.prepared import Reading, prepare
from mmdet_maskr.engine.config_checks import check_config
from mmdet_maskr.engine.config_parts import check_parts
from mmdet_maskr.engine.config_reading import read_config
from mmdet_maskr.errors import UserError
from mmdet_maskr.models import EfficientNetLite
from mmdet_maskr.recipe import data, model, notes, run
from mmdet_maskr.recipe.facts import Facts, facts_of
from mmdet_maskr.recipe.lines import Choice, Code, set_value, text_of
from mmdet_maskr.recipe.machine import Machine
from mmdet_maskr.recipe.outcome import table
from mmdet_maskr.recipe.plan import (
    LEAST,
    Speed,
    Wishes,
    epochs_of,
    first_plan,
    fitted,
    slow_validation,
)
from mmdet_maskr.recipe.recipe import config_text
from mmdet_maskr.recipe.record import finished, goes_on, write_finished, write_record
from mmdet_maskr.recipe.speed import _keep_all
from mmdet_maskr.recipe.starting import Start, start_of

CPU = Machine(None, 0.0, 2)
NONE = Start(None, None, "none")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMDET_MASKR_CACHE", str(tmp_path / "cache"))


def photos(root: Path, count: int = 12, masks: bool = True, keypoints: bool = False) -> Path:
    """COCO's form: leaves in each photo, a stone in every sixth one."""
    root.mkdir(parents=True)
    images, annotations = [], []
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 255, (64, 96, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{i}.png")
        images.append(dict(id=i, file_name=f"{i}.png", width=96, height=64))
        for kind in [1, 1] + [2] * (i % 6 == 0):
            x, y = 5 + 20 * len(annotations) % 60, 10
            made = dict(id=len(annotations), image_id=i, category_id=kind, bbox=[x, y, 20, 30])
            if masks:
                made["segmentation"] = [[x, y, x + 20, y, x + 20, y + 30, x, y + 30]]
            if keypoints and kind == 1:
                made["keypoints"] = [x, y, 2, x + 9, y + 9, 2]
            annotations.append(made)
    categories = [dict(id=1, name="leaf"), dict(id=2, name="stone")]
    if keypoints:
        categories[0]["keypoints"] = ["left_tip", "right_tip"]
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return root


def facts(**changed: object) -> Facts:
    known = dict(
        images=200, negatives=0, counts=dict(leaf=900, stone=300), val_images=50,
        val_counts=dict(leaf=200, stone=60), width=640.0, height=480.0,
        sizes=np.linspace(40, 160, 1200), aspects=np.linspace(0.6, 1.6, 1200), most_objects=12,
        many_objects=9, masks=1.0, val_masks=260, keypoints=None, classes=("leaf", "stone"),
    )  # fmt: skip
    return Facts(**{**known, **changed})


# ------------------------------------------------------------------------------------------- facts
def test_facts_of_a_folder(tmp_path: Path):
    found = facts_of(prepare(photos(tmp_path / "photos")))
    assert found.images + found.val_images == 12
    assert {c: found.counts[c] + found.val_counts[c] for c in found.classes} == dict(
        leaf=24, stone=2
    )
    assert (found.width, found.height, found.most_objects, found.masks) == (96, 64, 3, 1)
    assert found.size(0.5) == pytest.approx(600**0.5)
    assert found.aspects[0] == 1.5
    one = facts_of(prepare(tmp_path / "photos"), ["stone"])
    assert one.objects + sum(one.val_counts.values()) == 2
    assert one.negatives > 0


# -------------------------------------------------------------------------------------------- plan
@pytest.mark.parametrize(("images", "epochs"), [(50, 30), (1000, 30), (20_000, 16), (90_000, 16)])
def test_epochs_of_mayaku(images: int, epochs: float):
    assert epochs_of(images) == pytest.approx(epochs)
    assert 16 < epochs_of(4000) < 30


def test_small_objects_get_more_pixels():
    sides = [
        first_plan(facts(sizes=np.full(100, size)), CPU, True, Wishes()).short
        for size in (10.0, 30.0, 100.0, 300.0)
    ]
    assert sides == sorted(sides, reverse=True)
    assert sides[0] == 480
    tiny = first_plan(facts(width=64.0, height=48.0), CPU, True, Wishes())
    assert tiny.short <= 96  # not more than twice the photo


@pytest.mark.parametrize("iteration", [0.01, 0.3, 2.0, 30.0])
@pytest.mark.parametrize("photo", [0.01, 1.0])
def test_a_time_budget_is_kept_as_far_as_it_can_be(iteration: float, photo: float):
    plan = first_plan(facts(), CPU, True, Wishes(minutes=2))
    found = fitted(plan, facts(), Speed(iteration, photo), 110.0, 2)
    assert found.iterations >= LEAST
    assert found.batch >= 2
    pixels = found.short * found.long / (plan.short * plan.long)
    spent = (found.evaluations + 1) * 50 * photo * pixels  # and the report
    spent += found.iterations * iteration * (0.15 + 0.85 * pixels * found.batch / plan.batch)
    assert spent <= 110 or found.iterations == LEAST
    if iteration == 0.01 and photo == 0.01:
        assert (found.batch, found.short) == (plan.batch, plan.short)
        assert found.evaluations == 10
        assert found.iterations > 5000


def test_a_long_validation_is_said_and_kept_within_the_budget():
    plan = first_plan(facts(), CPU, True, Wishes(minutes=2))
    speed = Speed(0.05, 1.0)
    found = fitted(plan, facts(), speed, 110.0, 2)
    assert found.evaluations == 1
    assert found.iterations == pytest.approx((110 - 2 * 50) / 0.05, abs=1)
    assert "1.7 of 1.8 minutes for 50 photos" in str(
        slow_validation(plan, found, facts(), speed, 110.0)
    )
    assert slow_validation(plan, found, facts(val_images=5), speed, 110.0) is None


def test_too_short_a_time_is_said():
    """Also one that reading and measuring have used up; 30 iterations are trained anyway."""
    plan = first_plan(facts(), CPU, True, Wishes(minutes=0.2))
    for seconds, left in ((30.0, "0.5"), (-3.0, "0.0")):
        found = fitted(plan, facts(), Speed(4.0, 0.1), seconds, 0.2)
        said = slow_validation(plan, found, facts(), Speed(4.0, 0.1), seconds)
        assert said is not None and said.startswith("30 iterations") and f"{left} are left" in said


def test_the_measured_model_finds_as_much_as_it_may(tmp_path: Path):
    """Its scores of 40 classes are far below the threshold; a trained one's would not be."""
    cfg = written(photos(tmp_path / "photos"), tmp_path)
    cfg.model.test_cfg.rcnn.score_thr = 0.9
    built = MODELS.build(cfg.model).eval()
    meta = dict(img_shape=(64, 96), ori_shape=(64, 96), scale_factor=(1.0, 1.0))
    image = torch.zeros(3, 64, 96, dtype=torch.uint8)
    batch = dict(inputs=[image], data_samples=[DetDataSample(metainfo=meta)])
    found = []
    for prepare_model in (lambda model: None, _keep_all):
        prepare_model(built)
        with torch.no_grad():
            found.append(len(built.val_step(batch)[0].pred_instances))
    assert found[0] == 0 < found[1] == cfg.model.test_cfg.rcnn.max_per_img
    _keep_all(torch.nn.Linear(1, 1))  # a model without RoIs


def test_slow_machines_get_fewer_pixels():
    plan = first_plan(facts(), CPU, True, Wishes(minutes=2))
    slow = fitted(plan, facts(), Speed(4.0, 0.1), 110.0, 2)
    assert (slow.batch, slow.short) == (2, 128)


def test_wishes():
    assert first_plan(facts(), CPU, True, Wishes(epochs=3)).iterations == 150
    for wrong in (dict(minutes=0), dict(epochs=-1), dict(minutes=1, epochs=1)):
        with pytest.raises(UserError, match=r"--minutes|--epochs"):
            Wishes(**wrong)


# ------------------------------------------------------------------------------------------- model
def test_anchors_cover_the_objects():
    for size in (8.0, 40.0, 150.0):
        given = facts(sizes=np.linspace(0.6, 1.6, 500) * size)
        plan = first_plan(given, CPU, True, Wishes())
        tree = model.model_of(given, plan)
        generator = tree["rpn_head"]["anchor_generator"]
        scale, strides = generator["scales"].value[0], generator["strides"].value
        assert tree["neck"]["num_outs"].value == len(strides)
        factor = plan.short / 480
        assert scale * strides[0] <= max(8.0, 1.5 * given.size(0.1) * factor)
        assert scale * strides[-1] >= 0.6 * given.size(0.9) * factor
    few = model.model_of(facts(counts=dict(leaf=20), sizes=np.full(20, 9.0)), plan)
    assert few["rpn_head"]["anchor_generator"]["scales"].value == [4]


def test_thin_objects_get_thin_anchors():
    plan = first_plan(facts(), CPU, True, Wishes())
    thin = model.model_of(facts(aspects=np.geomspace(0.1, 8, 500)), plan)
    ratios = thin["rpn_head"]["anchor_generator"]["ratios"].value
    assert ratios[0] < 0.3
    assert ratios[-1] > 3


@pytest.mark.parametrize(("most", "kept"), [(1, 30), (40, 60), (200, 300), (5000, 1000)])
def test_detections_for_all_objects(most: int, kept: int):
    assert model.detections_of(facts(most_objects=most)) == kept


# -------------------------------------------------------------------------------------------- text
def test_text_reads_back(tmp_path: Path):
    tree = dict(
        scale=Choice((2, 1), "because"),
        model=dict(
            head=dict(classes=Choice(3, "counted")), flags=[True, None], other=dict(a=1, b="x")
        ),
        steps=[dict(type="A"), Choice(Code("dict(type='B', scale=scale)"), "long " * 40)],
    )
    set_value(tree, "model.head.classes", 4, "--cfg-options")
    set_value(tree, "model.new.deep", [1, 2], "--cfg-options")
    set_value(tree, "scale", [4, 3], "--cfg-options")  # as argparse gives scale=4,3
    set_value(tree, "steps.0", dict(type="C"), "--cfg-options")
    text = text_of(tree, "A config.")
    path = tmp_path / "config.py"
    path.write_text(text, encoding="utf-8")
    found = Config.fromfile(path)
    assert found.to_dict() == dict(
        scale=(4, 3),
        model=dict(
            head=dict(classes=4), flags=[True, None], other=dict(a=1, b="x"), new=dict(deep=[1, 2])
        ),
        steps=[dict(type="C"), dict(type="B", scale=(4, 3))],
    )
    assert max(map(len, text.splitlines())) <= 100
    assert "scale = (4, 3)  # --cfg-options" in text
    assert "    head=dict(classes=4),  # --cfg-options" in text


def written(
    root: Path,
    tmp_path: Path,
    start: Start = NONE,
    wishes: Wishes = Wishes(),  # noqa: B008 (it is frozen)
    **options: object,
) -> Config:
    prepared = prepare(root)
    found = facts_of(prepared)
    plan = first_plan(found, CPU, start.small, wishes)
    text = config_text(
        found,
        plan,
        CPU,
        wishes,
        start,
        prepared,
        Reading(),
        str(root),
        tmp_path / "work",
        tmp_path / "model.py",
        options,
    )
    path = tmp_path / "config.py"
    path.write_text(text, encoding="utf-8")
    cfg = read_config(str(path))
    check_config(cfg, str(path), "train")
    check_parts(cfg, ("train", "val", "test"))
    return cfg


def test_config_of_masks(tmp_path: Path):
    root = photos(tmp_path / "photos")
    cfg = written(root, tmp_path, **{"optim_wrapper.optimizer.lr": 0.5})
    built = MODELS.build(cfg.model)
    assert built.roi_head.bbox_head.num_classes == built.roi_head.mask_head.num_classes == 2
    assert cfg.train_dataloader.dataset.type == "ClassBalancedDataset"  # 1 stone for 12 leaves
    assert cfg.train_dataloader.dataset.dataset.data_root == str(root)
    assert cfg.val_evaluator.metric == ["bbox", "segm"]
    assert cfg.default_hooks.checkpoint.save_best == "coco/segm_mAP"
    assert "EarlyStoppingHook" not in [hook["type"] for hook in cfg.custom_hooks]
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[1].end == cfg.param_scheduler[1].T_max


def test_config_of_keypoints_without_masks(tmp_path: Path):
    cfg = written(photos(tmp_path / "photos", masks=False, keypoints=True), tmp_path)
    head = MODELS.build(cfg.model).roi_head
    assert not head.with_mask
    assert head.keypoint_head.num_keypoints == 2
    assert list(cfg.model.roi_head.keypoint_head.keypoint_labels) == [0]
    types = [step["type"] for step in cfg.train_pipeline]
    assert "KeypointRandomFlip" in types
    assert cfg.val_evaluator.metric == ["bbox", "keypoints"]


def deep_photos(root: Path) -> Path:
    """Photos of 12 bits in 16, as a microscope's camera has them."""
    photos(root)
    for path in root.glob("*.png"):
        values = np.asarray(Image.open(path)).max(2).astype(np.uint16) * 16
        Image.fromarray(values).save(path)
    return root


def test_photos_of_more_than_8_bits(tmp_path: Path):
    """Their bits are kept; mean and deviation are those of the training photos."""
    root = deep_photos(tmp_path / "photos")
    cfg = written(root, tmp_path)
    found = facts_of(prepare(root))
    assert found.bands is not None and "uint16" in notes.told(prepare(root), found)
    names = [image["file_name"] for image in json.loads(
        prepare(root).files["train"].read_text())["images"]]  # fmt: skip
    pixels = np.stack([np.asarray(Image.open(root / name)) for name in names]).astype(np.float64)
    assert cfg.model.data_preprocessor.mean == pytest.approx([pixels.mean()], rel=1e-4)
    assert cfg.model.data_preprocessor.std == pytest.approx([pixels.std()], rel=1e-4)
    built = MODELS.build(cfg.model).train()
    loader = Runner.build_dataloader(
        {**cfg.train_dataloader, "num_workers": 0, "persistent_workers": False}, 0
    )
    batch = built.data_preprocessor(next(iter(loader)), training=True)
    assert batch["inputs"].shape[1] == 1
    assert 0.5 < float(batch["inputs"].std()) < 1.5
    assert sum(float(v.detach()) for v in built(**batch, mode="loss")["loss_rpn_cls"]) > 0


@pytest.mark.parametrize(
    ("bands", "kind", "photometric"), [(3, np.uint16, "rgb"), (5, np.uint8, "minisblack")]
)
def test_photos_of_several_bands(tmp_path: Path, bands: int, kind: type, photometric: str):
    """Colors of 16 bits, which Pillow reads as 8, and more bands than it knows."""
    tifffile = pytest.importorskip("tifffile")
    root = photos(tmp_path / "photos")
    content = json.loads((root / "annotations.json").read_text())
    for image in content["images"]:
        path = root / image["file_name"]
        values = np.random.default_rng(image["id"]).integers(0, 200, (64, 96, bands)).astype(kind)
        image["file_name"] = f"{path.stem}.tif"
        tifffile.imwrite(
            root / image["file_name"], values, photometric=photometric, planarconfig="contig"
        )
        path.unlink()
    (root / "annotations.json").write_text(json.dumps(content))
    cfg = written(root, tmp_path)
    assert cfg.model.backbone.in_channels == len(cfg.model.data_preprocessor.mean) == bands
    loader = Runner.build_dataloader(
        {**cfg.train_dataloader, "num_workers": 0, "persistent_workers": False}, 0
    )
    sample = next(iter(loader))["inputs"][0]
    assert sample.shape[0] == bands


def test_some_photos_of_more_than_8_bits(tmp_path: Path):
    """What they lose is said."""
    root = deep_photos(tmp_path / "photos")
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(root / "3.png")
    found = facts_of(prepare(root))
    assert (found.bands, found.deep) == (None, 11)
    assert "11 photos have more than 8 bits" in notes.told(prepare(root), found)


def test_weights_of_colors_are_not_for_other_bands():
    gpu = Machine("a GPU", 80.0, 8)
    assert start_of(gpu, None, ["uint16"])[:2] == (None, None)


def test_config_with_weights(tmp_path: Path):
    start = Start(str(tmp_path / "a.pth"), None, "COCO's", small=False)
    (tmp_path / "a.pth").touch()
    cfg = written(photos(tmp_path / "photos"), tmp_path, start)
    assert cfg.load_from == start.load_from
    assert cfg.model.backbone.depth == 50
    # COCO has neither leaves nor stones
    assert dict(type="ClassTransferHook", least_shared=0) in cfg.custom_hooks
    assert "LossGuardHook" in [hook["type"] for hook in cfg.custom_hooks]
    assert "EarlyStoppingHook" in [hook["type"] for hook in cfg.custom_hooks]


@pytest.mark.parametrize("keypoints", [False, True])
def test_copy_paste(tmp_path: Path, keypoints: bool):
    """One step of what is written, with objects of another photo in each image."""
    root = photos(tmp_path / "photos", keypoints=keypoints)
    plain = written(root, tmp_path)
    assert "InstanceCopyPaste" not in plain.pretty_text
    cfg = written(
        root,
        tmp_path,
        wishes=Wishes(copy_paste=True),
        **{"train_dataloader.num_workers": 0, "train_dataloader.persistent_workers": False},
    )
    assert cfg.train_pipeline[0] == dict(type="InstanceCopyPaste", prob=0.5, max_num=10)
    assert [*cfg.loading_pipeline, *cfg.train_pipeline[1:]] == plain.train_pipeline
    cfg.train_pipeline[0].prob = cfg.train_dataloader.dataset.pipeline[0].prob = 1.0
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    own = {len(loader.dataset.dataset[i]["gt_bboxes"]) for i in range(len(loader.dataset))}
    batch = next(iter(loader))
    many = [len(sample.gt_instances) for sample in batch["data_samples"]]
    assert max(many) > max(own)
    for sample in batch["data_samples"]:
        assert len(sample.gt_instances.masks) == len(sample.gt_instances)
        assert ("keypoints" in sample.gt_instances) == keypoints
    built = MODELS.build(cfg.model)
    losses = built(**built.data_preprocessor(batch, True), mode="loss")
    total, _ = built.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)


def test_copy_paste_without_masks(tmp_path: Path):
    root = photos(tmp_path / "photos", masks=False)
    with pytest.raises(UserError, match="--copy-paste needs objects with masks"):
        written(root, tmp_path, wishes=Wishes(copy_paste=True))


def test_flips():
    plan = first_plan(facts(), CPU, True, Wishes())

    def flip(given: Facts, kind: str) -> str:
        steps = data.train_pipelines(given, plan, Wishes(flips=kind))["train_pipeline"]
        return " ".join(
            s.value.text for s in steps if isinstance(s, Choice) and "Flip" in s.value.text
        )

    assert "prob=0.5" in flip(facts(), "auto")
    assert flip(facts(), "none") == ""
    assert "diagonal" in flip(facts(), "both")
    meta = dict(keypoints=["a", "b"], keypoint_swaps=[], keypoint_classes=["leaf"])
    assert flip(facts(keypoints=meta), "auto") == ""
    assert "KeypointRandomFlip" in flip(facts(keypoints=meta), "horizontal")
    with pytest.raises(UserError, match="--flips sideways"):
        flip(facts(), "sideways")


# ------------------------------------------------------------------------------------------ record
def test_the_same_command_goes_on(tmp_path: Path):
    work, config = tmp_path / "work", tmp_path / "work/recipe/work.py"
    assert not goes_on(work, config, "a", {})
    config.parent.mkdir(parents=True)
    config.write_text("model = 1")
    write_record(config.parent, "a", dict(minutes=2.0))
    assert goes_on(work, config, "a", dict(minutes=2.0))
    assert not goes_on(work, config, "b", dict(minutes=2.0))  # nothing is trained yet
    (work / "iter_30.pth").touch()
    assert goes_on(work, config, "a", dict(minutes=2.0))
    with pytest.raises(UserError, match=r"--minutes was 2.0 and is 3.0.*another --work-dir"):
        goes_on(work, config, "a", dict(minutes=3.0))
    with pytest.raises(UserError, match=r"have changed since.*--weights .*iter_30.pth"):
        goes_on(work, config, "b", dict(minutes=2.0))
    assert finished(config.parent) is None
    write_finished(config.parent, 30)
    assert finished(config.parent) == 30
    write_record(config.parent, "b", {})  # another training
    assert finished(config.parent) is None
    config.unlink()
    with pytest.raises(UserError, match="checkpoints of another training"):
        goes_on(work, config, "a", dict(minutes=2.0))


# ------------------------------------------------------------------------------------------- words
def test_what_is_said(tmp_path: Path):
    root = photos(tmp_path / "photos", count=6)
    (root / "5.png").write_bytes((root / "0.png").read_bytes())
    prepared = prepare(root)
    found = facts_of(prepared)
    text = notes.told(
        prepared, replace(found, counts=dict(leaf=5, stone=1), negatives=2, masks=0.5)
    )
    for part in (
        "COCO, ",
        "2 photos without objects",
        "class 'stone' has one training object",
        "only 6 photos",
    ):
        assert part in text


def test_table():
    scores = {"coco/bbox_mAP": 0.5, "coco/bbox_mAP_s": -1.0, "coco/leaf_precision": 0.25}
    scores |= {"coco/bud_precision": float("nan"), "coco/stem_precision": 0.75}
    lines = table(scores).splitlines()
    assert lines[1].split() == ["box", "50.0", "-", "-", "-", "-", "-"]
    classes = [line.split() for line in lines[2:]]
    assert classes == [["stem", "75.0"], ["leaf", "25.0"], ["bud", "-"]]


# -------------------------------------------------------------------------------------------- runs
def arguments(line: str) -> argparse.Namespace:
    return parser_of("train", "maskr train").parse_args(shlex.split(line))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--classes leaf,Stone", r"'Stone' \(did you mean 'stone'"),
        ("--folds 1", "--folds 1: it must be 2 or more"),
        ("--launcher pytorch", "--launcher pytorch: a folder is trained by a single process"),
        ("--val 1.5", "val_share=1.5 must be between"),
        ("--val nowhere", "there is no folder or annotation file .*nowhere"),
        ("--format pdf", "there is no format 'pdf'"),
        ("--minutes -3", "--minutes -3.0: it must be greater than 0"),
        ("--minutes 1 --epochs 2", "--minutes and --epochs both"),
        ("--weights nowhere.pth", "nowhere.pth"),
        ("--flips up --epochs 1", "--flips up: it must be one of"),
    ],
)
def test_wrong_options(tmp_path: Path, options: str, message: str):
    root = photos(tmp_path / "photos", count=4)
    args = arguments(f"{root} --work-dir {tmp_path / 'work'} {options}")
    with pytest.raises(UserError, match=message):
        run.train_folder(args)
    assert not list((tmp_path / "work").rglob("*.pth"))


def test_folders_that_cannot_be_trained(tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="0 images and no annotations"):
        run.train_folder(arguments(f"{empty} --work-dir {tmp_path / 'work'}"))
    root = photos(tmp_path / "photos", count=4)
    (root / "2.png").write_bytes(b"no image")
    assert prepare(root).summary["unreadable"][0][0] == str(root / "2.png")  # left out
    for path in root.glob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the 4 photos can be decoded completely"):
        run.train_folder(arguments(f"{root} --work-dir {tmp_path / 'work'}"))
    only = photos(tmp_path / "one", count=1)
    with pytest.raises(UserError, match="1 photos look alike"):
        run.train_folder(arguments(f"{only} --work-dir {tmp_path / 'work'}"))


@pytest.mark.parametrize(("width", "small"), [(32, True), (64, False)])
def test_whose_weights_they_are(tmp_path: Path, width: int, small: bool):
    path = tmp_path / "a.pth"
    torch.save(dict(state_dict={"backbone.conv1.weight": torch.zeros(width, 3, 7, 7)}), path)
    assert start_of(CPU, str(path))[::3] == (str(path), small)
    assert start_of(CPU, "none") == start_of(CPU, None)._replace(
        reason="none, because of --weights none"
    )


def test_light_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """ImageNet's weights for its backbone, or those of an earlier training of it."""
    monkeypatch.setattr(pypi_weights, "packaged_file", lambda name: tmp_path / "weights.pth")
    start = start_of(CPU, "pypi://efficientnet-lite0")
    assert start[:2] == (None, "pypi://efficientnet-lite0") and start.small
    assert Config.fromfile(start.config).model.backbone.arch == "lite0"
    with pytest.raises(UserError, match="light models start from pypi://efficientnet-lite0 or"):
        start_of(CPU, "pypi://efficientnet-lite1")
    root, work = photos(tmp_path / "photos", count=6), tmp_path / "work"
    monkeypatch.setattr(run, "build_runner", lambda *args, **options: pytest.fail("it trains"))
    line = f"{root} --work-dir {work} --weights pypi://efficientnet-lite0"
    with pytest.raises(pytest.fail.Exception, match="it trains"):
        run.train_folder(arguments(line))
    cfg = Config.fromfile(next((work / "recipe").glob("work.py")))
    assert cfg.model.backbone.type == "EfficientNetLite" and cfg.load_from is None
    assert cfg.model.backbone.init_cfg.checkpoint == "pypi://efficientnet-lite0"
    head = MODELS.build(cfg.model).roi_head
    assert head.mask_head.num_classes == head.bbox_head.num_classes == 2
    assert cfg.model.neck.num_outs == len(cfg.model.rpn_head.anchor_generator.strides)
    lite2 = EfficientNetLite("lite2")
    state = {f"backbone.{name}": value for name, value in lite2.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / "a.pth")
    again = start_of(CPU, str(tmp_path / "a.pth"))
    assert again[:2] == (str(tmp_path / "a.pth"), None) and again.small
    assert Config.fromfile(again.config).model.backbone.arch == "lite2"
    with pytest.raises(pytest.fail.Exception, match="it trains"):
        run.train_folder(
            arguments(f"{root} --work-dir {tmp_path / 'b'} --weights {tmp_path}/a.pth")
        )
    cfg = Config.fromfile(next((tmp_path / "b" / "recipe").glob("b.py")))
    assert cfg.model.backbone.init_cfg is None and cfg.load_from == str(tmp_path / "a.pth")


@pytest.mark.slow
def test_from_a_folder_to_a_model(tmp_path: Path, capsys: pytest.CaptureFixture):
    root, work = photos(tmp_path / "photos", count=6), tmp_path / "work"
    line = f"{root} --work-dir {work} --epochs 4 --cfg-options train_dataloader.num_workers=0 "
    line += "train_dataloader.persistent_workers=False val_dataloader.num_workers=0 "
    line += "val_dataloader.persistent_workers=False"
    run.train_folder(arguments(line))
    said = capsys.readouterr().out
    best = next(work.glob("best_*.pth"))
    assert str(best) in said
    assert (work / "report.html").is_file()
    assert "mask" in said
    config = work / "recipe" / "work.py"
    assert config.is_file()
    assert (work / "work.py").is_file()  # what was trained, whole
    before, logs = best.stat().st_mtime_ns, len(list(work.glob("*/*.log")))
    run.train_folder(arguments(line))  # is done
    assert best.stat().st_mtime_ns == before
    assert len(list(work.glob("*/*.log"))) == logs  # nothing was built
    again = capsys.readouterr().out
    assert "is finished, with 5 iterations" in again
    assert "nothing is left" not in again and "Loads checkpoint" not in said + again
    assert said.partition("AP50")[2].partition("report")[0] in again
    with pytest.raises(UserError, match=r"--epochs was 4.0 and is 9.0"):
        run.train_folder(arguments(line.replace("--epochs 4", "--epochs 9")))


def test_the_model_of_other_weights(tmp_path: Path, repo: Path):
    base = repo / "configs" / "_base_" / "models" / "maskr_r50_fpn.py"
    text = model.text_of_model(str(base), facts())
    (tmp_path / "model.py").write_text(text, encoding="utf-8")
    assert Config.fromfile(tmp_path / "model.py").model == Config.fromfile(base).model
    meta = dict(keypoints=["a"], keypoint_swaps=[], keypoint_classes=["leaf"])
    with pytest.raises(UserError, match="this model has no keypoint_head"):
        model.text_of_model(str(base), facts(keypoints=meta))
    cascade = repo / "configs" / "_base_" / "models" / "cascade_maskr_r50_fpn.py"
    with pytest.raises(UserError, match="several box heads"):
        model.text_of_model(str(cascade), facts())
