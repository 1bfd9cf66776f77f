"""How well objects that tiles cut are joined: with annotations for detections, or with a model's.

With annotations, the joining is measured and not a model: each tile "detects" what it shows of each
object, drawn as a mask head draws it at best.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pycocotools.mask
import torch

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.coco.detections import Detections
from mmdet_maskr.coco.form import as_text, to_corners, to_sides
from mmdet_maskr.coco.results import check_results, read_results
from mmdet_maskr.datasets.crop_annotations import cut_annotation
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation.cut_objects import CUT, PARTS, WHOLE, how_cut, returned
from mmdet_maskr.evaluation.ground_truth import GroundTruthFile
from mmdet_maskr.inference.tiles.grid import LEAST_TILE, OVERLAP, Tile, check_tiling
from mmdet_maskr.inference.tiles.seams import Seams
from mmdet_maskr.ops.mask_rle import encode_masks
from mmdet_maskr.progress import bar
from mmdet_maskr.structures.geometry_masks import GeometryMasks

GOOD, FOUND = 0.9, 0.5  # IoU of an object that came back as it is, and of one that came back
NAMES = {
    WHOLE: "no tile cuts",
    CUT: "cut, whole in another tile",
    PARTS: "whole in no tile",
}


def add_seams(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand seams."""
    parser = subparsers.add_parser(
        "seams",
        help="how many of the objects that tiles cut come back as one, and how good",
        description="Every tile detects what it shows of each annotated object: the mask that a "
        "head would draw at best, with the box around it, and with the visible share as score. "
        "These are joined as those of a model, and paired with the annotations, most similar "
        "masks first; what is left over and lies within an object is a duplicate. The row 'not in "
        "tiles' is the same with the image as one tile: what the drawing costs without a seam. "
        "With --detections, a model's are paired instead.",
        epilog="example: maskr benchmark seams data/shapes/annotations/instances_mosaic.json "
        "--tile 320",
    )
    parser.add_argument("ann_file", type=Path, help="COCO annotation file of large images")
    parser.add_argument(
        "--tile", type=int, required=True, nargs="+", help="sides of tiles, in pixels"
    )
    parser.add_argument("--overlap", type=float, default=OVERLAP, help="(%(default)s)")
    parser.add_argument(
        "--mask-size",
        type=int,
        default=28,
        help="side of a drawn mask in pixels; 0 for the annotated ones (%(default)s)",
    )
    parser.add_argument(
        "--box-error",
        type=float,
        default=0.0,
        help="standard deviation of each side of a box, as a share of its length (%(default)s)",
    )
    parser.add_argument(
        "--least", type=float, default=4.0, help="smaller parts are not seen, pixels (%(default)s)"
    )
    parser.add_argument(
        "--detections", type=Path, metavar="FILE", help="COCO results of a test with --tile"
    )
    parser.add_argument(
        "--score-thr", type=float, default=0.3, help="of --detections (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.set_defaults(run=run)


class Row(NamedTuple):
    """What came back of some objects.

    Attributes:
        case: which tiles.
        kind: of :data:`NAMES`.
        objects: their number.
        good: share with an IoU of :data:`GOOD`.
        found: share with one of :data:`FOUND`.
        duplicates: further detections, as a share of the objects.
    """

    case: str
    kind: str
    objects: int
    good: float
    found: float
    duplicates: float


def run(args: argparse.Namespace) -> None:
    """Print a row for each tile size and kind of object.

    Raises:
        UserError: options that are out of range, files that do not fit.
    """
    if args.mask_size < 0 or args.box_error < 0 or args.least < 0:
        raise UserError("--mask-size, --box-error and --least must be 0 or more.")
    truth = GroundTruthFile(str(args.ann_file))
    given = None if args.detections is None else _read(args.detections, truth, args)
    detector = _Annotated(args.mask_size, args.box_error, args.least)
    rows: list[Row] = []
    print(f"{'':22s}{'objects':>34s}{'IoU >= 0.9':>12s}{'IoU >= 0.5':>12s}{'duplicates':>12s}")
    for side in args.tile:
        tiling = check_tiling(side, args.overlap, None, LEAST_TILE)
        kinds: list[int] = []
        cases: dict[str, list[np.ndarray]] = {f"tiles of {side}": []}
        if given is None:
            cases["not in tiles"] = []
        with bar(f"Images in tiles of {side}", len(truth.imgs)) as advance:
            for image in truth.imgs.values():
                size = image["height"], image["width"]
                tiles = tiling.tiles(*size)
                objects = [a for a in truth.imgToAnns[image["id"]] if not a.get("iscrowd")]
                masks = [truth.annToRLE(one) for one in objects]
                kinds += [how_cut(mask, tiles) for mask in masks]
                found = [given(image["id"])] if given is not None else [
                    detector(objects, size, some) for some in (tiles, [Tile(0, 0, *size[::-1])])
                ]  # fmt: skip
                for pairs, detections in zip(cases.values(), found, strict=True):
                    pairs.append(_paired(objects, masks, detections))
                advance(1)
        for case, pairs in cases.items():
            rows += _rows(case, np.array(kinds), np.concatenate(pairs))
    if args.json is not None:
        write_whole(args.json, json.dumps([row._asdict() for row in rows], indent=2))


def _rows(case: str, kinds: np.ndarray, pairs: np.ndarray) -> Iterator[Row]:
    """A row for each kind of object, and for all that are cut; printed."""
    groups = [((kind,), name) for kind, name in NAMES.items()]
    for kind, name in [*groups, ((CUT, PARTS), "all that are cut")]:
        ious, more = pairs[np.isin(kinds, kind)].T
        if not len(ious):
            continue
        row = Row(
            case, name, len(ious), (ious >= GOOD).mean(), (ious >= FOUND).mean(),
            more.sum() / len(ious),
        )  # fmt: skip
        shares = "".join(f"{value:12.2%}" for value in row[3:])
        print(f"{case:22s}{row.objects:6d} {name:>27s}{shares}")
        yield row


def _paired(objects: Sequence[Mapping], masks: Sequence[dict], found: Detections) -> np.ndarray:
    """(G, 2) for each object its IoU, and how many duplicates there are."""
    pairs = np.zeros((len(objects), 2))
    categories = np.array([one["category_id"] for one in objects])
    labels = np.array(found.category_ids)
    assert found.masks is not None
    for category in np.unique(categories):
        places = np.flatnonzero(categories == category)
        of_class = [found.masks[i] for i in np.flatnonzero(labels == category)]
        pairs[places] = np.stack(returned([masks[i] for i in places.tolist()], of_class), 1)
    return pairs


def _read(
    file: Path, truth: GroundTruthFile, args: argparse.Namespace
) -> Callable[[Any], Detections]:
    """The detections of an image, by its id."""
    records = read_results(file)
    check_results(records, truth.imgs, truth.cats, file, args.ann_file)
    by_image: dict[Any, list[dict]] = {image: [] for image in truth.imgs}
    for record in records:
        if record["score"] >= args.score_thr and record.get("segmentation"):
            by_image[record["image_id"]].append(record)
    return lambda image: Detections.from_coco(by_image[image], "segm")


class _Annotated:
    """Detects what is annotated.

    Args:
        mask_size: m of the masks that are drawn; 0 for the annotated pixels.
        box_error: see the options.
        least: see the options.
    """

    def __init__(self, mask_size: int, box_error: float, least: float) -> None:
        self._mask_size, self._box_error, self._least = mask_size, box_error, least
        self._random = np.random.default_rng(0)

    def __call__(
        self, objects: Sequence[Mapping], size: tuple[int, int], tiles: list[Tile]
    ) -> Detections:
        """What is found on an image (height, width) in tiles; the labels are category ids."""
        seams = Seams(*size, tiles)
        boxes = to_corners([one["bbox"] for one in objects])
        for number, tile in enumerate(tiles):
            low, high = np.maximum(boxes[:, :2], tile[:2]), np.minimum(boxes[:, 2:], tile[2:])
            inside = np.flatnonzero((high - low).min(1) > 0)
            seams.add(number, self._on(tile, [objects[i] for i in inside.tolist()], size))
        found = seams.joined()
        return Detections(
            [None] * len(found["labels"]), found["labels"], np.array(found["scores"]),
            masks=found["masks"],
        )  # fmt: skip

    def _on(self, tile: Tile, objects: Sequence[Mapping], size: tuple[int, int]) -> dict[str, list]:
        """What a tile shows, as a model gives it."""
        height, width = tile.y1 - tile.y0, tile.x1 - tile.x0
        parts, shares = [], []
        for whole in objects:
            part = cut_annotation(whole, tile, size, min_visible=0)
            if part is not None and min(part["bbox"][2:]) >= self._least:
                parts.append(part)
                shares.append(part["area"] / whole["area"])
        masks = GeometryMasks([part["segmentation"] for part in parts], height, width)
        rles = masks.to_rles()
        boxes = to_corners(pycocotools.mask.toBbox(rles) if rles else [])
        if self._box_error:
            sides = np.tile(to_sides(boxes)[:, 2:], 2)
            boxes = boxes + self._random.normal(0, self._box_error, boxes.shape) * sides
            boxes = boxes.clip(0, [width, height, width, height])
        if self._mask_size and parts:
            corners = torch.from_numpy(boxes.astype(np.float32))
            drawn = masks.crop_and_resize(
                corners, (self._mask_size, self._mask_size), torch.arange(len(parts))
            ).masks
            probabilities = torch.from_numpy(np.asarray(drawn, np.float32))
            rles = encode_masks(probabilities, corners, height, width).rles
        return dict(
            labels=[part["category_id"] for part in parts],
            scores=shares,
            bboxes=boxes.tolist(),
            masks=[as_text(rle) for rle in rles],
        )
