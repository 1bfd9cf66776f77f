"""Small datasets in the formats and folders of the real ones, made of the synthetic shapes.

The shapes' six classes stand for the first six of the other dataset's; for COCO the figures, which
have keypoints, are the persons.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask
from mmdet.datasets import CocoDataset, CocoPanopticDataset, LVISV1Dataset, VOCDataset

from mmdet_maskr.coco.keypoint_meta import COCO_PERSON
from mmdet_maskr.datasets import shapes as shapes_meta
from mmdet_maskr.datasets.cityscapes import CATEGORIES, convert

SPLITS = ("train", "val")


def read(shapes: Path, split: str) -> dict:
    return json.loads((shapes / f"annotations/instances_{split}.json").read_text())


def by_image(content: dict) -> list[tuple[dict, list[dict]]]:
    """Each image with its annotations."""
    return [
        (image, [a for a in content["annotations"] if a["image_id"] == image["id"]])
        for image in content["images"]
    ]


def mask_of(annotation: dict, image: dict) -> np.ndarray:
    """(H, W) bool."""
    segmentation, size = annotation["segmentation"], (image["height"], image["width"])
    if isinstance(segmentation, list):
        rle = pycocotools.mask.merge(pycocotools.mask.frPyObjects(segmentation, *size))
    elif isinstance(segmentation["counts"], list):
        rle = pycocotools.mask.frPyObjects(segmentation, *size)
    else:
        rle = segmentation
    return pycocotools.mask.decode(rle).astype(bool)


def write_coco(root: Path, shapes: Path) -> Path:
    """COCO 2017: instances, keypoints of persons, panoptic segments, stuff and thing maps."""
    names = CocoDataset.METAINFO["classes"]
    (root / "annotations").mkdir(parents=True)
    for split in SPLITS:
        content = read(shapes, split)
        content["categories"] = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
        for annotation in content["annotations"]:
            figure_first = {1: 6, 6: 1}
            old = annotation["category_id"]
            annotation["category_id"] = figure_first.get(old, old)
        _write_keypoints(root / f"annotations/person_keypoints_{split}2017.json", content)
        (root / f"annotations/instances_{split}2017.json").write_text(json.dumps(content))
        (root / f"{split}2017").symlink_to(shapes / split)
        _write_panoptic(root, content, split)
    return root


def _write_keypoints(file: Path, content: dict) -> None:
    """Move keypoints to a file of their own; those that only a person has are not labeled."""
    names = COCO_PERSON["keypoints"]
    persons = [annotation for annotation in content["annotations"] if "keypoints" in annotation]
    padding = [0] * (3 * (len(names) - len(shapes_meta.KEYPOINTS)))
    moved = [{**person, "keypoints": person["keypoints"] + padding} for person in persons]
    for person in persons:
        del person["keypoints"], person["num_keypoints"]
    category = dict(id=1, name="person", keypoints=names)
    file.write_text(json.dumps({**content, "annotations": moved, "categories": [category]}))


def _write_panoptic(root: Path, content: dict, split: str) -> None:
    names = CocoPanopticDataset.METAINFO["classes"]
    background = len(names)  # id of the last category, which is stuff
    panoptic = root / f"annotations/panoptic_{split}2017"
    stuff = root / f"stuffthingmaps/{split}2017"
    panoptic.mkdir()
    stuff.mkdir(parents=True)
    annotations = []
    for image, objects in by_image(content):
        ids = np.full((image["height"], image["width"]), 1000)
        classes = np.full_like(ids, 182)
        segments = [dict(id=1000, category_id=background)]
        for k, annotation in enumerate(objects, 1001):
            ids[mask_of(annotation, image)] = k
            classes[mask_of(annotation, image)] = annotation["category_id"] - 1
            crowd = annotation["iscrowd"]
            segments.append(dict(id=k, category_id=annotation["category_id"], iscrowd=crowd))
        segments = [segment for segment in segments if (ids == segment["id"]).any()]
        for segment in segments:
            ys, xs = np.nonzero(ids == segment["id"])
            box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            segment.update(bbox=[int(v) for v in box], area=len(xs))
            segment.setdefault("iscrowd", 0)
        name = Path(image["file_name"]).with_suffix(".png").name
        rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
        cv2.imwrite(str(panoptic / name), rgb[..., ::-1])
        cv2.imwrite(str(stuff / name), classes.astype(np.uint8))
        annotations.append(dict(image_id=image["id"], file_name=name, segments_info=segments))
    categories = [dict(id=i, name=n, isthing=int(i <= 80)) for i, n in enumerate(names, 1)]
    written = dict(images=content["images"], annotations=annotations, categories=categories)
    (root / f"annotations/panoptic_{split}2017.json").write_text(json.dumps(written))


def write_lvis(root: Path, shapes: Path) -> Path:
    """LVIS v1: COCO's images by URL, no crowds, and the federated fields."""
    (root / "annotations").mkdir(parents=True)
    names = LVISV1Dataset.METAINFO["classes"]
    for split in SPLITS:
        content = read(shapes, split)
        (root / f"{split}2017").symlink_to(shapes / split)
        url = f"http://images.cocodataset.org/{split}2017/"
        for image, objects in by_image(content):
            seen = {a["category_id"] for a in objects}
            image["coco_url"] = url + image.pop("file_name")
            image["neg_category_ids"] = [i for i in range(1, 7) if i not in seen]
            image["not_exhaustive_category_ids"] = []
        annotations = [a for a in content["annotations"] if not a.pop("iscrowd")]
        counts = [len({a["image_id"] for a in annotations if a["category_id"] == i})
                  for i in range(1, len(names) + 1)]  # fmt: skip
        content["annotations"] = annotations
        content["categories"] = [
            dict(id=i, name=name, frequency="rcf"[i % 3], image_count=counts[i - 1])
            for i, name in enumerate(names, 1)
        ]
        (root / f"annotations/lvis_v1_{split}.json").write_text(json.dumps(content))
    return root


def write_cityscapes(root: Path, shapes: Path) -> Path:
    """Cityscapes: photos and label images by city, converted by our tool."""
    class_ids = list(CATEGORIES)
    for split in SPLITS:
        for folder in ("leftImg8bit", "gtFine"):
            (root / folder / split / "bonn").mkdir(parents=True)
        for image, objects in by_image(read(shapes, split)):
            stem = f"bonn_{image['id']:06d}_000019"
            photo = root / f"leftImg8bit/{split}/bonn/{stem}_leftImg8bit.png"
            photo.symlink_to(shapes / split / image["file_name"])
            ids = np.full((image["height"], image["width"]), 7, np.uint16)  # road
            for k, annotation in enumerate(objects):
                class_id = class_ids[annotation["category_id"] - 1]
                value = class_id if annotation["iscrowd"] else 1000 * class_id + k
                ids[mask_of(annotation, image)] = value
            cv2.imwrite(str(root / f"gtFine/{split}/bonn/{stem}_gtFine_instanceIds.png"), ids)
        convert(root, split)
    return root


def write_voc(root: Path, shapes: Path) -> Path:
    """PASCAL VOC 2007 and 2012: an XML file an image, coordinates from 1."""
    names = VOCDataset.METAINFO["classes"]
    for year, split, listed in ((2007, "train", "trainval"), (2012, "train", "trainval"),
                                (2007, "val", "test")):  # fmt: skip
        folder = root / f"VOC{year}"
        for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        stems = []
        for image, objects in by_image(read(shapes, split)):
            stem = f"{split}{image['id']:06d}"
            stems.append(stem)
            pixels = cv2.imread(str(shapes / split / image["file_name"]))
            cv2.imwrite(str(folder / f"JPEGImages/{stem}.jpg"), pixels)
            root_element = ET.Element("annotation")
            size = ET.SubElement(root_element, "size")
            for key in ("width", "height"):
                ET.SubElement(size, key).text = str(image[key])
            for annotation in objects:
                element = ET.SubElement(root_element, "object")
                ET.SubElement(element, "name").text = names[annotation["category_id"] - 1]
                ET.SubElement(element, "difficult").text = str(annotation["iscrowd"])
                box = ET.SubElement(element, "bndbox")
                x, y, w, h = annotation["bbox"]
                corners = zip(("xmin", "ymin", "xmax", "ymax"), (x, y, x + w, y + h), strict=True)
                for key, value in corners:
                    ET.SubElement(box, key).text = str(int(value) + 1)
            ET.ElementTree(root_element).write(folder / f"Annotations/{stem}.xml")
        (folder / f"ImageSets/Main/{listed}.txt").write_text("\n".join(stems))
    return root
