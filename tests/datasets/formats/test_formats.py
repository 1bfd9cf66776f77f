"""One dataset in the formats of many tools reads back as itself."""

from __future__ import annotations

import json
from pathlib import Path

import format_writers as writers
import numpy as np
import pytest
from pycocotools import mask as coco

from mmdet_maskr.datasets.formats import read_folder
from mmdet_maskr.datasets.formats.output import to_coco
from mmdet_maskr.errors import UserError

NAMELESS = {"png_per_object", "png_index", "masks_beside"}
SPLITLESS = {"label_studio", "vott", "labelme_voc"}
ALL = [name.removeprefix("write_") for name in vars(writers) if name.startswith("write_")]


def written(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    getattr(writers, f"write_{name}")(folder)
    return folder


def masks_of(folder: Path, kind: str | None = None) -> tuple[dict, dict]:
    """(class, mask) of the objects of each photo, in their order, and each photo's split."""
    found = read_folder(folder, kind)
    content = to_coco(found, found.photos, {photo.path: photo.path.name for photo in found.photos})
    names = {category["id"]: category["name"] for category in content["categories"]}
    objects: dict[str, list] = {image["file_name"]: [] for image in content["images"]}
    files = {image["id"]: image["file_name"] for image in content["images"]}
    for annotation in content["annotations"]:
        mask = annotation["segmentation"]
        if isinstance(mask, list):
            mask = coco.merge(coco.frPyObjects(mask, writers.HEIGHT, writers.WIDTH))
        decoded = coco.decode(mask).astype(bool)
        objects[files[annotation["image_id"]]].append((names[annotation["category_id"]], decoded))
    return objects, {photo.path.name: photo.split for photo in found.photos}


@pytest.mark.parametrize("name", ALL)
def test_reads_back(tmp_path: Path, name: str):
    objects, splits = masks_of(written(tmp_path / "set", name))
    assert set(objects) == set(writers.OBJECTS)
    for file, expected in writers.OBJECTS.items():
        assert len(objects[file]) == len(expected)
        if name == "masks_of_classes":  # in the order of their folders
            objects[file].sort(key=lambda item: writers.CLASSES.index(item[0]))
        for (found, mask), (label, outline) in zip(objects[file], expected, strict=True):
            assert found == ("object" if name in NAMELESS else writers.CLASSES[label])
            wanted = writers.mask_of(outline)
            assert (mask & wanted).sum() / (mask | wanted).sum() >= 0.99
    assert splits == (dict.fromkeys(writers.SPLITS) if name in SPLITLESS else writers.SPLITS)


def test_at_least_ten_formats():
    assert len(ALL) >= 10


def test_two_formats_that_agree(tmp_path: Path):
    """The same photos exported twice: one is read, and that is said."""
    folder = written(tmp_path / "set", "labelme")
    content = {}
    for name in writers.SPLITS:
        regions = [
            dict(
                shape_attributes=dict(name="polygon", all_points_x=o[::2], all_points_y=o[1::2]),
                region_attributes=dict(kind=writers.CLASSES[label]),
            )
            for label, o in writers.OBJECTS[name]
        ]
        content[name] = dict(filename=name, size=1, regions=regions)
    writers.dump(folder / "via.json", content)
    found = read_folder(folder)
    assert len(found.photos) == 3
    assert sum(n for what, n in found.assumed.items() if "with the same objects" in what) == 3


@pytest.mark.parametrize("change", ["label", "moved", "removed"])
def test_two_formats_that_differ(tmp_path: Path, change: str):
    folder = written(tmp_path / "set", "labelme")
    regions = [
        dict(
            shape_attributes=dict(name="polygon", all_points_x=o[::2], all_points_y=o[1::2]),
            region_attributes=dict(kind=writers.CLASSES[label]),
        )
        for label, o in writers.OBJECTS["a.png"]
    ]
    if change == "label":
        regions[0]["region_attributes"]["kind"] = "bark"
    elif change == "moved":
        regions[0]["shape_attributes"]["all_points_x"] = [40.0, 60.0, 60.0, 40.0]
    else:
        del regions[0]
    writers.dump(folder / "via.json", dict(a=dict(filename="a.png", size=1, regions=regions)))
    with pytest.raises(UserError, match=r"a\.png"):
        read_folder(folder)
    assert len(masks_of(folder, "labelme")[0]) == 3  # the choice is the user's


def test_keypoints_of_yolo(tmp_path: Path):
    writers.photo(tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    values = [0.5, 0.5, 0.5, 0.5, 0.25, 0.5, 2, 0.75, 0.5, 1, 0, 0, 0]
    (tmp_path / "labels" / "a.txt").write_text("0 " + " ".join(map(str, values)))
    (tmp_path / "data.yaml").write_text("names: {0: figure}\nkpt_shape: [3, 3]\n")
    found = read_folder(tmp_path)
    (item,) = found.photos[0].objects
    assert item.keypoints == [24, 32, 2, 72, 32, 1, 0, 0, 0]
    assert item.box == [24, 16, 48, 32]
    assert len(found.keypoints["figure"]) == 3


def test_keypoints_of_cvat(tmp_path: Path):
    writers.photo(tmp_path / "a.png")
    (tmp_path / "x.xml").write_text(
        "<annotations><image id='0' name='a.png' width='96' height='64'><skeleton label='figure'>"
        "<points label='top' points='5,6' occluded='0' outside='0'/>"
        "<points label='foot' points='7,8' occluded='1' outside='0'/>"
        "<points label='hand' points='9,9' occluded='0' outside='1'/>"
        "</skeleton></image></annotations>"
    )
    found = read_folder(tmp_path)
    assert found.keypoints == {"figure": ["top", "foot", "hand"]}
    assert found.photos[0].objects[0].keypoints == [5, 6, 2, 7, 8, 1, 0, 0, 0]


def test_holes_and_parts(tmp_path: Path):
    """A polygon of Supervisely has holes; shapes of labelme with a group are one object."""
    outer, hole = [[10, 10], [50, 10], [50, 50], [10, 50]], [[20, 20], [40, 20], [40, 40], [20, 40]]
    writers.photo(tmp_path / "one" / "img" / "a.png")
    entry = dict(classTitle="ring", geometryType="polygon")
    entry["points"] = dict(exterior=outer, interior=[hole])
    size = dict(width=writers.WIDTH, height=writers.HEIGHT)
    writers.dump(tmp_path / "one" / "ann" / "a.png.json", dict(size=size, objects=[entry]))
    ((_, mask),) = masks_of(tmp_path / "one")[0]["a.png"]
    assert mask[15, 15] and mask[45, 45] and not mask[30, 30]
    writers.photo(tmp_path / "two" / "a.png")
    shapes = [
        dict(label="ring", shape_type="polygon", group_id=4, points=part) for part in (outer, hole)
    ]
    shapes[1]["points"] = [[60, 10], [80, 10], [80, 30]]
    writers.dump(tmp_path / "two" / "a.json", dict(shapes=shapes, imagePath="a.png"))
    ((_, mask),) = masks_of(tmp_path / "two")[0]["a.png"]
    assert mask[30, 30] and mask[12, 72]


def test_shapes_with_an_area(tmp_path: Path):
    """Circles, ellipses and rectangles, also turned ones, have the area that they should have."""
    writers.photo(tmp_path / "a.png")
    shapes = [
        dict(label="x", shape_type="circle", points=[[40, 30], [40, 50]]),
        dict(label="x", shape_type="rectangle", points=[[70, 40], [50, 10]]),
    ]
    writers.dump(tmp_path / "a.json", dict(shapes=shapes, imagePath="a.png"))
    (_, circle), (_, box) = masks_of(tmp_path)[0]["a.png"]
    assert circle.sum() == pytest.approx(np.pi * 400, rel=0.02)
    assert box.sum() == 600
    task = dict(type="rectanglelabels", original_width=96, original_height=64)
    value = dict(x=50, y=25, width=25, height=25, rotation=90, rectanglelabels=["x"])
    results = [dict(task, value=value)]
    (tmp_path / "a.json").unlink()
    tasks = [dict(id=1, data=dict(image="a.png"), annotations=[dict(result=results)])]
    writers.dump(tmp_path / "p.json", tasks)
    ((_, turned),) = masks_of(tmp_path)[0]["a.png"]
    ys, xs = np.nonzero(turned)
    assert (xs.min(), xs.max() + 1, ys.min(), ys.max() + 1) == (32, 48, 16, 40)


def crowds(names: str, attributes: bool) -> dict:
    """A file with one annotation for each letter: 'c' for a crowd, 'o' for an object."""
    outline = [[5, 5, 30, 5, 30, 30]]
    rle = coco.encode(np.asfortranarray(writers.mask_of(outline[0]), np.uint8))
    size = dict(size=[writers.HEIGHT, writers.WIDTH], counts=rle["counts"].decode())
    extra = dict(attributes=dict(occluded=False)) if attributes else {}
    whole = dict(image_id=1, category_id=1, bbox=[5, 5, 25, 25], area=300, **extra)
    kinds = dict(c=dict(iscrowd=1, segmentation=size), o=dict(iscrowd=0, segmentation=outline))
    annotations = [dict(whole, **kinds[letter], id=i) for i, letter in enumerate(names)]
    image = dict(id=1, file_name="a.png", width=writers.WIDTH, height=writers.HEIGHT)
    return dict(images=[image], annotations=annotations, categories=[dict(id=1, name="leaf")])


@pytest.mark.parametrize(
    ("names", "attributes", "expected"),
    [("cc", False, 0), ("coo", False, 1), ("coo", True, 0), ("ooo", False, 0)],
)
def test_what_is_a_crowd(tmp_path: Path, names: str, attributes: bool, expected: int):
    """All objects of a class are never one; CVAT's brush marks single objects."""
    writers.photo(tmp_path / "a.png")
    writers.dump(tmp_path / "x.json", crowds(names, attributes))
    found = read_folder(tmp_path)
    assert sum(item.crowd for item in found.photos[0].objects) == expected
    assert bool(found.assumed) == (expected != names.count("c"))


def test_masks_and_keypoints_in_two_files(tmp_path: Path):
    """COCO's own layout: instances and person_keypoints have the same ids."""
    writers.photo(tmp_path / "val2017" / "a.png")
    masks = crowds("oo", False)
    writers.dump(tmp_path / "annotations" / "instances_val2017.json", masks)
    one = {**masks["annotations"][1], "keypoints": [5, 6, 2], "num_keypoints": 1}
    categories = [dict(id=1, name="leaf", keypoints=["tip"], skeleton=[])]
    both = dict(masks, annotations=[one], categories=categories)
    writers.dump(tmp_path / "annotations" / "person_keypoints_val2017.json", both)
    found = read_folder(tmp_path)
    assert [item.keypoints for item in found.photos[0].objects] == [None, [5, 6, 2]]
    assert found.keypoints == {"leaf": ["tip"]}
    assert found.photos[0].split == "val"


def test_project_before_the_classes(tmp_path: Path):
    """Roboflow lists the project as category 0; here it has the name of a class."""
    writers.photo(tmp_path / "train" / "a.png")
    content = crowds("oo", False)
    content["categories"] = [
        dict(id=0, name="leaf", supercategory="none"),
        dict(id=2, name="stem", supercategory="leaf"),
        dict(id=1, name="leaf", supercategory="leaf"),
    ]
    writers.dump(tmp_path / "train" / "_annotations.coco.json", content)
    assert read_folder(tmp_path).classes == ["stem", "leaf"]


# --------------------------------------------------------------------------------------- bad input
def test_nothing_to_read(tmp_path: Path):
    with pytest.raises(UserError, match="0 images"):
        read_folder(tmp_path)
    writers.photo(tmp_path / "a.png")
    (tmp_path / "notes.json").write_text("[1, 2]")
    with pytest.raises(UserError, match=r"notes\.json"):
        read_folder(tmp_path)
    with pytest.raises(UserError):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(UserError, match="labelme"):
        read_folder(tmp_path, "labelmee")


@pytest.mark.parametrize("name", ["coco", "labelme", "via", "cvat", "label_studio", "vott"])
def test_images_are_missing(tmp_path: Path, name: str):
    """Some: counted. All: an error."""
    folder = written(tmp_path / "set", name)
    (photo,) = folder.rglob("b.png")
    photo.unlink()
    found = read_folder(folder)
    assert {photo.path.name for photo in found.photos} == {"a.png", "c.png"}
    assert sum(n for what, n in found.assumed.items() if "not there" in what) == 1
    for photo in [*folder.rglob("*.png")]:
        photo.unlink()
    with pytest.raises(UserError):
        read_folder(folder)


def test_photo_of_another_size(tmp_path: Path):
    folder = written(tmp_path / "set", "labelme")
    path = folder / "train" / "a.json"
    path.write_text(path.read_text().replace('"imageWidth": 96', '"imageWidth": 64'))
    with pytest.raises(UserError, match="96 x 64"):
        read_folder(folder)


def test_two_images_that_fit(tmp_path: Path):
    folder = written(tmp_path / "set", "vott")
    for place in ("one", "two"):
        writers.photo(folder / place / "a.png")
    (folder / "a.png").unlink()
    with pytest.raises(UserError, match=r"one/a\.png"):
        read_folder(folder)


@pytest.mark.parametrize("name", ["coco", "labelme", "via", "via_3", "supervisely", "label_studio",
                                  "labelbox", "vott"])  # fmt: skip
def test_damaged_json_is_a_user_error(tmp_path: Path, name: str):
    """Each value, replaced by one of another type, is read or refused in a sentence."""
    folder = written(tmp_path / "set", name)
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".ndjson"))
    path = files[0]
    text = path.read_text()
    whole = json.loads(text.splitlines()[0])

    def places(value, found=()):
        yield found
        if isinstance(value, (dict, list)):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in [*items][:3]:
                yield from places(item, (*found, key))

    for place in [p for p in places(whole) if p][:60]:
        for value in (None, "x", [], {}, -1):
            content = json.loads(text.splitlines()[0])
            inside = content
            for key in place[:-1]:
                inside = inside[key]
            inside[place[-1]] = value
            path.write_text(json.dumps(content))
            try:
                found = read_folder(folder)
                to_coco(found, found.photos, {p.path: p.path.name for p in found.photos})
            except UserError:
                pass


def test_images_of_the_same_name_in_two_splits(tmp_path: Path):
    """As COCO's own folders would have them, were its names not different."""
    for split in ("train", "val"):
        writers.photo(tmp_path / split / "a.png")
        box = dict(bbox=[8, 6, 20, 20], segmentation=[[8, 6, 28, 6, 28, 26, 8, 26]])
        content = dict(
            images=[dict(id=1, file_name="a.png", width=96, height=64)],
            annotations=[dict(id=1, image_id=1, category_id=1, **box)],
            categories=[dict(id=1, name="leaf")],
        )
        writers.dump(tmp_path / "annotations" / f"instances_{split}.json", content)
    photos = read_folder(tmp_path).photos
    assert {photo.split: photo.path.parent.name for photo in photos} == dict(
        train="train", val="val"
    )
