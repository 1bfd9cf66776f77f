"""seams counts what comes back of objects that tiles cut; the joining of tiles does well in it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest

from mmdet_maskr.benchmark import seams
from mmdet_maskr.datasets import shapes
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation.cut_objects import CUT, PARTS, WHOLE, how_cut, returned
from mmdet_maskr.inference.tiles import seams as joining
from mmdet_maskr.inference.tiles.grid import Tiling

TILES = "tiles of 96"


def bar(x0: int, x1: int, y0: int = 10, y1: int = 20) -> dict:
    """RLE of a rectangle in an image of 60 x 200."""
    mask = np.zeros((60, 200), np.uint8, order="F")
    mask[y0:y1, x0:x1] = 1
    return pycocotools.mask.encode(mask)


def test_pieces_and_duplicates_are_counted():
    objects = [bar(0, 100), bar(120, 180), bar(0, 100, 30, 40)]
    found = [bar(0, 60), bar(0, 90), bar(60, 100), bar(121, 180), bar(100, 118), bar(0, 80, 50, 55)]
    result = returned(objects, found)
    assert np.allclose(result.ious, [0.9, 59 / 60, 0])
    assert result.more.tolist() == [2, 0, 0]
    assert np.allclose(returned([bar(0, 60), bar(60, 100)], [bar(0, 100)]).ious, [0.6, 0])
    assert returned([], found).ious.size == 0
    assert returned(objects, []).more.tolist() == [0, 0, 0]


def test_what_tiles_do_to_an_object():
    tiles = Tiling(100, 0.2).tiles(60, 180)
    assert [tile.x0 for tile in tiles] == [0, 80]
    assert how_cut(bar(10, 70), tiles) == WHOLE
    assert how_cut(bar(82, 98), tiles) == WHOLE, "whole in both"
    assert how_cut(bar(60, 90), tiles) == CUT
    assert how_cut(bar(60, 120), tiles) == PARTS


@pytest.fixture(scope="module")
def mosaics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seams") / "shapes"
    shapes.write_dataset(root, images=1, val_images=36, size=96)
    return shapes.write_mosaics(root, 6)


def run(*args: str | Path) -> None:
    parser = argparse.ArgumentParser()
    seams.add_seams(parser.add_subparsers())
    parsed = parser.parse_args(["seams", *map(str, args)])
    parsed.run(parsed)


def rows(mosaics: Path, tmp_path: Path, *options: str | Path) -> dict[tuple[str, str], dict]:
    run(mosaics, "--tile", "96", *options, "--json", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    return {(row["case"], row["kind"]): row for row in found}


def test_cut_objects_come_back_as_one(mosaics: Path, tmp_path: Path):
    """Once, and with their pixels; also those that no tile shows whole."""
    found = rows(mosaics, tmp_path, "--mask-size", "0")
    cut, parts = (found[TILES, name] for name in ("all that are cut", "whole in no tile"))
    assert cut["objects"] > 60 and parts["objects"] >= 5
    assert cut["good"] >= 0.95 and cut["duplicates"] <= 0.01
    assert found[TILES, "no tile cuts"]["good"] == 1


def test_drawn_masks_are_as_good_as_without_a_seam(mosaics: Path, tmp_path: Path):
    found = rows(mosaics, tmp_path)
    tiles, whole = (found[case, "all that are cut"] for case in (TILES, "not in tiles"))
    assert tiles["good"] >= whole["good"] - 0.02
    assert tiles["found"] >= 0.98 and tiles["duplicates"] <= 0.01


def test_without_joining_they_come_back_in_pieces(
    mosaics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(joining, "AGREEMENT", 2.0)
    found = rows(mosaics, tmp_path, "--mask-size", "0", "--tile", "64")
    parts = found["tiles of 64", "whole in no tile"]
    assert parts["objects"] > 10 and parts["duplicates"] > 0.03 and parts["good"] < 0.7


def test_detections_of_a_model(mosaics: Path, tmp_path: Path):
    """The annotations as results, one of them twice and another below the threshold."""
    content = json.loads(mosaics.read_text())
    objects = [a for a in content["annotations"] if not a["iscrowd"]]
    results = []
    for one in (objects[0], *objects):
        rle = one["segmentation"]
        if isinstance(rle, list):
            merged = pycocotools.mask.merge(pycocotools.mask.frPyObjects(rle, 576, 576))
            rle = dict(merged, counts=merged["counts"].decode())
        elif isinstance(rle["counts"], list):
            merged = pycocotools.mask.frPyObjects(rle, 576, 576)
            rle = dict(merged, counts=merged["counts"].decode())
        score = 0.1 if one is objects[-1] else 0.9
        names = ("image_id", "category_id")
        results.append({**{k: one[k] for k in names}, "score": score, "segmentation": rle})
    (tmp_path / "results.json").write_text(json.dumps(results))
    found = rows(mosaics, tmp_path, "--detections", tmp_path / "results.json")
    kinds = [found[TILES, name] for name in seams.NAMES.values()]
    total = sum(row["objects"] for row in kinds)
    assert total == len(objects)
    assert round(sum(row["good"] * row["objects"] for row in kinds)) == total - 1
    assert round(sum(row["duplicates"] * row["objects"] for row in kinds)) == 1


def test_bad_options(mosaics: Path):
    with pytest.raises(UserError, match="must be 0 or more"):
        run(mosaics, "--tile", "96", "--box-error", "-1")
    with pytest.raises(UserError, match="tile=8 is smaller"):
        run(mosaics, "--tile", "8")
