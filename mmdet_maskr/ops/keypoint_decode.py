"""Keypoints from heatmaps: Detectron2's points, without enlarging the maps.

Detectron2 enlarges the K maps of a RoI to the RoI's own pixels with bicubic interpolation and takes
the largest pixel: 100 boxes of 600 x 600 with 17 keypoints make 600 million pixels, of which
1700 matter. Between four neighboring samples the enlarged map is one bicubic polynomial, so it
nowhere exceeds the largest of its 16 Bezier control points. So most such cells are out at once: no
pixel of theirs can beat the best pixel of the most promising cell. The others, mostly fewer than
ten of 3249, are computed, with the weights of ``F.interpolate`` itself. Where rounding could decide
between pixels, ``F.interpolate`` is asked for these, and for whole maps where cells are too many,
so that the points are Detectron2's pixel by pixel.

Symbols: N RoIs, K keypoints, S x S the heatmaps, M maps at a time, C cells; h x w the RoI's pixels.
A map's cells are numbered from 0 to S; cell j lies between samples j - 1 and j, and samples
beyond the border repeat it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops._checks import FLOAT_TYPES
from mmdet_maskr.ops._workers import for_each
from mmdet_maskr.ops.late_checks import read, require

PIECE_MAPS = 68  # that a thread takes at a time: they and their bounds stay in its cache
PIECE_MAPS_GPU = 4096
CHUNK_PIXELS = 2**18  # enlarged pixels that a thread holds at a time: 1 MiB
CHUNK_PIXELS_GPU = 2**23
SMALL_AREA = 3  # RoIs of up to so many pixels per sample are enlarged at once: that is faster
MANY_CELLS = 0.25  # of a map that may hold its largest pixel: with more it is enlarged as a whole
MANY_NEAR_CELLS = 8  # that do hold one within rounding of it: likewise
# Both in units of the largest magnitude in the map. An enlarged pixel is a sum over 4 x 4 samples,
# and the weights add up to 1.89 in magnitude: its rounding error is below 8 * 1.89 * 2**-24, here
# and in F.interpolate; where two pixels are compared, all four errors may add up, to 3.6e-6.
TIE = 4e-6
# Positions (up to S) are rounded in float32, by 2**-22 S. So a pixel on a sample may belong to the
# cell before it, and exceed the bound of its own by this times the steepest slope.
BOUND_SLACK = 3e-6  # times S


class _Axis(NamedTuple):
    """How pixels of R RoIs along one axis come from samples.

    first: (R, S + 2) first pixel of each cell, then the number of pixels.
    start: (R,) row of ``weights`` of each RoI's first pixel.
    weights: (pixels of all RoIs, 4) of the samples around a pixel's cell, zero beyond the border.
    most: pixels of a cell.
    """

    first: Tensor
    start: Tensor
    weights: Tensor
    most: int


def decode_heatmaps(logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The most likely point of each heatmap, as Detectron2's ``heatmaps_to_keypoints``.

    A RoI's maps are enlarged (bicubic) to ceil(h) x ceil(w) pixels, h and w being the sides of its
    box, at least 1. The largest pixel wins, of equal ones the first in row-major order; the point
    is its center.

    Args:
        logits: (N, K, S, S), of any floating type; computed in float32.
        boxes: (N, 4) xyxy in pixels of the network's input.

    Returns:
        (N, K, 2) x, y in the boxes' pixels, continuous (the first pixel covers 0 to 1);
        (N, K) enlarged logit at the point;
        (N, K) score: exp(logit), divided by its sum over the S x S map. All float32.

    Raises:
        UserError: shapes disagree, or a box is infinite or NaN.
    """
    _check(logits, boxes)
    count, keypoints = logits.shape[:2]
    # F.interpolate rounds differently for channels_last: points must not depend on that
    logits, boxes = logits.detach().float().contiguous(), boxes.detach().float()
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    pixels = sides.ceil()
    sizes = pixels.long().tolist()
    index = torch.zeros(count, keypoints, dtype=torch.int64, device=logits.device)
    peak = logits.new_zeros(count, keypoints)
    total = logits.new_zeros(count, keypoints)

    def decode(piece: Any) -> None:
        piece_sizes = [(sizes[i][1], sizes[i][0]) for i in piece]
        if logits.device.type != "cpu":  # one copy, which is not waited for
            piece = torch.tensor(piece).to(logits.device, non_blocking=True)
        maps = logits[piece]
        index[piece], best = _largest_pixels(maps, piece_sizes)
        peak[piece] = best
        total[piece] = (maps - best[..., None, None]).exp_().sum((2, 3))

    pieces = _pieces(sizes, keypoints, logits.device) if logits.numel() else []
    if logits.device.type == "cpu":
        for_each(decode, pieces)
    else:  # in this thread: others would not use the caller's CUDA stream, nor wait for it
        for piece in pieces:
            decode(piece)
    columns = pixels[:, :1].long()
    at = torch.stack([index % columns, index // columns], dim=2).float()
    points = (at + 0.5) * (sides / pixels)[:, None] + boxes[:, None, :2]
    return points, peak, 1 / total


def _check(logits: Tensor, boxes: Tensor) -> None:
    if logits.dim() != 4 or logits.shape[2] != logits.shape[3] or 0 in logits.shape[1:]:
        raise UserError(f"heatmap logits must be (N, K, S, S), not {tuple(logits.shape)}.")
    if logits.dtype not in FLOAT_TYPES:
        raise UserError(f"heatmap logits must be of a floating type, not {logits.dtype}.")
    if boxes.shape != (len(logits), 4):
        raise UserError(
            f"{len(logits)} RoIs need boxes ({len(logits)}, 4), not {tuple(boxes.shape)}."
        )
    if boxes.device != logits.device:
        raise UserError(f"boxes are on {boxes.device}, heatmap logits on {logits.device}.")
    boxes = boxes.float()
    finite = torch.isfinite(torch.cat([boxes, boxes[:, 2:] - boxes[:, :2]], dim=1)).all(1)

    def explain() -> None:
        i = int((~finite).int().argmax())
        raise UserError(
            f"box {i} of {len(boxes)} is {boxes[i].tolist()}: keypoints need a box with "
            "a positive finite size. NaN usually means that training has diverged."
        )

    require(finite.all(), explain)


def _pieces(sizes: list[list[int]], keypoints: int, device: torch.device) -> list[list[int]]:
    """RoIs to take at a time: of similar size, as what is computed at once is padded alike."""
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i][0] * sizes[i][1])
    maps = PIECE_MAPS if device.type == "cpu" else PIECE_MAPS_GPU
    step = max(1, maps // keypoints)
    return [order[i : i + step] for i in range(0, len(order), step)]


def _largest_pixels(maps: Tensor, sizes: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """The largest pixel of each enlarged map.

    Args:
        maps: (R, K, S, S).
        sizes: h, w of each RoI in whole pixels, the largest area first.

    Returns:
        (R, K) index of the pixel in row-major order; (R, K) its value.
    """
    index = torch.zeros(maps.shape[:2], dtype=torch.int64, device=maps.device)
    value = maps.new_zeros(maps.shape[:2])
    limit = SMALL_AREA * maps.shape[2] ** 2
    large = sum(h * w > limit for h, w in sizes)
    # a few maps at a time, so that memory does not grow with K
    whole: list[tuple[int, slice | Tensor]] = [
        (i, slice(begin, begin + step))
        for i, step in ((i, _maps_at_once(maps, sizes[i])) for i in range(large, len(sizes)))
        for begin in range(0, maps.shape[1], step)
    ]
    if large:
        index[:large], value[:large], found = _search(maps[:large], sizes[:large])
        for i in (~found).any(1).nonzero()[:, 0].tolist():
            missing = (~found[i]).nonzero()[:, 0].to(maps.device, non_blocking=True)
            whole += [(i, which) for which in missing.split(_maps_at_once(maps, sizes[i]))]
    for i, which in whole:
        enlarged = _interpolate(maps[i, which][None], *sizes[i])
        value[i, which], index[i, which] = enlarged[0].flatten(1).max(1)
    return index, value


def _maps_at_once(maps: Tensor, size: tuple[int, int]) -> int:
    return max(1, _chunk_pixels(maps) // (size[0] * size[1]))


def _interpolate(maps: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(maps, size=(height, width), mode="bicubic", align_corners=False)


def _chunk_pixels(maps: Tensor) -> int:
    return CHUNK_PIXELS if maps.device.type == "cpu" else CHUNK_PIXELS_GPU


def _search(maps: Tensor, sizes: list[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
    """As ``_largest_pixels``, through bounds.

    Returns:
        (R, K) index of the pixel; (R, K) its value; on the CPU (R, K) False where they were not
        found: the map is too flat, or has infinite values or NaN.
    """
    rois, keypoints, size = maps.shape[:3]
    rows = _axis([h for h, _ in sizes], size, maps.device)
    columns = _axis([w for _, w in sizes], size, maps.device)
    padded = F.pad(maps, (2, 2, 2, 2), mode="replicate").flatten(0, 1)
    bounds = _cell_bounds(padded)
    if min(min(pair) for pair in sizes) <= size:  # unless a map grows, cells may have no pixel
        empty_row, empty_column = (axis.first.diff() == 0 for axis in (rows, columns))
        empty = empty_row[:, :, None] | empty_column[:, None]
        bounds = bounds.masked_fill(empty.repeat_interleave(keypoints, 0), -torch.inf)
    bounds = bounds.flatten(1)
    magnitude = maps.flatten(0, 1).flatten(1).abs().amax(1)

    # the most promising cell says what the others have to beat
    every = torch.arange(len(padded), device=maps.device)
    cells = torch.stack([every, bounds.argmax(1)], dim=1)
    best = _maxima(padded, cells, rows, columns)
    possible = bounds >= (best - BOUND_SLACK * size * magnitude)[:, None]
    cells = _without_flat(possible, max(16, MANY_CELLS * bounds.shape[1])).nonzero()
    top = _maxima(padded, cells, rows, columns)
    best.scatter_reduce_(0, cells[:, 0], top, "amax")

    near_best = best - TIE * magnitude
    is_near = top >= near_best[cells[:, 0]]
    if maps.device.type == "cpu":
        possible = torch.zeros_like(possible)
        possible[cells[:, 0], cells[:, 1]] = is_near
        cells = _without_flat(possible, MANY_NEAR_CELLS).nonzero()
    else:  # the same pixels from all cells, whose number is known
        number = torch.zeros_like(every).scatter_add_(0, cells[:, 0], is_near.long())
        near_best = near_best.masked_fill(number > MANY_NEAR_CELLS, torch.inf)
    owners, pixels = [], []
    widths = columns.first[:, -1]
    for values, part, y, x in _enlarge(padded, cells, rows, columns):
        near = (values >= near_best[part[:, 0], None, None]).nonzero()
        which, row, column = near.unbind(1)
        owners.append(part[which, 0])
        pixels.append(y[which, row] * widths[owners[-1] // keypoints] + x[which, column])
    owner, pixel = torch.cat(owners), torch.cat(pixels)
    largest_index = max(h * w for h, w in sizes)
    index = torch.full_like(every, largest_index).scatter_reduce_(0, owner, pixel, "amin")
    last = torch.full_like(every, -1).scatter_reduce_(0, owner, pixel, "amax")
    found, tied = read(torch.stack([index == last, index < last]))
    for m in tied.nonzero()[:, 0].tolist():
        h, w = sizes[m // keypoints]
        near = pixel[owner == m].unique()
        if 4 * len(near) < w:  # else the whole map is hardly more work
            index[m], best[m] = _settle(maps[m // keypoints, m % keypoints], near, h, w)
            found[m] = True
    return tuple(t.view(rois, keypoints) for t in (index, best, found))


def _without_flat(possible: Tensor, most: float) -> Tensor:
    """(M, cells) ``possible``, and none in maps where more than ``most`` are."""
    return possible & (possible.sum(1, keepdim=True) <= most)


def _settle(heatmap: Tensor, pixels: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
    """The first largest of some pixels of a map enlarged to h x w, as ``F.interpolate`` rounds.

    It sums along x first, then along y, and an axis that keeps its length is left as it is. So the
    pixels are the same bit by bit if only the columns that they lie in are enlarged along y.

    Args:
        heatmap: (S, S).
        pixels: (P,) row-major indices, ascending.
        h: rows.
        w: columns.
    """
    row, column = pixels // w, pixels % w
    columns = _interpolate(heatmap[None, None], len(heatmap), w)[0, 0, :, column]
    values = _interpolate(columns.T[None, :, :, None], h, 1)[0, :, :, 0]
    value = values.gather(1, row[:, None])[:, 0]
    first = (value == value.max()).int().argmax()
    return pixels[first], value[first]


def _axis(lengths: list[int], size: int, device: torch.device) -> _Axis:
    """Pixels of RoIs that are ``lengths`` pixels long, and the cells they lie in; on the host.

    The weights are those of ``F.interpolate``, bit by bit: it enlarges four combs, which are one at
    every fourth sample. As a pixel depends on four samples in a row, each comb shows one weight.
    """
    combs = torch.eye(4).repeat(1, (size + 3) // 4)[:, :size].view(1, 4, 1, size)
    weights = {length: _interpolate(combs, 1, length)[0, :, 0] for length in set(lengths)}
    combed = torch.cat([weights[length] for length in lengths], dim=1)  # (4, pixels of all RoIs)
    length = torch.tensor(lengths)[:, None]
    # the center of pixel p is at (2p + 1) S / 2h - 1/2 samples: in integers, so nothing is rounded
    cell = torch.arange(-1, size + 1)
    first = -((size - (2 * cell + 1) * length) // (2 * size))
    first = first.clamp(min=0).minimum(length)
    first[:, -1:] = length
    start = length[:, 0].cumsum(0) - length[:, 0]
    of_pixel = cell[:-1].repeat(len(lengths)).repeat_interleave(first.diff().flatten())
    tap = (of_pixel[:, None] + torch.arange(-1, 3)) % 4
    most = int(first.diff().max())
    weights = combed.T.gather(1, tap)
    first, start, weights = (
        table.to(device, non_blocking=True) for table in (first, start, weights)
    )
    return _Axis(first, start, weights, most)


def _cell_bounds(padded: Tensor) -> Tensor:
    """Upper bounds of the enlarged map in each cell.

    Along one axis, bicubic interpolation (A = -3/4) between samples b and c of a, b, c, d is the
    cubic with the Bezier control points b, b + (c - a) / 4, c - (d - b) / 4, c. In two dimensions
    this is done along x, then along y, and a polynomial lies in the hull of its control points.

    Args:
        padded: (M, S + 4, S + 4) maps with the border repeated twice.

    Returns:
        (M, S + 1, S + 1).
    """
    center = padded[:, :, 1:-1]
    slope = padded[:, :, 2:] - padded[:, :, :-2]
    above, below = _largest_beside(center)
    rights = _largest_beside(torch.add(center, slope, alpha=0.25))
    lefts = _largest_beside(torch.add(center, slope, alpha=-0.25))
    # control points belong to the corner that they are next to; above and below a sample
    right_above, right_below = above.maximum(rights[0]), below.maximum(rights[1])
    left_above, left_below = above.maximum(lefts[0]), below.maximum(lefts[1])
    upper = right_below[:, :-1, :-1].maximum(left_below[:, :-1, 1:])
    lower = right_above[:, 1:, :-1].maximum(left_above[:, 1:, 1:])
    return upper.maximum(lower)


def _largest_beside(points: Tensor) -> tuple[Tensor, Tensor]:
    """The largest control point of each sample along y: of it and the one above, and below."""
    center = points[:, 1:-1]
    slope = points[:, 2:] - points[:, :-2]
    above = torch.add(center, slope, alpha=-0.25)
    below = torch.add(center, slope, alpha=0.25)
    return above.maximum(center), below.maximum(center)


def _maxima(padded: Tensor, cells: Tensor, rows: _Axis, columns: _Axis) -> Tensor:
    """(C,) largest pixel of each cell."""
    chunks = _enlarge(padded, cells, rows, columns)
    return torch.cat([values.amax((1, 2)) for values, *_ in chunks])


def _enlarge(
    padded: Tensor, cells: Tensor, rows: _Axis, columns: _Axis
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The pixels of cells, in chunks.

    Args:
        padded: (M, S + 4, S + 4) maps of R RoIs, with the border repeated twice.
        cells: (C, 2) map, and cell in row-major order; none without pixels.
        rows: of the R RoIs.
        columns: of the R RoIs.

    Yields:
        Pixels (c, y, x) of a chunk of cells; cells with fewer pixels than others repeat their last
        row or column. The chunk of ``cells``, and the rows (c, y) and columns (c, x) of the pixels.
    """
    side = padded.shape[1]
    keypoints = len(padded) // len(rows.first)
    window = torch.arange(4, device=padded.device)
    window = window[:, None] * side + window
    flat = padded.view(-1)
    most = rows.most * columns.most
    for part in cells.split(max(1, _chunk_pixels(padded) // max(1, most))):
        owner, cell = part.unbind(1)
        cell_y, cell_x = cell // (side - 3), cell % (side - 3)
        y, weights_y = _pixels_of(rows, owner // keypoints, cell_y)
        x, weights_x = _pixels_of(columns, owner // keypoints, cell_x)
        corner = (owner * side + cell_y) * side + cell_x
        samples = flat[corner[:, None, None] + window]
        yield _product(_product(weights_y, samples), weights_x.mT), part, y, x


def _pixels_of(axis: _Axis, roi: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """(C, p) pixels of cells along an axis, the last one repeated, and (C, p, 4) their weights."""
    first, stop = axis.first[roi, cell], axis.first[roi, cell + 1]
    longest = axis.most  # on a GPU that of all cells, as nobody waits for that of these
    if cell.device.type == "cpu":
        longest = int((stop - first).max()) if len(cell) else 1
    pixel = first[:, None] + torch.arange(longest, device=cell.device)
    pixel = pixel.minimum(stop[:, None] - 1)
    return pixel, axis.weights[axis.start[roi][:, None] + pixel]


def _product(left: Tensor, right: Tensor) -> Tensor:
    """(C, p, 4) times (C, 4, q), in float32 also where matmul is set to TF32 or autocast."""
    product = left[:, :, :1] * right[:, :1]
    for k in range(1, 4):
        product.addcmul_(left[:, :, k : k + 1], right[:, k : k + 1])
    return product
