"""Ground truth next to predictions, from a COCO annotation file and a file of COCO results."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycocotools.mask
from pycocotools.coco import COCO

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.coco.check.values import is_number
from mmdet_maskr.coco.form import to_corners, to_pixels
from mmdet_maskr.coco.results import check_results, read_results
from mmdet_maskr.deploy.images import read_image
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation.ground_truth import GroundTruthFile
from mmdet_maskr.visualization.draw import shown
from mmdet_maskr.visualization.labels import FONT, Texts
from mmdet_maskr.visualization.panels import Panel, draw_panels, make_panel
from mmdet_maskr.visualization.skeleton import KEYPOINT_THR, Color, with_visibility

CAPTION = 28  # pixels above the pictures of a sheet
SHRINK = 0.65  # of pictures in a sheet; their labels are just readable then
GRAY = (128, 128, 128)  # of categories without a color
GAP = 8  # white pixels between pictures of a sheet


def draw_predictions(
    ann_file: str | Path,
    image_dir: str | Path,
    results_file: str | Path,
    out_dir: str | Path,
    palette: dict[int, Color],
    count: int = 12,
    score_thr: float = 0.5,
    keypoint_file: str | Path | None = None,
    metainfo: Mapping | None = None,
) -> list[Path]:
    """Draw images of a split, evenly spread over it, as pairs: ground truth left, prediction right.

    Keypoints are drawn where annotations or results have them. The third number of a predicted
    keypoint is read as its score.

    Args:
        ann_file: COCO annotation file.
        image_dir: folder of its images.
        results_file: COCO results with any of ``bbox``, ``segmentation`` and ``keypoints``, e.g.
            ``*.segm.json``.
        out_dir: folder for one PNG per image, named as the image, and all of them in sheet.png.
        palette: RGB color of each category id.
        count: how many images.
        score_thr: predictions below this score are left out.
        keypoint_file: COCO results with ``keypoints`` of detections in ``results_file``, e.g.
            ``*.keypoints.json``, where they are not in ``results_file`` itself.
        metainfo: of the dataset, with names, swaps and skeleton of the keypoints; without it,
            keypoints are drawn without limbs.

    Returns:
        The paths of the pictures, sheet.png last.

    Raises:
        UserError: a file that is none of its kind, or of other images; an image that cannot be
            read, or of another size than the annotation file says; keypoints of no detection in
            ``results_file``; another number of keypoints than in ``metainfo``.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its timings
        truth = GroundTruthFile(str(ann_file))
    results = read_results(results_file)
    if keypoint_file is not None:
        _add_keypoints(results, keypoint_file, results_file)
    check_results(results, truth.imgs, truth.cats, results_file, ann_file)
    with_masks = any(entry.get("segmentation") for entry in results)
    found: dict[Any, list[dict]] = defaultdict(list)
    for entry in results:
        if entry["score"] >= score_thr:
            found[entry["image_id"]].append(entry)
    names = [category.get("name", str(i)) for i, category in truth.cats.items()]
    colors = [palette.get(category, GRAY) for category in truth.cats]
    meta = {**(metainfo or {}), "classes": names, "palette": colors}
    image_ids = sorted(truth.imgs, key=lambda name: (isinstance(name, str), name))
    chosen = [image_ids[i] for i in np.linspace(0, len(image_ids) - 1, count).round().astype(int)]
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    paths, pairs = [], []
    for image_id in dict.fromkeys(chosen):
        file = Path(image_dir) / truth.imgs[image_id]["file_name"]
        image = shown(read_image(file))
        size = truth.imgs[image_id]["height"], truth.imgs[image_id]["width"]
        if image.shape[:2] != size:
            raise UserError(
                f"{ann_file}: image {image_id} has height and width {size}, and {file} "
                f"{image.shape[:2]}."
            )
        panels = panels_of(truth, image_id, found[image_id], meta, with_masks)
        pairs.append(draw_panels(image, panels, meta))
        paths.append(out_dir / f"{file.stem}.png")
        write_picture(paths[-1], pairs[-1])
    paths.append(out_dir / "sheet.png")
    write_picture(paths[-1], contact_sheet(pairs, 2, "ground truth next to prediction"))
    return paths


def _add_keypoints(results: list[dict], keypoint_file: str | Path, results_file: object) -> None:
    """Put keypoints into the results of the same image, category and score, in the files' order."""
    waiting: dict[tuple, deque] = defaultdict(deque)
    for entry in results:
        waiting[entry["image_id"], entry["category_id"], entry["score"]].append(entry)
    for entry in read_results(keypoint_file):
        key = entry["image_id"], entry["category_id"], entry["score"]
        if not waiting[key]:
            raise UserError(
                f"{keypoint_file} has keypoints of a detection that is not in {results_file} "
                f"(image {key[0]}, category {key[1]}, score {key[2]}). Are they from the "
                "same test run?"
            )
        waiting[key].popleft()["keypoints"] = entry.get("keypoints")


def panels_of(
    truth: COCO, image_id: Any, results: list[dict], meta: Mapping, with_masks: bool = True
) -> list[Panel]:
    """Ground truth and results of an image, to be drawn next to each other.

    Args:
        truth: the annotation file.
        image_id: of the image.
        results: COCO's, of this image.
        meta: with ``classes`` in the order of the file's categories, and perhaps ``palette``.
        with_masks: whether the results have masks.
    """
    left = _panel("ground truth", truth, truth.imgToAnns[image_id], meta, True)
    return [left, _panel("prediction", truth, results, meta, with_masks, left)]


def _panel(
    title: str,
    coco: COCO,
    annotations: list[dict],
    meta: Mapping,
    with_masks: bool,
    next_to: Panel | None = None,
) -> Panel:
    place = {category: label for label, category in enumerate(coco.cats)}
    boxes = to_corners([_box(coco, ann) for ann in annotations])
    masks = None
    if with_masks:
        masks = [pycocotools.mask.decode(_rle(coco, ann)) for ann in annotations]
    keypoints = _stack_keypoints(annotations)
    if annotations:  # far outside there is nothing to see, and cv2 takes no more
        info = coco.imgs[annotations[0]["image_id"]]
        side = max(info["height"], info["width"])
        boxes = np.clip(boxes, -side, 2 * side)
        if keypoints is not None:
            keypoints[..., :2] = np.clip(keypoints[..., :2], -side, 2 * side)
    scored = bool(annotations) and "score" in annotations[0]
    panel = make_panel(
        title,
        boxes,
        [place[ann["category_id"]] for ann in annotations],
        meta,
        [ann["score"] for ann in annotations] if scored else None,
        masks,
        keypoints,
        next_to,
    )
    if not scored:
        crowds = [bool(ann.get("iscrowd")) for ann in annotations]
        full = ["crowd" if c else t for c, t in zip(crowds, panel.texts.full, strict=True)]
        panel.texts = Texts(full, full, panel.texts.room)
    return panel


def _rle(coco: COCO, annotation: dict) -> dict:
    """The mask of an annotation or result; an empty one where it has none."""
    image, mask = coco.imgs[annotation["image_id"]], annotation.get("segmentation")
    if isinstance(mask, list):
        mask = [polygon for polygon in mask if len(polygon) >= 6 and len(polygon) % 2 == 0]
    if not mask:
        empty = np.zeros((image["height"], image["width"]), np.uint8, order="F")
        return pycocotools.mask.encode(empty)
    return coco.annToRLE({**annotation, "segmentation": mask})


def _box(coco: COCO, annotation: dict) -> list[float]:
    """x, y, width, height: of the box, else around mask or keypoints."""
    if annotation.get("bbox"):
        return annotation["bbox"]
    if annotation.get("segmentation") or not annotation.get("keypoints"):
        return pycocotools.mask.toBbox(_rle(coco, annotation)).tolist()
    points = np.reshape(annotation["keypoints"], (-1, 3))[:, :2]
    return [*points.min(0), *np.ptp(points, 0)]


def _stack_keypoints(annotations: list[dict]) -> np.ndarray | None:
    """(N, K, 3) x, y, visibility, absent where an annotation has none; None where none has any."""
    lists = [ann["keypoints"] for ann in annotations if ann.get("keypoints")]
    if not lists:
        return None
    length = len(lists[0]) if isinstance(lists[0], list) else 0
    for ann in annotations:
        own = ann.get("keypoints") or lists[0]
        whole = isinstance(own, list) and len(own) == length and length % 3 == 0
        if not whole or not all(map(is_number, own)):
            raise UserError(
                f"image {ann['image_id']}: the keypoints of annotation {ann.get('id')} must "
                "be a list of three numbers each, with the same length for all objects."
            )
    keypoints = np.zeros((len(annotations), len(lists[0]) // 3, 3))
    for row, ann in zip(keypoints, annotations, strict=True):
        if ann.get("keypoints"):
            row[:] = to_pixels(np.reshape(ann["keypoints"], (-1, 3)))
            if "score" in ann:
                row[:] = with_visibility(row[:, :2], row[:, 2], KEYPOINT_THR)
    return keypoints


def contact_sheet(pictures: list[np.ndarray], columns: int, text: str) -> np.ndarray:
    """Pictures (H, W, 3) in rows, shrunk, on white, with a caption."""
    sizes = [(round(SHRINK * p.shape[1]), round(SHRINK * p.shape[0])) for p in pictures]
    small = [
        cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        for picture, size in zip(pictures, sizes, strict=True)
    ]
    rows = [small[i : i + columns] for i in range(0, len(small), columns)]
    tops = CAPTION + np.cumsum([0] + [max(p.shape[0] for p in row) + GAP for row in rows])
    width = max(p.shape[1] for p in small) + 2 * GAP
    needed = cv2.getTextSize(text, FONT, 0.5, 1)[0][0] + 2 * GAP
    sheet = np.full((tops[-1], max(columns * width, needed), 3), 255, np.uint8)
    cv2.putText(sheet, text, (GAP, CAPTION - GAP), FONT, 0.5, (60, 60, 60), 1, cv2.LINE_AA)
    for y, row in zip(tops, rows, strict=False):
        for x, picture in zip(range(0, columns * width, width), row, strict=False):
            sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return sheet


def write_picture(path: Path, rgb: np.ndarray) -> None:
    """Write an RGB picture (H, W, 3), whole or not at all.

    Raises:
        UserError: it cannot be written there.
    """
    content = cv2.imencode(path.suffix, np.ascontiguousarray(rgb[..., ::-1]))[1]
    try:
        write_whole(path, content.tobytes())
    except OSError as error:
        raise UserError(f"the picture {path} could not be written: {error.strerror}.") from error
