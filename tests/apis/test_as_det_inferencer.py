"""What calls mmdet's DetInferencer may call ours: the same arguments, the same results."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from mmengine.config import Config
from thin_configs import load, thin

from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.errors import UserError


@pytest.mark.parametrize("method", ["__init__", "__call__"])
def test_arguments(method: str):
    """In the same places, with the same defaults; ours have names alone."""
    theirs = inspect.signature(getattr(DetInferencer, method)).parameters
    ours = list(inspect.signature(getattr(MaskRInferencer, method)).parameters.values())
    named = [p for p in theirs.values() if p.kind is not p.VAR_KEYWORD]
    assert len(named) > 6
    for parameter, own in zip(named, ours, strict=False):
        assert (own.name, own.default) == (parameter.name, parameter.default)
    if method == "__call__":
        assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in ours[len(named) :])


@pytest.fixture(scope="module")
def both(repo: Path) -> tuple[DetInferencer, MaskRInferencer]:
    """mmdet's and ours, of the same random model."""
    made = []
    for kind in (DetInferencer, MaskRInferencer):
        cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")
        cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=5)
        torch.manual_seed(0)
        made.append(kind(cfg, device="cpu", show_progress=False))
    return tuple(made)


@pytest.fixture
def photos(shapes_root: Path) -> list[str]:
    return [str(path) for path in sorted((shapes_root / "val").glob("*.png"))]


def near(ours: list[dict], theirs: list[dict]) -> None:
    assert len(ours) == len(theirs) > 0
    for own, other in zip(ours, theirs, strict=True):
        assert own["labels"] == other["labels"]
        for key in ("bboxes", "scores"):
            np.testing.assert_allclose(own[key], other[key], atol=1e-4)
        assert own["masks"] == other["masks"]


@pytest.mark.parametrize("kind", ["file", "array", "files", "arrays", "folder"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_results(both, photos: list[str], shapes_root: Path, kind: str, batch_size: int):
    inputs = dict(
        file=photos[0],
        array=mmcv.imread(photos[0]),
        files=photos[:2],
        arrays=[mmcv.imread(photo) for photo in photos[:2]],
        folder=str(shapes_root / "val"),
    )[kind]
    theirs, ours = (inferencer(inputs, batch_size) for inferencer in both)
    if kind == "folder":  # theirs is in the order of the file system
        assert ours["images"] == photos
        theirs = both[0](photos, batch_size)
    near(ours["predictions"], theirs["predictions"])
    assert ours["visualization"] == theirs["visualization"] == []


def test_options_by_place(both, photos: list[str], tmp_path: Path, capsys):
    """return_vis, show, wait_time, no_save_vis, draw_pred, pred_score_thr, return_datasamples,
    print_result, no_save_pred, out_dir."""
    options = (1, True, False, 0, False, True, 0.0, False, True, False)
    found = both[1](photos[0], *options, str(tmp_path))
    assert found["visualization"][0].dtype == np.uint8
    assert cv2.imread(str(tmp_path / "vis" / Path(photos[0]).name)) is not None
    written = json.loads((tmp_path / "preds" / f"{Path(photos[0]).stem}.json").read_text())
    assert written == found["predictions"][0]
    assert "bboxes" in capsys.readouterr().out
    (sample,) = both[1](photos[0], return_datasamples=True)["predictions"]
    assert isinstance(sample, DetDataSample)
    plain, drawn = (
        both[1](photos[0], return_vis=True, draw_pred=draw, pred_score_thr=0)["visualization"][0]
        for draw in (False, True)
    )
    assert np.array_equal(plain, cv2.imread(photos[0])[..., ::-1])
    assert not np.array_equal(plain, drawn)


def test_a_sample_as_a_dictionary(both, photos: list[str], tmp_path: Path):
    (sample,) = both[1](photos[0], return_datasamples=True)["predictions"]
    found = both[1].pred2dict(sample, tmp_path)
    assert found == both[1](photos[0])["predictions"][0]
    assert json.loads((tmp_path / "preds" / f"{Path(photos[0]).stem}.json").read_text()) == found


@pytest.mark.parametrize("name", ["rtmdet-t", "RTMDet_tiny_8xb32-300e_coco"])
def test_names_of_the_index(name: str, monkeypatch: pytest.MonkeyPatch):
    """With the weights of the index, by the name or another one of it, in any case."""
    asked = []
    monkeypatch.setattr(
        "mmengine.infer.infer._load_checkpoint", lambda path, **options: asked.append(path)
    )
    inferencer = MaskRInferencer(name, device="cpu")
    assert len(inferencer.model.dataset_meta["classes"]) == 80
    assert len(asked) == 1 and "rtmdet_tiny_8xb32-300e_coco_" in asked[0]


def test_pictures_come_back_where_they_are_wanted(both, photos: list[str], tmp_path: Path):
    """A folder of pictures is written one by one, and not kept in memory."""
    found = both[1](photos, out_dir=tmp_path)
    assert found["visualization"] == [] and len(list((tmp_path / "vis").iterdir())) == len(photos)


@pytest.mark.parametrize(
    "option",
    [dict(texts="cat"), dict(stuff_texts=["sky"]), dict(custom_entities=True),
     dict(tokens_positive=[[0, 1]]), dict(img_out_dir="x")],
)  # fmt: skip
def test_options_of_other_models(both, photos: list[str], option: dict):
    with pytest.raises(UserError, match=next(iter(option))):
        both[1](photos[0], **option)


def test_panoptic_models(photos: list[str], tmp_path: Path):
    """Segments as COCO's PNGs have them: an array, or a file where predictions are written."""
    cfg = thin(load("compositions/panoptic_fpn_r50_fpn_1x.py"), tmp_path)
    dataset = cfg.test_dataloader.dataset
    dataset.pipeline = [step for step in dataset.pipeline if "Annotations" not in step["type"]]
    torch.manual_seed(0)
    inferencer = MaskRInferencer(cfg, device="cpu", show_progress=False)
    found = inferencer(photos[0])["predictions"][0]
    (sample,) = inferencer(photos[0], return_datasamples=True)["predictions"]
    ids = sample.pred_panoptic_seg.sem_seg.numpy()[0].astype(int)
    nothing = ids % 1000 == len(inferencer.model.dataset_meta["classes"])
    decoded = found["panoptic_seg"].astype(int) @ [1, 256, 65536]
    assert np.array_equal(decoded, np.where(nothing, 0, ids))
    written = inferencer(photos[0], out_dir=tmp_path, no_save_pred=False)["predictions"][0]
    path = Path(written["panoptic_seg_path"])
    assert path == tmp_path / "preds" / f"{Path(photos[0]).stem}_panoptic_seg.png"
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], found["panoptic_seg"])
    assert json.loads(path.with_name(f"{Path(photos[0]).stem}.json").read_text()) == written
