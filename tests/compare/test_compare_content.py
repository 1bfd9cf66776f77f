"""What a page is made of: outlines, images, ground truth, and the content of a comparison."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.datasets.api_wrappers import COCO, COCOeval
from pycocotools import mask as mask_api
from small_models import write_model

from mmdet_maskr.catalogue.published import published
from mmdet_maskr.compare import Comparison, load_models, read_sources
from mmdet_maskr.compare.outlines import outlines, polygon_rings
from mmdet_maskr.compare.photos import as_data_uri, find_images, spread
from mmdet_maskr.compare.truth import Truth
from mmdet_maskr.deploy.images import read_image
from mmdet_maskr.errors import UserError


# ---------------------------------------------------------------------------------------- outlines
def encode(mask: np.ndarray) -> dict:
    return mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))


def painted(rings: list, shape: tuple[int, int], fine: int = 8) -> np.ndarray:
    """The rings' inside at 1/8 pixel, holes left out."""
    canvas = np.zeros((shape[0] * fine, shape[1] * fine), np.uint8)
    points = [np.round(np.reshape(ring, (-1, 2)) * fine - 0.5).astype(np.int32) for ring in rings]
    return cv2.fillPoly(canvas, points, 1).astype(bool)


def shapes() -> dict[str, np.ndarray]:
    y, x = np.mgrid[:300, :400] + 0.5
    ring = (np.hypot(x - 60, y - 70) < 40) & (np.hypot(x - 60, y - 70) > 15)
    return dict(
        disc=np.hypot(x - 200, y - 150) < 120,
        ring=ring,
        corner=(x < 30) & (y < 20),
        two=(np.hypot(x - 40, y - 40) < 20) | (np.hypot(x - 340, y - 240) < 30),
        line=(np.abs(y - 80.5) < 0.6) & (x > 10) & (x < 60),
        all=np.ones_like(x, bool),
    )


@pytest.mark.parametrize("name", list(shapes()))
def test_outlines_enclose_the_mask(name: str):
    mask = shapes()[name]
    inside = painted(outlines(encode(mask)), mask.shape)
    exact = np.kron(mask, np.ones((8, 8), bool))
    overlap = (inside & exact).sum() / (inside | exact).sum()
    assert overlap > (0.5 if name == "line" else 0.97)


def test_outlines_are_short_and_smooth():
    """A disc's needs far fewer points than pixels on its border; holes and parts are rings."""
    masks = shapes()
    [ring] = outlines(encode(masks["disc"]))
    distances = np.hypot(*(np.reshape(ring, (-1, 2)) - (200, 150)).T)
    assert len(ring) / 2 < 300 and np.ptp(distances) < 1.5
    assert len(outlines(encode(masks["ring"]))) == len(outlines(encode(masks["two"]))) == 2
    assert outlines(encode(np.zeros((20, 30)))) == []


def test_annotations_of_both_kinds():
    polygon = [[10.04, 10, 30, 10, 30, 25, 10, 25]]
    assert polygon_rings(polygon, (50, 60)) == [[10.0, 10, 30, 10, 30, 25, 10, 25]]
    counts = [60 * 10, 60 * 10, 60 * 10]  # the middle columns
    [ring] = polygon_rings(dict(size=[60, 30], counts=counts), (60, 30))
    assert (min(ring[::2]), max(ring[::2])) == pytest.approx((10, 20), abs=0.5)


# ------------------------------------------------------------------------------------------ images
def test_images_of_files_and_folders(tmp_path: Path):
    for name in ("b.PNG", "a.jpg", "note.txt", "empty/note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = find_images([tmp_path / "b.PNG", tmp_path])
    assert [path.name for path in found] == ["b.PNG", "a.jpg"]
    with pytest.raises(UserError, match=r"no images in the folder .*empty"):
        find_images([tmp_path / "empty"])
    for path in (tmp_path / "nowhere", "https://example.org/a.jpg"):
        with pytest.raises(UserError, match=f"--images: .*{Path(path).name}"):
            find_images([path])


def test_spread():
    paths = [Path(str(i)) for i in range(10)]
    assert [p.name for p in spread(paths, 4)] == ["0", "3", "6", "9"]
    assert spread(paths, 20) == paths and spread(paths, 1) == paths[:1] and spread([], 3) == []
    with pytest.raises(UserError, match="--max-images 0"):
        spread(paths, 0)


def test_pictures_of_the_page():
    """Small ones are lossless, noise of many pixels is a shrunk JPEG."""
    small = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    kind, data = as_data_uri(small).split(",")
    assert kind == "data:image/png;base64"
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decoded, small)
    large = np.random.default_rng(0).integers(0, 256, (500, 2000, 3), np.uint8)
    kind, data = as_data_uri(large).split(",")
    assert kind == "data:image/jpeg;base64"
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (400, 1600, 3)


def test_unreadable_images(tmp_path: Path):
    for name, content in (("empty.png", b""), ("text.jpg", b"no image")):
        (tmp_path / name).write_bytes(content)
    for name in ("empty.png", "text.jpg", "nowhere.png"):
        with pytest.raises(UserError, match=name):
            read_image(tmp_path / name)


# ------------------------------------------------------------------------------------ ground truth
@pytest.fixture
def ann_file(shapes_root: Path) -> Path:
    return shapes_root / "annotations" / "instances_val.json"


def test_images_are_found_by_name_and_folder(ann_file: Path, tmp_path: Path):
    content = json.loads(ann_file.read_text())
    content["images"] = [
        dict(content["images"][0], id=number, file_name=name)
        for number, name in ((1, "x/1.png"), (2, "y/1.png"), (3, "2.png"))
    ]
    content["annotations"] = []
    (tmp_path / "ann.json").write_text(json.dumps(content))
    truth = Truth(tmp_path / "ann.json")
    for path, expected in (("y/1.png", 2), ("z/1.png", None), ("any/2.png", 3), ("4.png", None)):
        assert truth.image_id(Path(path)) == expected, path
    with pytest.raises(UserError, match=r"lists none of the 1 images\. The first image is 4\.png"):
        truth.check_images([Path("4.png")])
    with pytest.raises(UserError, match=r"--ann: there is no annotation file .*nowhere"):
        Truth("nowhere.json")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list:
    """Two of the shapes' classes, and one of three classes without keypoints."""
    folder = tmp_path_factory.mktemp("models")
    meta = dict(classes=("ring", "blob", "disc"), palette=[(1, 2, 3), (4, 5, 6), (7, 8, 9)])
    texts = [
        write_model(folder, "first", seed=0),
        write_model(folder, "second", seed=1),
        write_model(folder, "third", seed=2, meta=meta, keypoints=False),
    ]
    return load_models(read_sources(texts), "cpu")


def test_content(models: list, ann_file: Path, shapes_root: Path, tmp_path: Path):
    """It holds what the inferencer gives, in the order of scores, with one class list for all."""
    photos = find_images([shapes_root / "val"])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"x")
    stranger = tmp_path / "stranger.png"
    stranger.write_bytes(photos[0].read_bytes())
    calls = []
    comparison = Comparison(models, Truth(ann_file))
    content = comparison.run([photos[0], broken, photos[1], stranger], lambda *c: calls.append(c))
    assert calls == [(i, 4) for i in (1, 2, 3, 4)]
    assert content["unreadable"] == [str(broken)]
    assert [image["name"] for image in content["images"]] == [
        photos[0].name, photos[1].name, "stranger.png",
    ]  # fmt: skip
    names = [entry["name"] for entry in content["classes"]]
    assert names == ["disc", "box", "triangle", "ring", "bar", "figure", "blob"]
    colors = [models[0].colors[3], models[2].colors[1]]
    expected = ["#" + bytes(color).hex() for color in colors]
    assert expected[0] == "#9650d2" != "#" + bytes(models[2].colors[0]).hex()
    assert [content["classes"][i]["color"] for i in (3, 6)] == expected
    notes = "\n".join(content["notes"])
    assert "broken.png could not be read" in notes and "does not list stranger.png" in notes
    assert "first does not know 1 of the other models' classes: blob." in notes
    assert "third does not know 4 of the other models' classes: box, triangle, bar, fig" in notes
    for image, photo in zip(content["images"][:2], photos, strict=False):
        for model, result in zip(models, image["results"], strict=True):
            expected = model.inferencer(str(photo))["predictions"][0]
            found = result["detections"]
            shown = [i for i, score in enumerate(expected["scores"]) if score >= 0.05]
            classes = [model.meta["classes"][expected["labels"][i]] for i in shown]
            assert [names[d["label"]] for d in found] == classes
            assert np.allclose([d["score"] for d in found], np.take(expected["scores"], shown),
                               atol=1e-4)  # fmt: skip
            assert np.allclose([d["box"] for d in found], [expected["bboxes"][i] for i in shown],
                               atol=0.051)  # fmt: skip
            assert result["milliseconds"] > 0
        has_points = ["keypoints" in d for d in image["results"][0]["detections"]]
        assert has_points == [d["label"] == 5 for d in image["results"][0]["detections"]]
    assert content["images"][2]["truth"] is None
    assert content["measured"]["ann_images"] == 2
    json.dumps(content, allow_nan=False)


def test_ground_truth_of_an_image(models: list, ann_file: Path, shapes_root: Path):
    content = Comparison(models, Truth(ann_file)).run(find_images([shapes_root / "val"])[:1])
    coco = json.loads(ann_file.read_text())
    [image] = [i for i in coco["images"] if i["file_name"] == content["images"][0]["name"]]
    expected = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
    names = {c["id"]: c["name"] for c in coco["categories"]}
    found = content["images"][0]["truth"]
    assert [content["classes"][d["label"]]["name"] for d in found] == [
        names[a["category_id"]] for a in expected
    ]
    for entry, annotation in zip(found, expected, strict=True):
        x, y, w, h = annotation["bbox"]
        assert np.allclose(entry["box"], (x, y, x + w, y + h), atol=0.051)
        if any(annotation.get("keypoints", ())):
            triples = np.reshape(annotation["keypoints"], (-1, 3))
            assert np.allclose(entry["keypoints"], triples + np.array((0.5, 0.5, 0)))


def perfect(annotations: list[dict], coco: COCO, labels: dict[int, int], rng) -> dict:
    """Results as the inferencer gives them: the annotations, moved a little, and some others."""
    result = dict(labels=[], scores=[], bboxes=[], masks=[], keypoints=[], keypoint_scores=[])
    for annotation in annotations:
        x, y, w, h = annotation["bbox"] + rng.normal(0, 1.5, 4)
        result["labels"].append(labels[annotation["category_id"]])
        result["scores"].append(float(rng.uniform()))
        result["bboxes"].append([x, y, x + w, y + h])
        mask = np.roll(coco.annToMask(annotation), rng.integers(-2, 3), axis=1)
        rle = encode(mask)
        result["masks"].append(dict(rle, counts=rle["counts"].decode()))
        points = np.reshape(annotation.get("keypoints") or np.zeros(27), (-1, 3))[:, :2]
        has = "keypoints" in annotation
        points = points + 0.5 + rng.normal(0, 2, points.shape)
        result["keypoints"].append(points.tolist() if has else [])
        result["keypoint_scores"].append([0.5] * 9 if has else [])
    return result


def test_average_precision_is_pycocotools(models: list, ann_file: Path, capsys):
    """On three of four images, with a model whose classes are not the file's."""
    truth = Truth(ann_file)
    coco, rng = COCO(str(ann_file)), np.random.default_rng(0)
    ids = sorted(coco.imgs)[:3]
    meta = dict(models[0].meta, classes=("other", *reversed(models[0].meta["classes"])))
    names = {c["id"]: c["name"] for c in coco.dataset["categories"]}
    labels = {number: meta["classes"].index(name) for number, name in names.items()}
    results = {i: perfect(coco.imgToAnns[i], coco, labels, rng) for i in ids}
    capsys.readouterr()
    scores = truth.score(results, meta)
    assert capsys.readouterr().out == ""
    of_label = {label: number for number, label in labels.items()}
    records = dict(bbox=[], segm=[], keypoints=[])
    for image_id, result in results.items():
        for i, label in enumerate(result["labels"]):
            x1, y1, x2, y2 = result["bboxes"][i]
            common = dict(image_id=image_id, category_id=of_label[label], score=result["scores"][i])
            records["bbox"].append(dict(common, bbox=[x1, y1, x2 - x1, y2 - y1]))
            records["segm"].append(dict(common, segmentation=result["masks"][i]))
            if result["keypoints"][i]:
                triples = [v for x, y in result["keypoints"][i] for v in (x - 0.5, y - 0.5, 0.5)]
                records["keypoints"].append(dict(common, keypoints=triples))
    for kind, name in (("bbox", "box"), ("segm", "mask"), ("keypoints", "keypoint")):
        evaluation = COCOeval(coco, coco.loadRes(records[kind]), kind)
        evaluation.params.imgIds = ids
        if kind == "keypoints":
            evaluation.params.kpt_oks_sigmas = np.array(meta["keypoint_sigmas"])
            evaluation.params.catIds = [i for i, n in names.items() if n == "figure"]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert 0 < evaluation.stats[0] < 1
        assert scores[name] == pytest.approx(evaluation.stats[0], abs=1e-9), kind
    assert truth.score(results, dict(classes=("unknown",))) == {}


def test_nothing_to_run(models: list, tmp_path: Path):
    comparison = Comparison(models)
    with pytest.raises(UserError, match="there are no images"):
        comparison.run([])
    (tmp_path / "broken.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match=r"none of the 1 images can be read: .*broken\.jpg"):
        comparison.run([tmp_path / "broken.jpg"])
    with pytest.raises(UserError, match="has no models"):
        Comparison([])


def test_published_scores(models: list, shapes_root: Path):
    """Where nothing was measured, the catalogue's are shown with their source."""
    known = models[0]._replace(published=published("maskr_r50_fpn_1x"))
    content = Comparison([known]).run(find_images([shapes_root / "val"])[:1])
    entry = content["models"][0]
    assert entry["scores"] == dict(box=38.2, mask=34.7)
    assert entry["scores_from"] == "mmdet model index, mask-rcnn_r50_fpn_1x_coco"
