"""Draw where RoIAlign, RoIPool and RoIWarp look on a feature map, as the ops themselves say it.

Each op is called on maps whose values give it away: a map that is 1 in one pixel and 0 elsewhere
tells which bins read this pixel; maps that hold their own coordinates tell, interpolated, where a
sample lies.

Example:
    python docs/figures/roi_layers.py      writes docs/pictures/roi_layers.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from mmdet_maskr.ops.roi_align import roi_align
from mmdet_maskr.ops.roi_pool import roi_pool
from mmdet_maskr.ops.roi_warp import roi_warp

OUT = Path(__file__).resolve().parent.parent / "pictures" / "roi_layers.svg"
STRIDE = 16  # pixels of the image per pixel of the map
HEIGHT, WIDTH = 7, 9  # of the map
BOX = (20.8, 24.0, 110.4, 84.8)  # x1, y1, x2, y2 in pixels of the image
BINS = 2
SAMPLES = 2  # per bin and axis
SHOWN = (0, 1)  # the bin, row and column, whose pixels are shaded
TRUE, USED, POINT, READ = "#222222", "#1f6fb4", "#d1603d", "#1f6fb4"


def rois() -> Tensor:
    """(1, 5) the RoI of the picture."""
    return torch.tensor([[0, *BOX]])


def shares(layer: str) -> Tensor:
    """(BINS, BINS, HEIGHT, WIDTH): what part each pixel of the map has in each bin.

    For RoIPool, which takes the maximum of a bin, 1 for each pixel that it compares.
    """
    maps = torch.eye(HEIGHT * WIDTH).view(1, -1, HEIGHT, WIDTH)
    if layer == "RoIPool":
        pooled = roi_pool(maps, rois(), BINS, 1 / STRIDE)
    elif layer == "RoIWarp":
        pooled = roi_warp(maps, rois(), BINS, 1 / STRIDE, sampling_ratio=SAMPLES)
    else:
        pooled = roi_align(maps, rois(), BINS, 1 / STRIDE, SAMPLES)
    return pooled[0].permute(1, 2, 0).view(BINS, BINS, HEIGHT, WIDTH)


def sample_points(layer: str) -> Tensor:
    """(n, n, 2) x, y of the samples in pixels of the map, n = BINS * SAMPLES along each axis.

    As many bins as there are samples, of one sample each, lie where the samples of BINS bins do.
    """
    centers = [torch.arange(n) + 0.5 for n in (HEIGHT, WIDTH)]
    y, x = torch.meshgrid(*centers, indexing="ij")
    maps, n = torch.stack([x, y])[None], BINS * SAMPLES
    if layer == "RoIWarp":
        points = roi_warp(maps, rois(), n, 1 / STRIDE, sampling_ratio=1)
    else:
        points = roi_align(maps, rois(), n, 1 / STRIDE, 1)
    return points[0].permute(1, 2, 0)


def used_box(layer: str) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 in pixels of the map of the box that the layer divides into bins."""
    if layer == "RoIPool":
        read = shares(layer).sum((0, 1)).nonzero()
        (top, left), (bottom, right) = read.amin(0).tolist(), (read.amax(0) + 1).tolist()
        return left, top, right, bottom
    points = sample_points(layer)
    first, last, n = points[0, 0], points[-1, -1], len(points)
    half = (last - first) / (n - 1) / 2  # samples stand in the middle of their part of a bin
    return (*(first - half).tolist(), *(last + half).tolist())


def draw_layer(axes: Axes, layer: str) -> None:
    """One panel: the map's pixels, the RoI, the box and bins that are used, what a bin reads."""
    share = shares(layer)[SHOWN]
    for y, x in share.nonzero().tolist():
        alpha = 0.25 if layer == "RoIPool" else 0.1 + 0.6 * float(share[y, x] / share.max())
        axes.add_patch(Rectangle((x, y), 1, 1, color=READ, alpha=alpha, linewidth=0))
    axes.set_xticks(range(WIDTH + 1), [])
    axes.set_yticks(range(HEIGHT + 1), [])
    axes.grid(color="#bbbbbb", linewidth=0.6)
    axes.tick_params(length=0)
    left, top, right, bottom = used_box(layer)
    width, height = right - left, bottom - top
    axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=USED, linewidth=1.8))
    for part in range(1, BINS):
        # RoIPool's bins overlap by a pixel where the box cannot be divided evenly
        x, y = left + width * part / BINS, top + height * part / BINS
        axes.plot([x, x], [top, bottom], color=USED, linewidth=1)
        axes.plot([left, right], [y, y], color=USED, linewidth=1)
    x1, y1, x2, y2 = (value / STRIDE for value in BOX)
    axes.add_patch(
        Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=TRUE, linestyle="--")
    )
    if layer == "RoIPool":
        what = "the maximum of the shaded pixels"
    else:
        points = sample_points(layer).flatten(0, 1)
        axes.plot(points[:, 0], points[:, 1], ".", color=POINT, markersize=7)
        what = "shaded: the pixels' part in one bin"
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0), aspect="equal")
    axes.set_title(layer, fontweight="bold")
    axes.set_xlabel(f"{what}\n{shift_text(layer)}", fontsize="small")


def shift_text(layer: str) -> str:
    """How far the corners of the used box are from the RoI's, in pixels of the image."""
    pairs = zip(used_box(layer), BOX, strict=True)
    shift = max(abs(used * STRIDE - true) for used, true in pairs)
    if shift < 0.01:
        return "the box is the RoI, to the last digit"
    return f"the box is up to {shift:.1f} pixels of the image off"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT, help="the SVG (%(default)s)")
    args = parser.parse_args()
    figure = Figure(figsize=(11, 3.9), layout="constrained", facecolor="white")
    FigureCanvasSVG(figure)
    panels = figure.subplots(1, 3)
    for axes, layer in zip(panels, ("RoIAlign", "RoIPool", "RoIWarp"), strict=True):
        draw_layer(axes, layer)
    legend = [
        panels[0].plot([], [], color=TRUE, linestyle="--", label="the RoI")[0],
        panels[0].plot([], [], color=USED, label="box and bins that the layer uses")[0],
        panels[0].plot([], [], ".", color=POINT, markersize=7, label="bilinear samples")[0],
    ]
    figure.legend(handles=legend, loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(args.out, metadata={"Date": None})
    print(args.out)


if __name__ == "__main__":
    main()
