"""The same photos as several annotation tools would write them."""

from __future__ import annotations

import base64
import csv
import json
import zlib
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco

WIDTH, HEIGHT = 96, 64
CLASSES = ["leaf", "blue stone"]
JOINTS = ["top", "left", "right"]
SPLITS = {"a.png": "train", "b.png": "train", "c.png": "val"}
# (class, outline) of the objects of each photo; coordinates with a fraction, no two photos alike
OBJECTS = {
    "a.png": [
        (0, [8.5, 6.25, 30.0, 9.0, 26.5, 28.75, 10.0, 25.0]),
        (1, [50.0, 20.0, 80.0, 22.0, 70.0, 50.0]),
    ],
    "b.png": [(1, [12.0, 30.0, 40.0, 31.5, 42.0, 55.0, 20.0, 58.0, 9.0, 44.0])],
    "c.png": [
        (0, [60.0, 8.0, 90.0, 12.0, 85.0, 40.0, 62.0, 36.0]),
        (0, [5.0, 35.0, 25.0, 35.0, 25.0, 60.0, 5.0, 60.0]),
    ],
}


def mask_of(outline: list[float]) -> np.ndarray:
    """Pixels (HEIGHT, WIDTH) bool of an outline."""
    return coco.decode(coco.frPyObjects([outline], HEIGHT, WIDTH))[..., 0].astype(bool)


def pairs(outline: list[float]) -> list[list[float]]:
    return [list(point) for point in zip(outline[::2], outline[1::2], strict=True)]


def points(outline: list[float]) -> list[dict]:
    return [dict(x=x, y=y) for x, y in pairs(outline)]


def photo(path: Path) -> None:
    rng = np.random.default_rng(sum(path.name.encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(path)


def dump(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def labels(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


# ------------------------------------------------------------------------------------ with splits
def write_coco(root: Path) -> None:
    """Ids from 0 as texts, folders of Windows, and no area."""
    for split in ("train", "val"):
        images, annotations = [], []
        for name in (n for n, s in SPLITS.items() if s == split):
            photo(root / "images" / name)
            number = len(images)
            images.append(dict(id=number, file_name=f"C:\\data\\images\\{name}"))
            images[-1] |= dict(width=str(WIDTH), height=float(HEIGHT))
            for label, outline in OBJECTS[name]:
                annotations.append(dict(image_id=str(number), category_id=label))
                annotations[-1] |= dict(segmentation=[outline + outline[:2]], bbox=None)
        categories = [dict(id=i, name=n) for i, n in enumerate(CLASSES)]
        content = dict(images=images, annotations=annotations, categories=categories)
        dump(root / "annotations" / f"instances_{split}.json", content)


def write_yolo(root: Path) -> None:
    for name, split in SPLITS.items():
        photo(root / split / "images" / name)
        lines = [
            " ".join(
                [str(label)]
                + [str(v / (HEIGHT if i % 2 else WIDTH)) for i, v in enumerate(outline)]
            )
            for label, outline in OBJECTS[name]
        ]
        path = root / split / "labels" / name
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text(
        f"train: ../train/images\nval: ../val/images\nnc: 2\nnames: {json.dumps(CLASSES)}\n"
    )


def write_labelme(root: Path) -> None:
    for name, split in SPLITS.items():
        photo(root / split / name)
        shapes = []
        for number, (label, outline) in enumerate(OBJECTS[name]):
            shape = dict(label=CLASSES[label], group_id=None, shape_type="polygon")
            shape |= dict(points=pairs(outline))
            if number:  # the second object of a photo as a mask
                ys, xs = np.nonzero(mask_of(outline))
                part = mask_of(outline)[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
                _, png = cv2.imencode(".png", part.astype(np.uint8) * 255)
                corners = [[int(xs.min()), int(ys.min())], [int(xs.max()), int(ys.max())]]
                text = base64.b64encode(png.tobytes()).decode()
                shape |= dict(shape_type="mask", points=corners, mask=text)
            shapes.append(shape)
        content = dict(version="5.4.1", shapes=shapes, imagePath=f"..\\photos\\{name}")
        content |= dict(imageData=None, imageHeight=HEIGHT, imageWidth=WIDTH)
        dump((root / split / name).with_suffix(".json"), content)


def _via_regions(name: str) -> list[tuple[dict, dict]]:
    return [
        (
            dict(name="polygon", all_points_x=outline[::2], all_points_y=outline[1::2]),
            dict(kind=CLASSES[label], note=""),
        )
        for label, outline in OBJECTS[name]
    ]


def write_via(root: Path) -> None:
    for split in ("train", "val"):
        content = {}
        for name in (n for n, s in SPLITS.items() if s == split):
            photo(root / split / name)
            keys = ("shape_attributes", "region_attributes")
            regions = [dict(zip(keys, pair, strict=True)) for pair in _via_regions(name)]
            content[f"{name}123"] = dict(filename=name, size=123, regions=regions)
        dump(root / split / "via_region_data.json", content)


def write_via_csv(root: Path) -> None:
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        with open(root / split / "via.csv", "w", newline="") as file:
            rows = csv.writer(file)
            head = "filename,file_size,file_attributes,region_count,region_id"
            rows.writerow(f"{head},region_shape_attributes,region_attributes".split(","))
            for name in (n for n, s in SPLITS.items() if s == split):
                photo(root / split / name)
                for i, pair in enumerate(_via_regions(name)):
                    rows.writerow([name, 1, "{}", 1, i, *map(json.dumps, pair)])


def write_via_3(root: Path) -> None:
    for split in ("train", "val"):
        names = [n for n, s in SPLITS.items() if s == split]
        metadata = {}
        for view, name in enumerate(names, start=1):
            photo(root / split / name)
            for label, outline in OBJECTS[name]:
                key = f"{view}_{len(metadata)}"
                metadata[key] = dict(vid=str(view), xy=[7, *outline], av={"1": str(label)})
        options = {str(i): name for i, name in enumerate(CLASSES)}
        content = dict(
            project={}, config={}, metadata=metadata,
            attribute={"1": dict(aname="kind", type=4, options=options)},
            file={str(i): dict(fid=i, fname=n) for i, n in enumerate(names, start=1)},
            view={str(i): dict(fid_list=[i]) for i in range(1, len(names) + 1)},
        )  # fmt: skip
        dump(root / split / "via_project.json", content)


def write_cvat(root: Path) -> None:
    """The second object of a photo by the brush."""
    top = ElementTree.Element("annotations")
    listed = ElementTree.SubElement(top, "meta")
    for name in CLASSES:
        ElementTree.SubElement(ElementTree.SubElement(listed, "label"), "name").text = name
    for number, (name, split) in enumerate(SPLITS.items()):
        photo(root / "images" / name)
        size = dict(width=str(WIDTH), height=str(HEIGHT), subset=split)
        entry = ElementTree.SubElement(top, "image", id=str(number), name=name, **size)
        for index, (label, outline) in enumerate(OBJECTS[name]):
            if index:
                ys, xs = np.nonzero(mask_of(outline))
                part = mask_of(outline)[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
                edges = np.flatnonzero(np.diff(part.ravel(), prepend=False)).tolist()
                runs = np.diff([0, *edges, part.size]).tolist()
                box = dict(left=xs.min(), top=ys.min(), width=part.shape[1], height=part.shape[0])
                values = {key: str(value) for key, value in box.items()}
                rle = ", ".join(map(str, runs))
                ElementTree.SubElement(entry, "mask", label=CLASSES[label], rle=rle, **values)
            else:
                text = ";".join(f"{x:.2f},{y:.2f}" for x, y in pairs(outline))
                ElementTree.SubElement(entry, "polygon", label=CLASSES[label], points=text)
    ElementTree.ElementTree(top).write(root / "annotations.xml", encoding="utf-8")


def write_voc(root: Path) -> None:
    colors = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
    for name in SPLITS:
        photo(root / "JPEGImages" / name)
        numbers = np.zeros((HEIGHT, WIDTH), np.uint8)
        classes = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for i, (label, outline) in enumerate(OBJECTS[name], start=1):
            numbers[mask_of(outline)] = i
            classes[mask_of(outline)] = colors[label + 1]
        labels(root / "SegmentationObject" / name, numbers)
        labels(root / "SegmentationClass" / name, classes)
    lines = [f"{n}:{','.join(map(str, c))}::" for n, c in zip(["background", *CLASSES], colors)]  # noqa: B905
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(lines))
    for split in ("train", "val"):
        path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(Path(n).stem for n, s in SPLITS.items() if s == split))


def write_supervisely(root: Path) -> None:
    """The second object of a photo as a bitmap."""
    for name, split in SPLITS.items():
        photo(root / split / "img" / name)
        objects = []
        for index, (label, outline) in enumerate(OBJECTS[name]):
            entry = dict(classTitle=CLASSES[label], geometryType="polygon")
            entry |= dict(points=dict(exterior=pairs(outline), interior=[]))
            if index:
                ys, xs = np.nonzero(mask_of(outline))
                part = mask_of(outline)[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
                _, png = cv2.imencode(".png", part.astype(np.uint8) * 255)
                text = base64.b64encode(zlib.compress(png.tobytes())).decode()
                bitmap = dict(data=text, origin=[int(xs.min()), int(ys.min())])
                entry |= dict(geometryType="bitmap", bitmap=bitmap)
            objects.append(entry)
        content = dict(size=dict(height=HEIGHT, width=WIDTH), objects=objects, tags=[])
        dump(root / split / "ann" / f"{name}.json", content)
    dump(root / "meta.json", dict(classes=[dict(title=name, shape="any") for name in CLASSES]))


def write_png_per_object(root: Path) -> None:
    for name, split in SPLITS.items():
        place = root / split / Path(name).stem
        photo(place / "images" / name)
        for i, (_, outline) in enumerate(OBJECTS[name]):
            labels(place / "masks" / f"{i}.png", mask_of(outline).astype(np.uint8) * 255)


def write_png_index(root: Path) -> None:
    for name, split in SPLITS.items():
        photo(root / split / "PNGImages" / name)
        numbers = np.zeros((HEIGHT, WIDTH), np.uint8)
        for i, (_, outline) in enumerate(OBJECTS[name], start=1):
            numbers[mask_of(outline)] = i
        labels(root / split / "PedMasks" / f"{Path(name).stem}_mask.png", numbers)


def write_masks_beside(root: Path) -> None:
    """An index image of 16 bits next to each photo, as Cellpose has them."""
    for name, split in SPLITS.items():
        photo(root / split / name)
        numbers = np.zeros((HEIGHT, WIDTH), np.uint16)
        for i, (_, outline) in enumerate(OBJECTS[name], start=1):
            numbers[mask_of(outline)] = 300 * i
        labels(root / split / f"{Path(name).stem}_cp_masks.tif", numbers)


def write_masks_of_classes(root: Path) -> None:
    """A folder for each class, with an image of two values for each photo that has it."""
    for name, split in SPLITS.items():
        photo(root / split / "images" / name)
        for number in {label for label, _ in OBJECTS[name]}:
            pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
            for label, outline in OBJECTS[name]:
                pixels[mask_of(outline)] |= 255 * (label == number)
            labels(root / split / "masks" / CLASSES[number] / name, pixels)


def write_roboflow_masks(root: Path) -> None:
    """Masks of classes next to the photos, with a table of their values."""
    for name, split in SPLITS.items():
        place = root / dict(train="train", val="valid")[split]
        photo(place / name)
        numbers = np.zeros((HEIGHT, WIDTH), np.uint8)
        for label, outline in OBJECTS[name]:
            numbers[mask_of(outline)] = label + 1
        labels(place / f"{Path(name).stem}_mask.png", numbers)
        rows = [
            "Pixel Value, Class",
            "0, background",
            *(f"{i}, {n}" for i, n in enumerate(CLASSES, 1)),
        ]
        (place / "_classes.csv").write_text("\n".join(rows))
    roboflow_readme(root)


def roboflow_readme(root: Path) -> None:
    """The text that comes with every export, whose first line is empty."""
    (root / "README.roboflow.txt").write_text("\nleaves - v1 2023-05-01 9:12am\n=====\n")


def write_datumaro(root: Path) -> None:
    """A file for each subset; the second object of a photo by its pixels."""
    for split in ("train", "val"):
        items = []
        for name in (n for n, s in SPLITS.items() if s == split):
            photo(root / "images" / split / name)
            made = []
            for index, (label, outline) in enumerate(OBJECTS[name]):
                made.append(dict(id=index, type="polygon", label_id=label, points=outline, group=0))
                if index:
                    rle = coco.encode(np.asfortranarray(mask_of(outline), np.uint8))
                    made[-1] |= dict(type="mask", rle=dict(rle, counts=rle["counts"].decode()))
            image = dict(path=name, size=[HEIGHT, WIDTH])
            items.append(dict(id=Path(name).stem, annotations=made, image=image))
        known = dict(label=dict(labels=[dict(name=name, parent="") for name in CLASSES]))
        dump(root / "annotations" / f"{split}.json", dict(info={}, categories=known, items=items))


# --------------------------------------------------------------------------------- without splits
def brush(mask: np.ndarray) -> list[int]:
    """Label Studio's run lengths of a mask (H, W)."""
    flat = np.repeat((mask.astype(np.uint8) * 255).ravel(), 4)
    bits = f"{flat.size:032b}" + f"{7:05b}" + "".join(f"{s - 1:04b}" for s in (3, 4, 8, 16))
    starts = np.flatnonzero(np.diff(flat.astype(int), prepend=-1))
    for start, end in zip(starts, [*starts[1:], flat.size], strict=True):
        for place in range(start, end, 1 << 16):
            run = min(end - place, 1 << 16)
            bits += f"1{3:02b}{run - 1:016b}{flat[start]:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def write_label_studio(root: Path) -> None:
    """The second object of a photo by the brush."""
    tasks = []
    for name in SPLITS:
        photo(root / "photos" / name)
        result = []
        for index, (label, outline) in enumerate(OBJECTS[name]):
            kind = "brushlabels" if index else "polygonlabels"
            scaled = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in pairs(outline)]
            value = (
                dict(format="rle", rle=brush(mask_of(outline))) if index else dict(points=scaled)
            )
            value[kind] = [CLASSES[label]]
            result.append(dict(type=kind, value=value, original_width=WIDTH))
            result[-1]["original_height"] = HEIGHT
        tasks.append(dict(id=len(tasks), data=dict(image=f"/data/upload/3/{name}")))
        tasks[-1]["annotations"] = [dict(result=result, was_cancelled=False)]
    dump(root / "project.json", tasks)


def write_labelme_voc(root: Path) -> None:
    """What labelme's example labelme2voc.py makes: palettes of VOC, and names by line."""
    palette = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
    for name in SPLITS:
        photo(root / "JPEGImages" / name)
        for kind in ("Class", "Object"):
            numbers = np.zeros((HEIGHT, WIDTH), np.uint8)
            for i, (label, outline) in enumerate(OBJECTS[name]):
                numbers[mask_of(outline)] = (label if kind == "Class" else i) + 1
            image = Image.fromarray(numbers)
            image.putpalette(palette)
            path = root / f"Segmentation{kind}PNG" / name
            path.parent.mkdir(exist_ok=True)
            image.save(path)
    (root / "class_names.txt").write_text("\n".join(["_background_", *CLASSES]))


def write_labelbox(root: Path) -> None:
    rows = []
    for name, split in SPLITS.items():
        photo(root / "photos" / name)
        objects = [dict(name=CLASSES[i], polygon=points(outline)) for i, outline in OBJECTS[name]]
        rows.append(dict(data_row=dict(external_id=name, details=dict(data_split=split))))
        rows[-1]["projects"] = dict(x=dict(labels=[dict(annotations=dict(objects=objects))]))
    text = "\n".join(json.dumps(row) for row in rows)
    (root / "export.ndjson").write_text(text)


def write_vott(root: Path) -> None:
    assets = {}
    for name in SPLITS:
        photo(root / name)
        regions = [
            dict(type="POLYGON", tags=[CLASSES[i]], points=points(outline))
            for i, outline in OBJECTS[name]
        ]
        size = dict(width=WIDTH, height=HEIGHT)
        asset = dict(name=name, path=f"file:C:/Users/me/photos/{name}", size=size)
        assets[name] = dict(asset=asset, regions=regions)
    content = dict(name="x", tags=[dict(name=name) for name in CLASSES], assets=assets)
    dump(root / "x-export.json", content)
