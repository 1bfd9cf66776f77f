"""Ground truth beside predictions, from a COCO annotation file and a file of COCO results."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
from pycocotools.coco import COCO

from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.draw import FONT, Colour, draw_instances, enlarge

SHORT_SIDE = 480
CAPTION = 28  # pixels above the pictures of a sheet
GAP = 8  # white pixels between ground truth and prediction


def draw_predictions(
    ann_file: str | Path,
    image_dir: str | Path,
    results_file: str | Path,
    out_dir: str | Path,
    palette: dict[int, Colour],
    count: int = 12,
    score_thr: float = 0.5,
) -> list[Path]:
    """Draw images of a split, evenly spread over it, as pairs: ground truth left, prediction right.

    Args:
        ann_file: COCO annotation file.
        image_dir: folder of its images.
        results_file: COCO results with ``bbox`` and ``segmentation``, e.g. ``*.segm.json``.
        out_dir: folder for one PNG per image, named as the image, and all of them in sheet.png.
        palette: RGB colour of each category id.
        count: how many images.
        score_thr: predictions below this score are left out.

    Returns:
        The paths of the pictures, sheet.png last.

    Raises:
        UserError: an image cannot be read.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its timings
        truth = COCO(str(ann_file))
        results = json.loads(Path(results_file).read_text(encoding="utf-8"))
        found = truth.loadRes(results) if results else COCO()  # loadRes fails on an empty list
    image_ids = sorted(truth.imgs)
    chosen = [image_ids[i] for i in np.linspace(0, len(image_ids) - 1, count).round().astype(int)]
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    paths, pairs = [], []
    for image_id in dict.fromkeys(chosen):
        file = Path(image_dir) / truth.imgs[image_id]["file_name"]
        image = cv2.imread(str(file))
        if image is None:
            raise UserError(f"the image {file} cannot be read.")
        image = image[..., ::-1]
        sides = [
            _draw_annotations(image, truth, truth.imgToAnns[image_id], palette),
            _draw_annotations(
                image,
                truth,
                [ann for ann in found.imgToAnns.get(image_id, ()) if ann["score"] >= score_thr],
                palette,
            ),
        ]
        gap = np.full((sides[0].shape[0], GAP, 3), 255, np.uint8)
        pairs.append(np.hstack([sides[0], gap, sides[1]]))
        paths.append(out_dir / f"{file.stem}.png")
        _write(paths[-1], pairs[-1])
    paths.append(out_dir / "sheet.png")
    _write(paths[-1], _contact_sheet(pairs, columns=2))
    return paths


def _draw_annotations(
    image: np.ndarray, coco: COCO, annotations: list[dict], palette: dict[int, Colour]
) -> np.ndarray:
    boxes = np.array([ann["bbox"] for ann in annotations], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = [coco.annToMask(ann) for ann in annotations]
    image, boxes, masks = enlarge(image, boxes, masks, SHORT_SIDE)
    texts = []
    for ann in annotations:
        text = "crowd" if ann.get("iscrowd") and "score" not in ann else ""
        text = text or coco.cats[ann["category_id"]]["name"]
        texts.append(f"{text} {ann['score']:.2f}" if "score" in ann else text)
    colours = [palette[ann["category_id"]] for ann in annotations]
    return draw_instances(image, boxes, masks, texts, colours)


def _contact_sheet(pictures: list[np.ndarray], columns: int) -> np.ndarray:
    """Pictures in rows of ``columns``, each shrunk to half its size, on white, with a caption."""
    small = [cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for p in pictures]
    height = max(p.shape[0] for p in small) + GAP
    width = max(p.shape[1] for p in small) + 2 * GAP
    rows = -(-len(small) // columns)
    sheet = np.full((CAPTION + rows * height, columns * width, 3), 255, np.uint8)
    text = "left: ground truth, right: prediction"
    cv2.putText(sheet, text, (GAP, CAPTION - GAP), FONT, 0.5, (60, 60, 60), 1, cv2.LINE_AA)
    for i, picture in enumerate(small):
        y, x = CAPTION + i // columns * height, i % columns * width
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return sheet


def _write(path: Path, rgb: np.ndarray) -> None:
    """Write a picture under another name first, so that an interrupted call leaves no half."""
    partial = path.with_suffix(".partial.png")
    if not cv2.imwrite(str(partial), np.ascontiguousarray(rgb[..., ::-1])):
        raise UserError(f"the picture {path} could not be written.")
    partial.replace(path)
