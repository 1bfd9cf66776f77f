from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from mmdet_maskr.cli.dispatch import end, run_command
from mmdet_maskr.datasets import shapes
from mmdet_maskr.datasets.shapes import paint, scene, write

IMAGES, VAL_IMAGES, SIZE, SEED = 60, 6, 96, 3
SETTINGS = dict(images=5, val_images=2, size=64, seed=0)


def digests(root: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every file below ``root``."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "shapes"
    return shapes.write_dataset(out, IMAGES, VAL_IMAGES, SIZE, SEED)


@pytest.fixture(scope="module")
def coco(root: Path) -> COCO:
    return COCO(root / "annotations" / "instances_train.json")


@pytest.fixture(scope="module")
def scenes() -> list[tuple]:
    """(shapes, label map, annotations) of the images behind ``coco``."""
    return [write._scene(k, "train", SIZE, SEED)[1:] for k in range(IMAGES)]


def make_shapes(*words: str) -> int:
    """Exit code of the command."""
    try:
        end("shapes", lambda: run_command("shapes", words, "maskr shapes"))
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


# ----------------------------------------------------------------------------------- determinism
def test_same_bytes_twice(root: Path, tmp_path: Path):
    again = shapes.write_dataset(tmp_path / "again", IMAGES, VAL_IMAGES, SIZE, SEED)
    assert digests(again) == digests(root)


def test_more_images_leave_the_earlier_ones(root: Path, tmp_path: Path):
    few = shapes.write_dataset(tmp_path / "few", 4, 2, SIZE, SEED)
    all_of_it = digests(root)
    for name, digest in digests(few).items():
        if name.endswith(".png"):
            assert all_of_it[name] == digest, name
    for split, count in (("train", 4), ("val", 2)):
        many = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
        part = json.loads((few / "annotations" / f"instances_{split}.json").read_text())
        assert part["annotations"] == [a for a in many["annotations"] if a["image_id"] <= count]


def test_pinned():
    """The dataset does not change unnoticed: numbers in the docs were measured on this one."""
    image, annotations = shapes.make_image(0, "train", 160, 0)
    assert write._VERSION == 1
    text = json.dumps([[a["category_id"], a["area"], a["bbox"]] for a in annotations])
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == "ef8fe558305a"
    assert hashlib.sha256(image.tobytes()).hexdigest()[:12] == "d254730307df"


def test_everything_else_matters():
    image, annotations = shapes.make_image(0, "train", 64, 0)
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    for other in ((1, "train", 64, 0), (0, "val", 64, 0), (0, "train", 64, 1)):
        other_image, other_annotations = shapes.make_image(*other)
        assert (other_image != image).mean() > 0.5
        assert other_annotations != annotations


def test_files_hold_what_make_image_returns(root: Path, coco: COCO):
    image, annotations = shapes.make_image(7, "train", SIZE, SEED)
    assert (cv2.imread(str(root / "train" / "000008.png")) == image).all()
    assert coco.imgToAnns[8] == json.loads(json.dumps(annotations))


# ----------------------------------------------------------------------------------- annotations
def test_coco_file(root: Path, coco: COCO):
    assert [c["name"] for c in coco.dataset["categories"]] == list(shapes.CLASSES)
    assert [c["id"] for c in coco.dataset["categories"]] == [1, 2, 3, 4, 5, 6]
    assert coco.dataset["categories"][5]["keypoints"] == list(shapes.KEYPOINTS)
    assert coco.dataset["licenses"] == [] and "info" in coco.dataset
    assert len(coco.anns) == len(coco.dataset["annotations"])  # ids are unique
    for image in coco.dataset["images"]:
        assert cv2.imread(str(root / "train" / image["file_name"])).shape[:2] == (SIZE, SIZE)
        assert (image["width"], image["height"]) == (SIZE, SIZE)
        assert 2 <= sum(not a["iscrowd"] for a in coco.imgToAnns[image["id"]]) <= 6


def test_masks_are_the_visible_regions(coco: COCO, scenes: list[tuple]):
    for image_id, (_, labels, _) in enumerate(scenes, 1):
        for label, annotation in enumerate(coco.imgToAnns[image_id], 1):
            mask = coco.annToMask(annotation).astype(bool)
            assert (mask == (labels == label)).all(), annotation["id"]
            assert annotation["area"] == mask.sum()
            ys, xs = np.nonzero(mask)
            width, height = xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()
            assert annotation["bbox"] == [xs.min(), ys.min(), width, height]


def test_pictures_show_the_masks(root: Path, coco: COCO, scenes: list[tuple]):
    """A picture with its last shape differs from the one without it on that shape's mask alone.

    Both draw the same random numbers up to there, so that but for sensor noise all else is equal.
    """
    for index in range(8):
        rng, parts, labels, _ = write._scene(index, "train", SIZE, SEED)
        state = rng.bit_generator.state
        full = paint.render(rng, parts, labels).astype(int)
        rng.bit_generator.state = state
        less = paint.render(rng, parts[:-1], labels).astype(int)
        mask = labels == len(parts)
        changed = np.abs(full - less).sum(2) > 60
        grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert not (changed & ~grown).any()
        assert changed[mask].mean() > 0.8


def test_instances_do_not_overlap_and_are_not_hopeless(coco: COCO, scenes: list[tuple]):
    for image_id, (parts, _, _) in enumerate(scenes, 1):
        annotations = coco.imgToAnns[image_id]
        assert sum(coco.annToMask(a).astype(int) for a in annotations).max() == 1
        for shape, annotation in zip(parts, annotations, strict=True):
            full = scene.rasterise(shape.parts, shape.holes, SIZE, SIZE).sum()
            assert annotation["area"] >= 0.45 * full
            assert annotation["area"] >= 30 * (SIZE / 160) ** 2


def test_every_kind_occurs(coco: COCO):
    annotations = coco.dataset["annotations"]
    assert {a["category_id"] for a in annotations if not a["iscrowd"]} == {1, 2, 3, 4, 5, 6}
    crowds = [a for a in annotations if a["iscrowd"]]
    assert crowds and all(isinstance(a["segmentation"], dict) for a in crowds)
    rles = [a["segmentation"] for a in annotations if isinstance(a["segmentation"], dict)]
    polygons = [a["segmentation"] for a in annotations if isinstance(a["segmentation"], list)]
    assert len(polygons) > 0.2 * len(annotations) and len(rles) > 0.2 * len(annotations)
    assert all(isinstance(r["counts"], list) and sum(r["counts"]) == SIZE**2 for r in rles)
    flat = [p for parts in polygons for p in parts]
    assert all(len(p) >= 6 and 0 <= min(p) and max(p) <= SIZE for p in flat)


def test_rings_have_a_hole(coco: COCO, scenes: list[tuple]):
    seen = 0
    for parts, labels, _ in scenes:
        for label, shape in enumerate(parts, 1):
            if shapes.CLASSES[shape.category] == "ring":
                (outer,), (inner,) = shape.parts, shape.holes
                x, y = inner.mean(0).astype(int)
                if min(outer.min(), SIZE - outer.max()) > 0:  # not cut by the border
                    assert labels[y, x] != label
                    assert 0.44 < np.ptp(inner[:, 0]) / np.ptp(outer[:, 0]) < 0.66
                    seen += 1
    assert seen > 5


@pytest.mark.parametrize("first", [False, True])
def test_rle_agrees_with_pycocotools(first: bool):
    mask = np.random.default_rng(0).random((7, 5)) < 0.5
    mask[0, 0] = first
    rle = mask_utils.frPyObjects(scene.to_rle(mask), 7, 5)
    assert (mask_utils.decode(rle) == mask).all()


def test_clip_polygon():
    square = np.array([[-5.0, 2], [5, 2], [5, 20], [-5, 20]])
    clipped = scene.clip_polygon(square, 10)
    assert sorted(map(tuple, clipped.tolist())) == [(0, 2), (0, 10), (5, 2), (5, 10)]
    assert len(scene.clip_polygon(square - 30, 10)) == 0


# ------------------------------------------------------------------------------------- keypoints
def test_keypoints(coco: COCO, scenes: list[tuple]):
    counts = [0, 0, 0]
    for image_id, (parts, labels, _) in enumerate(scenes, 1):
        for label, (shape, ann) in enumerate(zip(parts, coco.imgToAnns[image_id], strict=True), 1):
            assert ("keypoints" in ann) == ("num_keypoints" in ann) == (ann["category_id"] == 6)
            if "keypoints" not in ann:
                continue
            points = np.array(ann["keypoints"]).reshape(9, 3)
            assert ann["num_keypoints"] == (points[:, 2] > 0).sum()
            outside = 255 * (1 - coco.annToMask(ann))
            distance = cv2.distanceTransform(outside, cv2.DIST_L2, 5)
            for (x, y, v), joint in zip(points, shape.joints, strict=True):
                counts[int(v)] += 1
                if v == 0:
                    assert x == y == 0
                    assert min(joint) < 0.51 or max(joint) > SIZE - 0.51
                    continue
                assert np.abs(joint - 0.5 - (x, y)).max() < 0.006
                here = round(y), round(x)
                if v == 2:
                    assert distance[here] <= 1.5
                else:  # hidden by something painted later
                    assert labels[here] > label
    assert all(n > 3 for n in counts), counts


def test_left_is_the_figures_own_left(coco: COCO):
    """Facing the viewer, its left lies on the right, and its feet below its head."""
    index = {name: k for k, name in enumerate(shapes.KEYPOINTS)}
    compared = 0
    for ann in coco.dataset["annotations"]:
        if "keypoints" in ann:
            points = np.array(ann["keypoints"]).reshape(9, 3)
            for left, right in shapes.SWAPS:
                a, b = points[index[left]], points[index[right]]
                if a[2] and b[2] and "hand" not in left and "foot" not in left:
                    assert a[0] > b[0], (ann["id"], left)
                    compared += 1
            foot, head = points[index["left_foot"]], points[index["head"]]
            assert not (foot[2] and head[2]) or foot[1] > head[1]
    assert compared > 40


def test_keypoint_constants():
    assert len(shapes.KEYPOINTS) == len(shapes.SIGMAS) == 9
    assert len(shapes.CLASSES) == len(shapes.PALETTE) == 6
    paired = [name for pair in shapes.SWAPS for name in pair]
    assert sorted([*paired, "head"]) == sorted(shapes.KEYPOINTS)
    for left, right in shapes.SWAPS:
        assert left.startswith("left_") and right == left.replace("left", "right")
    assert all(1 <= k <= 9 for pair in shapes.SKELETON for k in pair)


# --------------------------------------------------------------------------------------- writing
class Stop(Exception):
    pass


@pytest.mark.parametrize("after", [2, 6])
def test_resumes_to_the_same_bytes(tmp_path: Path, after: int):
    whole = shapes.write_dataset(tmp_path / "whole", **SETTINGS)

    def stop(done: int, total: int) -> None:
        assert total == 7
        if done == after:
            raise Stop

    with pytest.raises(Stop):
        shapes.write_dataset(tmp_path / "cut", **SETTINGS, progress=stop)
    cut = tmp_path / "cut"
    assert json.loads((cut / shapes.MANIFEST).read_text())["complete"] is False
    assert not (cut / "annotations" / "instances_val.json").exists()
    kept = cut / "train" / "000001.png"
    before = kept.stat().st_mtime_ns
    torn = cut / "train" / "000002.png"
    torn.write_bytes(torn.read_bytes()[:-20])
    shapes.write_dataset(cut, **SETTINGS)
    assert kept.stat().st_mtime_ns == before
    assert digests(cut) == digests(whole)


def test_complete_set_is_left_alone_and_fixed(tmp_path: Path):
    out = shapes.write_dataset(tmp_path / "a", **SETTINGS)
    first = digests(out)
    calls = []
    shapes.write_dataset(out, **SETTINGS, progress=lambda *now: calls.append(now))
    assert not calls
    (out / "val" / "000002.png").unlink()
    (out / "annotations" / "instances_train.json").unlink()
    shapes.write_dataset(out, **SETTINGS)
    assert digests(out) == first


def test_other_settings_are_refused(tmp_path: Path):
    out = shapes.write_dataset(tmp_path / "a", **SETTINGS)
    first = digests(out)
    other = SETTINGS | {"size": 72, "images": 3}
    with pytest.raises(ValueError, match=r"images is 5 there and 3 here, size is 64 .* --force"):
        shapes.write_dataset(out, **other)
    assert digests(out) == first
    shapes.write_dataset(out, **other, force=True)
    assert digests(out) == digests(shapes.write_dataset(tmp_path / "b", **other))


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("content", [None, "[]", "{broken", '{"dataset": "other"}'])
def test_foreign_folder_is_refused(tmp_path: Path, force: bool, content: str | None):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "thesis.txt").write_text("years of work")
    if content is not None:
        (tmp_path / shapes.MANIFEST).write_text(content)
    before = digests(tmp_path)
    with pytest.raises(ValueError, match=r"not a SHAPES dataset.*choose another folder"):
        shapes.write_dataset(tmp_path, **SETTINGS, force=force)
    assert digests(tmp_path) == before


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"size": 63}, "size must be an integer from 64 to 1024, got 63"),
        ({"size": 1025}, "size must be"),
        ({"images": 0}, "images must be an integer from 1"),
        ({"val_images": 0}, "val_images must be an integer from 1"),
        ({"seed": -1}, "seed must be an integer from 0"),
    ],
)
def test_bad_settings(tmp_path: Path, wrong: dict, message: str):
    with pytest.raises(ValueError, match=message):
        shapes.write_dataset(tmp_path / "a", **SETTINGS | wrong)
    assert not (tmp_path / "a").exists()


def test_unknown_split():
    with pytest.raises(ValueError, match=r"split must be one of .*'test'"):
        shapes.make_image(0, "test", 64, 0)


@pytest.mark.parametrize("size", [64, 333, 1024])
def test_sizes(size: int):
    image, annotations = shapes.make_image(0, "val", size, 0)
    assert image.shape == (size, size, 3)
    largest = max(max(a["bbox"][2:]) for a in annotations)
    assert 0.12 * size < largest <= 0.95 * size


# ------------------------------------------------------------------------------------------- CLI
def test_cli(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["out", "--images", "5", "--val-images", "2", "--size", "64"]
    assert make_shapes(*options) == 0
    text = capsys.readouterr().out
    assert "7/7 images" in text and str(tmp_path / "out") in text
    found = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text())
    discs = sum(a["category_id"] == 1 and not a["iscrowd"] for a in found["annotations"])
    assert f"disc {discs}," in text
    assert digests(tmp_path / "out") == digests(shapes.write_dataset(tmp_path / "b", **SETTINGS))

    assert make_shapes(*options, "--seed", "1") == 2
    assert "seed is 0 there and 1 here" in capsys.readouterr().err
    assert make_shapes(*options, "--seed", "1", "--force") == 0
    assert make_shapes("small", "--size", "10") == 2
    assert "size must be an integer from 64 to 1024" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert make_shapes("file") == 2
    for words, code in ((["--help"], 0), ([], 2), (["out", "--size", "big"], 2)):
        assert make_shapes(*words) == code


def test_cli_can_be_stopped(tmp_path: Path, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shapes, "write_dataset", stop)
    assert make_shapes(str(tmp_path / "a")) == 130
    assert "continues" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------- mosaics
def test_mosaics_are_the_images_next_to_each_other(root: Path):
    """Pixels, masks, boxes and keypoints of each image at its place; what is left over is out."""
    target = shapes.write_mosaics(root, 2)
    small, large = COCO(root / "annotations/instances_val.json"), COCO(target)
    assert [image["width"] for image in large.imgs.values()] == [2 * SIZE]  # 6 // 4 mosaics
    picture = cv2.imread(str(root / "mosaic/000001.png"))
    number = {key: place for place, key in enumerate(small.imgs)}
    moved = {annotation["id"]: annotation for annotation in large.dataset["annotations"]}
    wanted = [a for a in small.dataset["annotations"] if number[a["image_id"]] < 4]
    assert moved.keys() == {annotation["id"] for annotation in wanted}
    assert any(isinstance(a["segmentation"], dict) for a in wanted)
    for old in wanted:
        place = number[old["image_id"]]
        y0, x0 = place // 2 * SIZE, place % 2 * SIZE
        window = slice(y0, y0 + SIZE), slice(x0, x0 + SIZE)
        image = cv2.imread(str(root / "val" / small.imgs[old["image_id"]]["file_name"]))
        np.testing.assert_array_equal(picture[window], image)
        new = moved[old["id"]]
        mask = large.annToMask(new)
        np.testing.assert_array_equal(mask[window], small.annToMask(old))
        assert mask.sum() == mask[window].sum()
        assert new["bbox"] == [old["bbox"][0] + x0, old["bbox"][1] + y0, *old["bbox"][2:]]
        for (x, y, seen), (u, v, same) in zip(
            np.reshape(old.get("keypoints", []), (-1, 3)),
            np.reshape(new.get("keypoints", []), (-1, 3)),
            strict=True,
        ):
            assert same == seen and (u, v) == ((x + x0, y + y0) if seen else (x, y))


@pytest.mark.parametrize("side", [0, 3])
def test_too_few_images_for_a_mosaic(root: Path, side: int):
    with pytest.raises(ValueError, match=rf"a mosaic of {side} x {side} needs {side**2} of 6"):
        shapes.write_mosaics(root, side)
