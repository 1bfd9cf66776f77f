"""The catalogue: configs are found, counted by arithmetic, listed; others' numbers are theirs."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
import yaml
from mmdet.registry import MODELS
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config

from mmdet_maskr import zoo
from mmdet_maskr.catalogue import config_path, config_paths, configs_dir
from mmdet_maskr.catalogue.complexity import build_bare, count_operations
from mmdet_maskr.catalogue.describe import describe, recorded, table
from mmdet_maskr.catalogue.guide import PICKS, guide, name_of
from mmdet_maskr.catalogue.model_index import GUIDE, GUIDE_HEADER, entry
from mmdet_maskr.catalogue.published import (
    DETECTRON2_RECIPES,
    PAPER_ROWS,
    counterparts,
    numbers,
    published,
)
from mmdet_maskr.errors import UserError

# Rows of paper_tables.json, and the models that they are about.
ROWS = {
    "R50-C4 1x": "mask_rcnn_R_50_C4_1x", "R50-C4 3x": "mask_rcnn_R_50_C4_3x",
    "R50-DC5 1x": "mask_rcnn_R_50_DC5_1x", "R50-DC5 3x": "mask_rcnn_R_50_DC5_3x",
    "R50-FPN 1x": "mask_rcnn_R_50_FPN_1x", "R50-FPN 3x": "mask_rcnn_R_50_FPN_3x",
    "R101-C4 3x": "mask_rcnn_R_101_C4_3x", "R101-DC5 3x": "mask_rcnn_R_101_DC5_3x",
    "R101-FPN 3x": "mask_rcnn_R_101_FPN_3x",
    "X101-32x8d-FPN 3x": "mask_rcnn_X_101_32x8d_FPN_3x",
    "keypoint R50-FPN 1x": "keypoint_rcnn_R_50_FPN_1x",
    "keypoint R50-FPN 3x": "keypoint_rcnn_R_50_FPN_3x",
    "keypoint R101-FPN 3x": "keypoint_rcnn_R_101_FPN_3x",
    "keypoint X101-FPN 3x": "keypoint_rcnn_X_101_32x8d_FPN_3x",
}  # fmt: skip


@pytest.fixture(scope="module")
def models(repo: Path) -> dict[str, dict]:
    """The metafile's entries by config."""
    metafile = yaml.safe_load((repo / "configs" / "metafile.yml").read_text(encoding="utf-8"))
    return {model["Config"]: model for model in metafile["Models"]}


def test_configs_by_name(repo: Path):
    assert config_path("maskr_r50_fpn_1x") == str(repo / "configs" / "maskr_r50_fpn_1x.py")
    assert config_path("lvis/maskr_r50_fpn_ms-1x.py").endswith("lvis/maskr_r50_fpn_ms-1x.py")
    with pytest.raises(ValueError, match=r"no config 'maskr_r50_fpn_9x'.*'maskr_r50_fpn_\dx'"):
        config_path("maskr_r50_fpn_9x")


def test_metafile_has_every_config_once(repo: Path, models: dict[str, dict]):
    """In the order of the configs' paths; no results, as nobody has trained them here."""
    expected = [f"configs/{p.relative_to(configs_dir())}" for p in config_paths()]
    assert list(models) == expected and len(expected) >= 45
    assert len({model["Name"] for model in models.values()}) == len(expected)
    assert all(model["Results"] == [] for model in models.values())
    index = yaml.safe_load((repo / "model-index.yml").read_text(encoding="utf-8"))
    assert index == {"Import": ["configs/metafile.yml"]}


@pytest.mark.parametrize(
    "name", ["maskr_r50_fpn_1x", "maskr_r50-caffe_c4_ms-1x", "compositions/rpn_r50_fpn_1x"]
)
def test_metafile_is_what_the_tool_writes(name: str, models: dict[str, dict]):
    row = describe(Path(config_path(name)))
    assert models[f"configs/{name}.py"] == json.loads(json.dumps(entry(row)))


def test_guide_is_what_the_tool_writes(repo: Path, models: dict[str, dict]):
    """The page has every config once in its groups, and those to take first."""
    page = (repo / GUIDE).read_text(encoding="utf-8")
    assert page == GUIDE_HEADER + guide(list(models.values()))
    groups = page.split("\n## ", 1)[1]
    for name in map(name_of, models.values()):
        assert groups.count(f"| [`{name}`]({name}.py) |") == 1, name


def test_guide_names_configs_that_exist(models: dict[str, dict]):
    """A config that is renamed has to be renamed among those to take, too."""
    first = PICKS[0][1]
    with pytest.raises(UserError, match=first):
        guide([model for model in models.values() if name_of(model) != first])


def test_published_numbers_are_the_references(repo: Path):
    reference = repo.parent / "shared" / "reference" / "paper_tables.json"
    if not reference.is_file():
        pytest.skip(f"needs {reference} with the published numbers")
    assert numbers() == json.loads(reference.read_text(encoding="utf-8"))


def test_published_rows(models: dict[str, dict]):
    """Spot checks against the printed tables; every row belongs to a config that exists."""
    assert published("maskr_r50_fpn_160k").scores["mask AP"] == 33.6
    assert published("maskr_r50_c5_160k").scores["box AP"] == 34.0
    assert published("maskr_x101-32x8d_fpn_ms-3x").scores == {"box AP": 44.3, "mask AP": 39.5}
    assert published("maskr_r50_fpn_1x").scores == {"box AP": 38.2, "mask AP": 34.7}
    assert published("cityscapes/maskr_r50_fpn_coco_4k").scores["val AP"] == 36.4
    assert published("mini/maskr_shapes") is None
    assert "Caffe's" in published("maskr_keypoint_r50_fpn_90k").source  # ours is torchvision's
    assert "Caffe's" not in published("maskr_r50-caffe_fpn_ms-1x").source
    assert published("maskr_vit-b_sfp_lsj-100e").scores == {"box AP": 51.6, "mask AP": 45.9}
    assert published("maskr_r101-syncbn_fpn_lsj-100e").scores == {"box AP": 46.4, "mask AP": 41.6}
    named = {*PAPER_ROWS, *DETECTRON2_RECIPES, *(n for m in zoo.models() for n in m.configs)}
    assert len(named) > 70 and counterparts("maskr_r50_fpn_1x")[0].source == "mmdet"
    assert {f"configs/{name}.py" for name in named} <= set(models)
    for name in named:
        found = published(name)
        assert models[f"configs/{name}.py"]["Published By Others"]["Scores"] == found.scores
        assert found.source.startswith(("He et al.", "Detectron2 ", "mmdet "))
    for name, row in numbers()["zoo"].items():  # the same numbers, copied by others
        for model in zoo.models() if name in ROWS else ():
            if model.name == ROWS[name]:
                assert list(model.ap.values()) == row[3:]


def test_operations_of_the_backbone_are_mmengines(repo: Path):
    """Convolutions of a thin ResNet and its FPN, counted by mmengine on real tensors."""
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py").model
    model = MODELS.build(cfg).eval()
    image = torch.zeros(1, 3, 96, 96)
    analysis = [
        FlopAnalyzer(model.backbone, (image,)),
        FlopAnalyzer(model.neck, (model.backbone(image),)),
    ]
    expected = sum(part.by_operator()["conv"] for part in analysis)
    # RPN: a 3x3 convolution, 3 scores and 12 deltas a cell of four levels
    cells = sum((96 // stride) ** 2 for stride in (4, 8, 16, 32))
    expected += cells * (64 * 64 * 9 + 64 * 15)
    # box head: two layers, 7 scores and 24 deltas; mask head: two convolutions at 14x14, a
    # deconvolution, six masks at 28x28; keypoint head: four and a deconvolution of nine keypoints
    # for the 100 proposals and 30 detections of the config
    expected += 100 * (64 * 49 * 256 + 256 * 256 + 256 * (7 + 24))
    expected += 30 * (2 * 14 * 14 * 64 * 64 * 9 + 28 * 28 * 64 * 64 + 28 * 28 * 64 * 6)
    expected += 30 * (4 * 14 * 14 * 64 * 64 * 9 + 14 * 14 * 64 * 9 * 16)
    assert count_operations(build_bare(cfg), (96, 96)) == expected


def test_mmdets_own_roi_head_counts_as_ours(repo: Path):
    """The same parts under ``StandardRoIHead``, without keypoints."""
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py").model
    for key in ("keypoint_head", "keypoint_roi_extractor"):
        cfg.roi_head.pop(key, None)
    ours = count_operations(build_bare(cfg), (96, 96))
    cfg.roi_head.type = "StandardRoIHead"
    assert count_operations(build_bare(cfg), (96, 96)) == ours > 0


def test_deformable_convolutions_count(repo: Path):
    """As plain ones and their offsets: 18 channels of 3x3 (27 with weights)."""
    plain = Config.fromfile(repo / "configs" / "maskr_r50_fpn_1x.py").model
    deformable = Config.fromfile(repo / "configs" / "maskr_r50-mdconv-c3-c5_fpn_1x.py").model
    image = (64, 64)
    extra = count_operations(build_bare(deformable), image) - count_operations(
        build_bare(plain), image
    )
    # conv3 to conv5: blocks, width, side of the input map of the first block and of the others
    stages = ((4, 128, 8), (6, 256, 4), (3, 512, 2))
    expected = sum(blocks * 9 * width * 27 * side**2 for blocks, width, side in stages)
    assert extra == expected


def test_published_sizes():
    """Parameters and operations that Swin's paper gives for Mask R-CNN: 44M 260G, 48M 267G."""
    rows = [describe(Path(config_path(f"maskr_{n}_fpn_1x"))) for n in ("r50", "swin-t")]
    assert [round(row.parameters / 1e6) for row in rows] == [44, 48]
    assert [round(row.operations / 1e9) for row in rows] == [pytest.approx(260, abs=1), 267]


def test_list_tool(repo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["list_configs.py", *words])
        runpy.run_path(str(repo / "tools" / "list_configs.py"), run_name="__main__")
        return capsys.readouterr().out

    header, *lines = run("maskr_shapes").splitlines()
    assert header.split()[:3] == ["config", "backbone", "heads"]
    assert len(lines) == 2  # of three colors and of five bands
    for line in lines:
        assert "ResNet 18, FPN" in line and "box, mask" in line and "9 epochs x 8" in line
    with pytest.raises(SystemExit, match="2"):
        run("nothing-of-that-name")
    assert "no config has nothing-of-that-name" in capsys.readouterr().err


def test_without_a_backbones_package(models: dict[str, dict], monkeypatch: pytest.MonkeyPatch):
    """The numbers are those of the metafile; a config that it lacks is an error."""
    monkeypatch.setitem(sys.modules, "timm", None)
    name = "light/maskr_convnext-t_fpn_480-3x"
    row = describe(Path(config_path(name)))
    metadata = models[f"configs/{name}.py"]["Metadata"]
    assert (row.parameters, row.operations) == (metadata["Parameters"], metadata["FLOPs"])
    assert row.parameters > 27e6 and row.operations > 2e10  # ConvNeXt-T has 28 M alone
    with pytest.raises(UserError, match=r"configs/other.py is not in configs/metafile.yml"):
        recorded("other")


def test_table_says_what_differs():
    """Bodies and heads of different kinds have different descriptions."""
    names = (
        "maskr_r50_c4_1x",
        "maskr_r50_c5_1x",
        "maskr_r50-caffe_dc5_ms-1x",
        "maskr_r50-gn_fpn_2x",
        "ablations/table_2b/maskr_r50_c4_softmax_160k",
        "compositions/cascade_maskr_r50_fpn_1x",
        "compositions/point_rend_r50_fpn_1x",
    )
    rows = [describe(Path(config_path(name))) for name in names]
    assert len({(row.backbone, row.heads) for row in rows}) == len(rows)
    assert rows[-1].operations is None and table(rows).splitlines()[-1].endswith("-")
