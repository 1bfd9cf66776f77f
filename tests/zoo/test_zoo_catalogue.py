"""The catalogue says what its sources say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from mmdet_maskr.catalogue import config_paths, configs_dir
from mmdet_maskr.cli.arguments import zoo as arguments
from mmdet_maskr.errors import UserError
from mmdet_maskr.zoo import catalogue

MODELS = catalogue.models()


def test_names_and_addresses():
    assert len(MODELS) >= 80
    names = [name for model in MODELS for name in (model.name, *model.aliases)]
    assert len(names) == len(set(map(catalogue._key, names)))
    hosts = {urlsplit(model.url).hostname for model in MODELS}
    assert hosts == {"dl.fbaipublicfiles.com", "download.pytorch.org", "download.openmmlab.com"}
    assert all(model.url.startswith("https://") for model in MODELS)
    assert all(re.fullmatch(r"[\w.+-]+", model.name) for model in MODELS)  # names of folders
    assert len({model.url for model in MODELS}) == len(MODELS)


def test_checksums_are_those_in_the_names_of_files():
    for model in MODELS:
        kind, _, digits = model.checksum.partition(":")
        assert re.search(rf"[-_]{digits}\.(pkl|pth)$", model.url)
        assert (kind, len(digits)) == (
            ("md5", 6) if model.source == "detectron2" else ("sha256", 8)
        )


def test_scores_and_configs():
    ours = {path.relative_to(configs_dir()).with_suffix("").as_posix() for path in config_paths()}
    for model in MODELS:
        assert model.ap and all(20 < score < 90 for score in model.ap.values()), model.name
        assert set(model.configs) <= ours, model.configs
        assert model.task in catalogue.TASKS and 2e7 < model.parameters < 8e8


def test_mmdets_are_as_its_own_index_says():
    spec = importlib.util.find_spec("mmdet")
    root = Path(str(spec.origin)).parent / ".mim"
    if not root.is_dir():
        pytest.skip("this mmdet has no index")
    index = {}
    for path in root.glob("configs/*/metafile.yml"):
        content = yaml.safe_load(path.read_text())
        for model in content["Models"] if isinstance(content, dict) else content:
            index[model["Name"]] = model
    for model in MODELS:
        if model.source != "mmdet":
            continue
        entry = index[model.name]
        assert (entry["Weights"], entry["Config"]) == (model.url, model.source_config)
        scores = {k: v for result in entry["Results"] for k, v in result["Metrics"].items()}
        kinds = {"box AP": "box", "mask AP": "mask", "PQ": "PQ"}
        found = {kinds[name]: value for name, value in scores.items() if name in kinds}
        assert found == dict(model.ap), model.name


def test_names_are_found_as_people_write_them():
    model = catalogue.find("mask_rcnn_R_50_FPN_3x")
    assert model.ap == {"box": 41.0, "mask": 37.2}
    for name in ("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml", "mask-rcnn_r_50_fpn_3x",
                 "pretrained://mask_rcnn_R_50_FPN_3x"):  # fmt: skip
        assert catalogue.find(name) is model
    with pytest.raises(UserError, match="mask_rcnn_R_50_FPN_3x"):
        catalogue.find("mask_rcnn_R50_FPN_3x")
    with pytest.raises(UserError):
        catalogue.find("")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("new_baselines/mask_rcnn_regnety_4gf_dds_FPN_100ep_LSJ.py", "squeeze-and-excitation"),
        ("cascade_mask_rcnn_mvitv2_b_in21k_100ep", "no MViTv2"),
        ("pretrained://mask_rcnn_mvitv2_t_3x", "no MViTv2"),
        ("cascade_mask_rcnn_swin_b_in21k_50ep", "names are not mapped"),
        ("Misc/panoptic_fpn_R_101_dconv_cascade_gn_3x.yaml", "semantic head"),
        ("COCO-Detection/retinanet_R_50_FPN_1x", "no RoIs"),
        ("fast_rcnn_R_50_FPN_1x", "no objects by itself"),
        ("rpn_R_50_C4_1x", "no objects by itself"),
    ],
)
def test_models_of_detectron2_that_cannot_be_converted(name: str, reason: str):
    with pytest.raises(UserError, match=f"cannot be converted: .*{reason}") as caught:
        catalogue.find(name)
    named = re.findall(r"[\w-]+_(?:LSJ|100ep|coco|3x|1x)\b", str(caught.value).partition(": ")[2])
    assert all(catalogue.get(one) is not None for one in named)  # those that it points to


def test_reasons_are_of_no_model_that_there_is():
    assert not [model.name for model in MODELS if catalogue.why_not(model.name)]
    with pytest.raises(UserError, match="did you mean"):
        catalogue.find("mask-rcnn_swin-t-p4_fpn_1x_coco")
    with pytest.raises(UserError, match="did you mean"):
        catalogue.find("faster_rcnn_R50_FPN_1x")


def test_selection():
    found = catalogue.select(task="masks", backbone="vit", min_ap=49, max_params=500)
    assert {model.name for model in found} == {
        "mask_rcnn_vitdet_l_100ep", "cascade_mask_rcnn_vitdet_l_100ep",
    }  # fmt: skip
    assert all("LVIS" in m.data for m in catalogue.select(data="lvis"))
    lines = catalogue.table(found).splitlines()
    assert len(lines) == 3 and "49.2" in lines[1] + lines[2]


def test_options_of_the_command_line():
    assert arguments.TASKS == catalogue.TASKS
    assert set(arguments.SOURCES) == set(catalogue.content()["sources"])
