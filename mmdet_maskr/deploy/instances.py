"""Turns the graph's outputs into masks and keypoints of the image, without PyTorch.

Masks equal those of :mod:`mmdet_maskr.ops.mask_paste`, except for pixels within rounding of the
threshold. Keypoints equal those of :mod:`mmdet_maskr.ops.keypoint_decode`.

Symbols: D detections, m x m a mask, K keypoints, S x S a heatmap, H x W the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mmdet_maskr.coco.form import as_text
from mmdet_maskr.mask_crops import Crop, axis_weights, box_axis, regions_of
from mmdet_maskr.run_lengths import rles

SMALL_AREA = 3  # boxes of up to so many pixels a sample are enlarged as a whole: that is faster
SLACK = 1e-5  # of a map's magnitude: rounding of its bounds


def crops(
    masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int], threshold: float
) -> Iterator[Crop]:
    """Yield each mask at image resolution, cropped; outside of the crop it is empty.

    Args:
        masks: (D, m, m) probabilities.
        boxes: (D, 4) xyxy in pixels of the image.
        size: (H, W).
        threshold: pixels with at least this probability are foreground.
    """
    regions = regions_of(boxes, *size).tolist()
    for mask, box, (x0, y0, x1, y1) in zip(masks, boxes, regions, strict=True):
        inside = np.zeros((0, 0), bool)
        if x0 < x1 and y0 < y1:
            rows = axis_weights(box_axis(y0, y1, box[1], box[3]), len(mask))
            columns = axis_weights(box_axis(x0, x1, box[0], box[2]), len(mask))
            inside = rows @ mask @ columns.T >= threshold
        yield Crop(inside, x0, y0)


def dense(crops: Sequence[Crop], size: tuple[int, int]) -> np.ndarray:
    """(D, H, W) bool."""
    pasted = np.zeros((len(crops), *size), bool)
    for mask, crop in zip(pasted, crops, strict=True):
        crop.paste(mask)
    return pasted


def encode(crops: Sequence[Crop], size: tuple[int, int]) -> list[dict]:
    """COCO RLEs of masks in an image of H x W, with ``counts`` as strings."""
    return [as_text(rle) for rle in rles([crop.changes(size[0]) for crop in crops], size)]


def decode_keypoints(
    heatmaps: np.ndarray, boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best point of each heatmap, after bicubic resizing to the pixels of its box.

    Args:
        heatmaps: (D, K, S, S) logits.
        boxes: (D, 4) xyxy in pixels of the graph's input.

    Returns:
        (D, K, 2) points in pixels of the boxes; (D, K) resized logit at the point; (D, K) its
        softmax over the map.
    """
    count, keypoints, size = heatmaps.shape[:3]
    points = np.zeros((count, keypoints, 2), np.float32)
    peaks = np.zeros((count, keypoints), np.float32)
    for i in range(count):
        sides = np.maximum(boxes[i, 2:] - boxes[i, :2], np.float32(1))
        width, height = np.ceil(sides).astype(int)
        rows, row_cells = _bicubic(height, size)
        columns, column_cells = _bicubic(width, size)
        if height * width <= SMALL_AREA * size * size:
            enlarged = rows @ heatmaps[i] @ columns.T
            best = enlarged.reshape(keypoints, -1).argmax(1)
            y, x = np.divmod(best, width)
            peaks[i] = enlarged[np.arange(keypoints), y, x]
        else:
            found = [
                _largest(heatmap, bounds, rows, row_cells, columns, column_cells)
                for heatmap, bounds in zip(heatmaps[i], _cell_bounds(heatmaps[i]), strict=True)
            ]
            y, x, peaks[i] = (np.array(values) for values in zip(*found, strict=True))
        at = np.stack([x, y], 1).astype(np.float32) + np.float32(0.5)
        points[i] = at * (sides / np.array([width, height], np.float32)) + boxes[i, :2]
    total = np.exp(heatmaps - peaks[..., None, None]).sum((2, 3))
    return points, peaks, 1 / total


def _bicubic(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (length, size) of an enlarged axis (A = -3/4, the border repeated), and its cells.

    Cell j of 0 to S lies between samples j - 1 and j; the cells (length,) of pixels ascend.
    """
    position = (np.arange(length, dtype=np.float64) + 0.5) * (size / length) - 0.5
    low = np.floor(position)
    part = position - low
    weights = np.zeros((length, size), np.float32)
    rows = np.arange(length)
    for tap in range(-1, 3):
        distance = np.abs(part - tap)
        near = (1.25 * distance - 2.25) * distance**2 + 1
        far = ((-0.75 * distance + 3.75) * distance - 6) * distance + 3
        value = np.where(distance <= 1, near, np.where(distance < 2, far, 0))
        np.add.at(weights, (rows, np.clip(low + tap, 0, size - 1).astype(int)), value)
    return weights, low.astype(int) + 1


def _cell_bounds(maps: np.ndarray) -> np.ndarray:
    """(K, S + 1, S + 1): what the enlarged maps (K, S, S) nowhere exceed in each cell.

    Between samples b and c of a, b, c, d, bicubic interpolation is the cubic with the Bezier
    control points b, b + (c - a) / 4, c - (d - b) / 4 and c, along one axis and then the other.
    """
    points = np.pad(maps, ((0, 0), (2, 2), (2, 2)), mode="edge")[None]
    for axis in (3, 2):
        points = np.moveaxis(points, axis, -1)
        a, b, c, d = (points[..., i : points.shape[-1] - 3 + i] for i in range(4))
        points = np.concatenate([b, b + (c - a) / 4, c - (d - b) / 4, c])
        points = np.moveaxis(points, -1, axis)
    return points.max(0)


def _largest(
    heatmap: np.ndarray,
    bounds: np.ndarray,
    rows: np.ndarray,
    row_cells: np.ndarray,
    columns: np.ndarray,
    column_cells: np.ndarray,
) -> tuple[int, int, float]:
    """Row, column and value of an enlarged map's largest pixel, of equal ones the first.

    No pixel outside of the cells whose bound reaches the best pixel of the most promising cell can
    be the largest, so only the rectangle around these cells is enlarged.
    """

    def window(cells: np.ndarray, first: np.integer, last: np.integer) -> slice:
        return slice(int(np.searchsorted(cells, first)), int(np.searchsorted(cells, last, "right")))

    i, j = np.unravel_index(bounds.argmax(), bounds.shape)
    promising = rows[window(row_cells, i, i)] @ heatmap @ columns[window(column_cells, j, j)].T
    if promising.size:
        reached = bounds >= promising.max() - SLACK * np.abs(heatmap).max()
        ys, xs = np.flatnonzero(reached.any(1)), np.flatnonzero(reached.any(0))
        y = window(row_cells, ys[0], ys[-1])
        x = window(column_cells, xs[0], xs[-1])
    else:
        y, x = slice(0, len(rows)), slice(0, len(columns))
    enlarged = rows[y] @ heatmap @ columns[x].T
    row, column = np.unravel_index(enlarged.argmax(), enlarged.shape)
    return y.start + row, x.start + column, enlarged[row, column]
