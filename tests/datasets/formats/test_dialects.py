"""Formats as tools write them in other versions, and with what lies next to them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from urllib.parse import quote

import format_writers as writers
import numpy as np
import pytest
from PIL import Image

from mmdet_maskr.datasets.formats import read_folder
from mmdet_maskr.datasets.formats.records import Collection
from mmdet_maskr.errors import UserError

OUTLINE = [10.0, 20.0, 40.0, 20.0, 40.0, 50.0]
BOX = [10.0, 20.0, 30.0, 30.0]
SIZE = dict(width=writers.WIDTH, height=writers.HEIGHT)


def labels_of(found: Collection) -> dict[str, list[str]]:
    return {photo.path.name: [item.label for item in photo.objects] for photo in found.photos}


# ----------------------------------------------------------------------------------- boxes alone
def createml(root: Path) -> None:
    center = dict(x=25.0, y=35.0, width=30.0, height=30.0)
    items = [dict(label="leaf", coordinates=center)]
    content = [dict(image=name, annotations=items) for name in ("a.png", "b.png")]
    writers.dump(root / "_annotations.createml.json", content)


def table(root: Path, head: str, row: list) -> None:
    with open(root / "boxes.csv", "w", newline="") as file:
        rows = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        rows.writerow(head.split(","))
        rows.writerows([name, *row] for name in ("a.png", "b.png"))


def roboflow_csv(root: Path) -> None:
    table(root, "filename,width,height,class,xmin,ymin,xmax,ymax", [96, 64, "leaf", 10, 20, 40, 50])


def vott_csv(root: Path) -> None:
    table(root, "image,xmin,ymin,xmax,ymax,label", [10.0, 20.0, 40.0, 50.0, "leaf"])


def vott_1(root: Path) -> None:
    """Corners in pixels of a photo that was shown at twice its size."""
    region = dict(x1=20, y1=40, x2=80, y2=100, width=192, height=128, type="Rectangle")
    regions = [dict(region, tags=["leaf"])]
    content = dict(frames={"a.png": regions, "b.png": regions}, inputTags="leaf,stone")
    writers.dump(root / "photos.json", dict(content, visitedFrames=["a.png"]))


@pytest.mark.parametrize("write", [createml, roboflow_csv, vott_csv, vott_1])
def test_boxes_alone(tmp_path: Path, write):
    for name in ("a.png", "b.png"):
        writers.photo(tmp_path / name)
    write(tmp_path)
    found = read_folder(tmp_path)
    assert labels_of(found) == {"a.png": ["leaf"], "b.png": ["leaf"]}
    for photo in found.photos:
        assert photo.objects[0].box == pytest.approx(BOX)
        assert not photo.objects[0].polygons


# ------------------------------------------------------------------- texts that are no label files
def test_readme_next_to_coco(tmp_path: Path):
    """Roboflow's begins with an empty line, as label files of photos without objects do."""
    folder = tmp_path / "set"
    writers.write_coco(folder)
    writers.roboflow_readme(folder)
    (folder / "notes.txt").touch()
    found = read_folder(folder)
    assert found.format == "COCO" and len(found.photos) == 3


def test_empty_label_file_of_a_photo(tmp_path: Path):
    """Next to its photo an empty file means that there is no object; other files say nothing."""
    for name in ("a.png", "b.png"):
        writers.photo(tmp_path / name)
    (tmp_path / "a.txt").write_text("\n0 0.5 0.5 0.25 0.25\n")
    (tmp_path / "b.txt").touch()
    found = read_folder(tmp_path)
    assert labels_of(found) == {"a.png": ["0"], "b.png": []}
    assert not found.assumed


# --------------------------------------------------------------------------------------- Labelbox
def row(name: str, address: str = "", **about: object) -> dict:
    drawn = dict(name="leaf", annotation_kind="ImagePolygon", polygon=writers.points(OUTLINE))
    label = dict(annotations=dict(objects=[drawn], classifications=[]))
    data = dict(id="x", row_data=f"https://storage.labelbox.com/{address or quote(name)}?sig=%2F")
    return dict(data_row={**data, **about}, projects=dict(p=dict(labels=[label])))


def test_photos_of_labelbox_by_key_and_address(tmp_path: Path):
    for name in ("a b.png", "c.png", "d.png"):
        writers.photo(tmp_path / name)
    rows = [
        row("a b.png"),
        row("c.png", "uuid", global_key="c.png"),
        row("d.png", "uuid", external_id="d.png", global_key="some-key"),
    ]
    writers.dump(tmp_path / "export.json", rows)
    assert labels_of(read_folder(tmp_path)) == {
        "a b.png": ["leaf"], "c.png": ["leaf"], "d.png": ["leaf"],
    }  # fmt: skip


def test_photos_that_nobody_has_labeled(tmp_path: Path):
    """They are no photos of nothing: what is on them would be trained as background."""
    for name in ("a.png", "b.png", "c.png"):
        writers.photo(tmp_path / name)
    rows = [row(f"{stem}.png", external_id=f"{stem}.png") for stem in "abc"]
    rows[1]["projects"]["p"]["labels"] = []
    rows[2]["projects"]["p"]["labels"][0]["annotations"]["objects"] = []  # looked at: of nothing
    (tmp_path / "x.ndjson").write_text("\n".join(map(json.dumps, rows)))
    found = read_folder(tmp_path)
    assert labels_of(found) == {"a.png": ["leaf"], "c.png": []}
    assert sum(found.assumed.values()) == 1


def test_masks_on_the_servers_of_labelbox(tmp_path: Path):
    """Some are left out, and counted; without any other object it is said what to do."""
    writers.photo(tmp_path / "a.png")
    one = row("a.png", external_id="a.png")
    objects = one["projects"]["p"]["labels"][0]["annotations"]["objects"]
    away = dict(name="leaf", annotation_kind="ImageSegmentationMask")
    objects += [dict(away, mask=dict(url="https://x/1")), dict(away, composite_mask=dict(url="y"))]
    writers.dump(tmp_path / "x.json", [one])
    found = read_folder(tmp_path)
    assert labels_of(found) == {"a.png": ["leaf"]} and sum(found.assumed.values()) == 2
    del objects[0]
    writers.dump(tmp_path / "x.json", [one])
    with pytest.raises(UserError, match=r"x\.json has masks as addresses"):
        read_folder(tmp_path)


def test_older_labelbox(tmp_path: Path):
    writers.photo(tmp_path / "a.png")
    writers.photo(tmp_path / "b.png")
    drawn = dict(title="leaf", polygon=writers.points(OUTLINE))
    rows = [
        {"ID": "1", "External ID": "a.png", "Labeled Data": "", "Label": dict(objects=[drawn])},
        {"ID": "2", "External ID": "b.png", "Labeled Data": "", "Label": "Skip", "Skipped": True},
    ]
    writers.dump(tmp_path / "export.json", rows)
    assert labels_of(read_folder(tmp_path)) == {"a.png": ["leaf"]}
    rows[0]["Label"] = dict(leaf=[dict(geometry=writers.points(OUTLINE))])  # of 2018
    writers.dump(tmp_path / "export.json", rows)
    with pytest.raises(UserError, match=r"export\.json"):
        read_folder(tmp_path)


# ------------------------------------------------------------------------- Label Studio, VoTT, VIA
def test_tasks_that_nobody_has_annotated(tmp_path: Path):
    folder = tmp_path / "set"
    writers.write_label_studio(folder)
    tasks = json.loads((folder / "project.json").read_text())
    tasks[0]["annotations"] = []
    tasks[1]["annotations"][0]["result"] = []
    writers.dump(folder / "project.json", tasks)
    found = read_folder(folder)
    assert {name: len(items) for name, items in labels_of(found).items()} == {
        "b.png": 0, "c.png": 2,
    }  # fmt: skip
    assert sum(found.assumed.values()) == 1


@pytest.mark.parametrize("kind", ["label_studio", "coco"])
def test_names_before_the_upload(tmp_path: Path, kind: str):
    """Label Studio's files name what it has stored; the user's photos have their old names."""
    folder = tmp_path / "set"
    getattr(writers, f"write_{kind}")(folder)
    for path in folder.rglob("*.json"):
        text = path.read_text()
        for name in writers.SPLITS:
            text = text.replace(f"/{name}", f"/0a1b2c3d-{name}").replace(
                f"\\\\{name}", f"\\\\0a1b2c3d-{name}"
            )
        assert "0a1b2c3d-" in text
        path.write_text(text)
    found = read_folder(folder)
    assert {photo.path.name for photo in found.photos} == set(writers.SPLITS)


@pytest.mark.parametrize("export", [True, False])
def test_vott_with_blanks(tmp_path: Path, export: bool):
    """Names are as in addresses; a state of 0 is of a photo that nobody has opened."""
    assets = {}
    for state, name in ((2, "my a.png"), (1, "b.png"), (0, "c.png")):
        writers.photo(tmp_path / "source" / name)
        asset = dict(id=name, name=quote(name), path=f"file:C:/my%20photos/{quote(name)}")
        region = dict(type="POLYGON", tags=["leaf"], points=writers.points(OUTLINE))
        regions = [region] if state == 2 else []
        assets[name] = dict(asset=dict(asset, size=SIZE, state=state), regions=regions)
    if export:
        content = dict(tags=[dict(name="leaf")], assets=assets)
        writers.dump(tmp_path / "vott-json-export" / "x-export.json", content)
    else:
        for number, entry in enumerate(assets.values()):
            writers.dump(tmp_path / "target" / f"{number}-asset.json", entry)
    assert labels_of(read_folder(tmp_path)) == {"my a.png": ["leaf"], "b.png": []}


def test_class_of_via_is_chosen_from_a_list(tmp_path: Path):
    """Every region has a comment, too, which is typed."""
    folder = tmp_path / "set"
    writers.write_via_3(folder)
    for path in folder.rglob("via_project.json"):
        content = json.loads(path.read_text())
        content["attribute"]["2"] = dict(aname="comment", type=1, options={})
        for entry in content["metadata"].values():
            entry["av"]["2"] = "big"
        writers.dump(path, content)
    assert set(read_folder(folder).classes) == set(writers.CLASSES)


def test_class_of_via_2_by_check_boxes(tmp_path: Path):
    writers.photo(tmp_path / "a.png")
    shape = dict(name="polygon", all_points_x=OUTLINE[::2], all_points_y=OUTLINE[1::2])
    values = dict(fruit=dict(leaf=True), note="wet", quality=dict(good=True, sharp=True))
    regions = [dict(shape_attributes=shape, region_attributes=values)]
    listed = dict(
        fruit=dict(type="checkbox", options=dict(leaf="", stone="")),
        quality=dict(type="checkbox", options=dict(good="", sharp="")),
        note=dict(type="text"),
    )
    entry = dict(filename="a.png", size=1, regions=regions, file_attributes={})
    content = dict(_via_img_metadata=dict(a=entry), _via_attributes=dict(region=listed, file={}))
    writers.dump(tmp_path / "via_project.json", content)
    assert labels_of(read_folder(tmp_path)) == {"a.png": ["leaf"]}


# --------------------------------------------------------------------------------- PASCAL VOC, PNG
def test_outlines_of_roboflow_voc(tmp_path: Path):
    """Pixels are counted from 1, those of the outline as those of the box."""
    writers.photo(tmp_path / "a.png")
    points = "".join(
        f"<x{i}>{x + 1}</x{i}><y{i}>{y + 1}</y{i}>"
        for i, (x, y) in enumerate(writers.pairs(OUTLINE), start=1)
    )
    (tmp_path / "a.xml").write_text(
        "<annotation><filename>a.png</filename><object><name>leaf</name><bndbox><xmin>11</xmin>"
        "<xmax>40</xmax><ymin>21</ymin><ymax>50</ymax></bndbox>"
        f"<polygon>{points}</polygon></object></annotation>"
    )
    (item,) = read_folder(tmp_path).photos[0].objects
    assert item.polygons == [OUTLINE]


@pytest.mark.parametrize("place", ["masks/{stem}/{i}.png", "masks/{stem}_{i}.png",
                                   "masks/{stem}_mask_{i}.png"])  # fmt: skip
def test_an_image_for_each_object(tmp_path: Path, place: str):
    for name, objects in writers.OBJECTS.items():
        writers.photo(tmp_path / "images" / name)
        for i, (_, outline) in enumerate(objects):
            path = tmp_path / place.format(stem=Path(name).stem, i=i)
            writers.labels(path, writers.mask_of(outline).astype(np.uint8) * 255)
    found = read_folder(tmp_path)
    assert found.classes == ["object"]
    assert {name: len(items) for name, items in labels_of(found).items()} == {
        name: len(items) for name, items in writers.OBJECTS.items()
    }
    masks = [item.crop.pixels for photo in found.photos for item in photo.objects]
    drawn = [writers.mask_of(outline) for items in writers.OBJECTS.values() for _, outline in items]
    assert all(np.array_equal(*pair) for pair in zip(masks, drawn, strict=True))


def test_names_with_a_word_before(tmp_path: Path):
    for number, objects in enumerate(writers.OBJECTS.values()):
        writers.photo(tmp_path / "images" / f"image_{number:03d}.tif")
        values = np.zeros((writers.HEIGHT, writers.WIDTH), np.uint8)
        for i, (_, outline) in enumerate(objects, start=1):
            values[writers.mask_of(outline)] = i
        writers.labels(tmp_path / "masks" / f"mask_{number:03d}.tif", values)
    found = read_folder(tmp_path)
    assert [len(photo.objects) for photo in found.photos] == [2, 1, 2]


def test_value_without_a_name(tmp_path: Path):
    folder = tmp_path / "set"
    writers.write_roboflow_masks(folder)
    (folder / "train" / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, leaf")
    with pytest.raises(UserError, match=r"a_mask\.png has the value 2"):
        read_folder(folder)


def test_photos_that_are_not_masks(tmp_path: Path):
    """A folder of images below one called annotations has no masks, and neither have photos."""
    writers.photo(tmp_path / "annotations" / "images" / "a.png")
    writers.photo(tmp_path / "annotations" / "images" / "b.png")
    with pytest.raises(UserError, match="2 images"):
        read_folder(tmp_path)


def test_colors_of_classes(tmp_path: Path):
    """class_dict.csv, as CamVid has it."""
    writers.photo(tmp_path / "images" / "a.png")
    colors = np.zeros((writers.HEIGHT, writers.WIDTH, 3), np.uint8)
    for label, outline in writers.OBJECTS["a.png"]:
        colors[writers.mask_of(outline)] = [(0, 200, 7), (90, 0, 0)][label]
    (tmp_path / "labels").mkdir()
    Image.fromarray(colors).save(tmp_path / "labels" / "a.png")
    rows = ["name,r,g,b", "leaf,0,200,7", "blue stone,90,0,0", "void,0,0,0"]
    (tmp_path / "class_dict.csv").write_text("\n".join(rows))
    assert sorted(labels_of(read_folder(tmp_path))["a.png"]) == ["blue stone", "leaf"]
