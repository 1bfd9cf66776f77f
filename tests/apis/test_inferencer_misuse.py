"""An inferencer under load and with wrong arguments: threads, no memory, no place, odd values."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.errors import UserError

SECONDS = float(os.environ.get("FUZZ_SECONDS", 15)) / 5
SEED = int(os.environ.get("FUZZ_SEED", 0))


def config_of(repo: Path) -> Config:
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=5)
    return cfg


@pytest.fixture(scope="module")
def inferencer(repo: Path) -> MaskRInferencer:
    torch.manual_seed(0)
    return MaskRInferencer(config_of(repo), device="cpu", show_progress=False)


@pytest.fixture
def photos(shapes_root: Path) -> list[Path]:
    return sorted((shapes_root / "val").glob("*.png"))


def test_threads_share_one(inferencer: MaskRInferencer, photos: list[Path], tmp_path: Path):
    """Each call gives what it gives alone, and writes its own files, whole."""
    kinds: list[dict[str, Any]] = [
        dict(score_thr=0.0),
        dict(score_thr=0.18, outputs=["boxes"]),
        dict(outputs=["masks"], batch_size=2),
        dict(outputs=["keypoints"], score_thr=0.15),
        dict(return_datasamples=True),
    ]

    def call(number: int) -> dict:
        options = dict(kinds[number % len(kinds)])
        files = [str(photos[(number + i) % len(photos)]) for i in range(2)]
        writes = number % 2 == 0
        if writes:
            options["out_dir"] = tmp_path / f"out_{number}_{threading.get_ident()}"
            options["no_save_pred"] = bool(options.get("return_datasamples"))
            options["coco_json"] = tmp_path / f"{number}_{threading.get_ident()}.json"
        found = inferencer(files, **options)
        assert found["images"] == files
        if writes:
            entries = json.loads(Path(options["coco_json"]).read_text())
            assert {entry["image_id"] for entry in entries} <= {Path(f).name for f in files}
            for file in files:
                assert cv2.imread(str(options["out_dir"] / "vis" / Path(file).name)) is not None
                if not options["no_save_pred"]:
                    saved = options["out_dir"] / "preds" / f"{Path(file).stem}.json"
                    assert json.loads(saved.read_text())["labels"] is not None
        return found

    def plain(found: dict) -> list:
        return [
            p if isinstance(p, dict) else p.pred_instances.scores.tolist()
            for p in found["predictions"]
        ]

    expected = [plain(call(i)) for i in range(10)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(call, list(range(10)) * 3))
    assert [plain(f) for f in found] == expected * 3
    assert "mask_output" not in inferencer.model.roi_head.test_cfg


def test_two_with_bars(repo: Path, photos: list[Path]):
    """Two inferencers in threads, each with its bar, which rich allows one of."""
    both = []
    for _ in range(2):
        torch.manual_seed(0)
        both.append(MaskRInferencer(config_of(repo), device="cpu", show_progress=True))
    expected = both[0](photos)["predictions"]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: both[i % 2](photos)["predictions"], range(8)))
    assert found == [expected] * 8


@pytest.mark.parametrize("error", [
    MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't "
    "allocate memory: you tried to allocate 9 bytes"), RuntimeError("CUDA out of memory. Tried"),
], ids=["MemoryError", "CPU", "CUDA"])  # fmt: skip
@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_one_image_too_large(
    inferencer: MaskRInferencer, photos: list[Path], tmp_path: Path, monkeypatch, error, batch_size
):
    """It costs itself alone, with the pictures and results of the others in their places."""
    large = tmp_path / "large.png"
    cv2.imwrite(str(large), np.zeros((400, 400, 3), np.uint8))
    step = inferencer.model.test_step

    def test_step(data: dict) -> list:
        if any(sample.ori_shape == (400, 400) for sample in data["data_samples"]):
            raise error
        return step(data)

    expected = inferencer(photos)["predictions"]
    monkeypatch.setattr(inferencer.model, "test_step", test_step)
    images = [*photos[:1], large, *photos[1:]]
    out, coco = tmp_path / "out", tmp_path / "found.json"
    found = inferencer(images, batch_size=batch_size, out_dir=out, no_save_pred=False,
                       coco_json=coco)  # fmt: skip
    assert found["images"] == [str(photo) for photo in photos]
    assert list(found["failed"]) == [str(large)]
    for mine, other in zip(found["predictions"], expected, strict=True):
        assert np.allclose(mine["scores"], other["scores"], atol=0.05)
    assert sorted(p.name for p in (out / "vis").iterdir()) == [p.name for p in photos]
    for photo, mine in zip(photos, found["predictions"], strict=True):
        assert json.loads((out / "preds" / f"{photo.stem}.json").read_text()) == mine
    ids = {entry["image_id"] for entry in json.loads(coco.read_text())}
    assert ids == {photo.name for photo in photos}
    with pytest.raises(UserError, match=r"large\.png"):
        inferencer(large)


@pytest.mark.parametrize("place", ["folder", "in a file", "no suffix", "read-only"])
def test_bad_places_are_known_before(
    inferencer: MaskRInferencer, photos: list[Path], tmp_path: Path, monkeypatch, place: str
):
    monkeypatch.setattr(inferencer.model, "test_step", lambda data: pytest.fail("it has started"))
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.json").mkdir()
    paths = {
        "folder": tmp_path / "folder.json",
        "in a file": tmp_path / "file" / "a.json",
        "no suffix": tmp_path / "a",
        "read-only": Path("/proc/a.json"),
    }
    with pytest.raises(UserError):
        inferencer(photos, coco_json=paths[place])
    with pytest.raises(UserError):
        inferencer(photos, out_dir=dict(paths, **{"no suffix": tmp_path / "file"})[place]
                   if place != "folder" else tmp_path / "file")  # fmt: skip


class Odd:
    """Of no use anywhere."""


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 0.5, float("nan"), float("inf"), 10**30, "", "x", "\0",
    "\ud800", "a" * 5000, "cpu", "cuda:9", "meta", "coco", "none", "boxes", "default", "/",
    "/proc/x", ".", "*", "[", "**", "~nobody/x", "http://", "file:///etc/passwd", b"x", [], [None],
    ["boxes", []], ["cat"], (), {}, {"a": 1}, {"default": 2}, {"type": "x"},
    {"type": "subprocess.call", "args": "true"},
    {1: 0.5}, {"default": None}, set(), np.zeros(3), np.zeros((2, 2, 3)), np.array(["x"]), Odd(),
    Odd, print, Path("x"), Path("/proc/x"), range(3), 1j, torch.zeros(2), np.float32(0.5),
    np.bool_(True),
]  # fmt: skip
CALL = ("batch_size", "score_thr", "pred_score_thr", "outputs", "coco_json", "ann_file", "out_dir",
        "no_save_vis", "no_save_pred", "return_datasamples", "return_vis", "show", "wait_time",
        "draw_pred", "print_result", "texts", "nonsense", "inputs")  # fmt: skip
BUILD = ("model", "weights", "device", "scope", "palette", "show_progress", "visualizer", "classes",
         "optimize", "nonsense")  # fmt: skip


def values_of(rng: random.Random, names: tuple, count: int) -> dict[str, Any]:
    return {rng.choice(names): rng.choice(VALUES) for _ in range(count)}


def test_any_argument_of_a_call(
    inferencer: MaskRInferencer, photos: list[Path], tmp_path: Path, monkeypatch
):
    """It is right, or one sentence says which is wrong."""
    monkeypatch.chdir(tmp_path)
    rng, stop = random.Random(SEED), time.monotonic() + SECONDS
    singles = iter([{name: value} for name in CALL for value in VALUES])
    found = 0
    while time.monotonic() < stop:
        given = next(singles, None) or values_of(rng, CALL, rng.choice((1, 2, 3)))
        given = {"inputs": str(photos[0]), **given}
        if isinstance(given.get("show"), (bool, np.bool_)) and given["show"]:
            continue
        try:
            inferencer(**given)
            found += 1
        except UserError as error:
            assert len(str(error)) > 20, given
        except Exception as error:
            raise AssertionError(f"{given} ended in {type(error).__name__}: {error}") from error
    assert found


@pytest.mark.parametrize("visualizer", [dict(type="x"), dict(name=[]), dict(type=3), dict(a=1)])
def test_visualizer_that_cannot_be_built(repo: Path, visualizer: dict):
    with pytest.raises(UserError, match="visualizer"):
        MaskRInferencer(config_of(repo), device="cpu", visualizer=visualizer)


def test_any_argument_of_the_constructor(repo: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = config_of(repo)
    cfg.model.backbone.depth = 18
    rng, stop = random.Random(SEED), time.monotonic() + SECONDS
    singles = iter([{name: value} for name in BUILD for value in VALUES])
    while time.monotonic() < stop:
        given = next(singles, None) or values_of(rng, BUILD, rng.choice((1, 2)))
        given = {"model": cfg, "device": "cpu", **given}
        try:
            MaskRInferencer(**given)
        except UserError as error:
            assert len(str(error)) > 20, given
        except Exception as error:
            raise AssertionError(f"{given} ended in {type(error).__name__}: {error}") from error
