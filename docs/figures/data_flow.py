"""Draw which key of a config builds which part, and what passes between the parts.

The types are read from a config, so the picture says what that config says.

Example:
    python docs/figures/data_flow.py      writes docs/pictures/data_flow.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from mmengine.config import Config

from mmdet_maskr.catalogue import config_path

OUT = Path(__file__).resolve().parent.parent / "pictures" / "data_flow.svg"
CONFIG = "maskr_keypoint_mask_r50_fpn_90k"
WIDTH, HEIGHT = 3.3, 0.94  # of a box, in units of the picture
LINE = "#333333"
DATA, MODEL, HEAD, RESULT = "#e8eef7", "#fdf3e1", "#fbe6dd", "#e6f3e8"


class Picture:
    """Boxes by the key of the config that builds them, and arrows between them."""

    def __init__(self, axes: Axes, cfg: Config) -> None:
        self.axes = axes
        self.cfg = cfg
        self.places: dict[str, tuple[float, float]] = {}

    def box(self, key: str, x: float, y: float, color: str, text: str | None = None) -> None:
        """A box about (x, y): the key, and below it the type there, or ``text``."""
        self.places[key] = x, y
        corner = x - WIDTH / 2, y - HEIGHT / 2
        style = "round,pad=0,rounding_size=0.1"
        self.axes.add_patch(
            FancyBboxPatch(corner, WIDTH, HEIGHT, style, facecolor=color, edgecolor="#555555")
        )
        self.axes.text(x, y + 0.2, key, ha="center", va="center", fontsize=8, family="monospace")
        below = self.type_at(key) if text is None else text
        self.axes.text(x, y - 0.2, below, ha="center", va="center", fontsize=8.5, weight="bold")

    def type_at(self, key: str) -> str:
        """The type that the config has at a key such as 'model.neck'; '...' stands for roi_head."""
        found = self.cfg
        for name in key.replace("...", "model.roi_head.").split("."):
            found = found[name]
        return found["type"]

    def arrow(self, start: str, end: str, text: str = "") -> None:
        """From box to box along a row or a column, with a note on what passes."""
        (x1, y1), (x2, y2) = self.places[start], self.places[end]
        if x1 == x2:
            self.line([(x1, y1 - HEIGHT / 2), (x2, y2 + HEIGHT / 2)])
            self.note(x1 + 0.08, (y1 + y2) / 2, text, ha="left", va="center")
        else:
            sign = 1 if x2 > x1 else -1
            self.line([(x1 + sign * WIDTH / 2, y1), (x2 - sign * WIDTH / 2, y2)])
            self.note((x1 + x2) / 2, y1 + 0.08, text, ha="center", va="bottom")

    def line(self, points: list[tuple[float, float]]) -> None:
        """A line through points, with an arrow's head at the last."""
        self.axes.plot(*zip(*points, strict=True), color=LINE, linewidth=1)
        head = dict(arrowstyle="-|>", color=LINE, shrinkA=0, shrinkB=0, linewidth=1)
        self.axes.annotate("", points[-1], points[-2], arrowprops=head)

    def note(self, x: float, y: float, text: str, **align) -> None:
        """Small text."""
        self.axes.text(x, y, text, fontsize=7.5, color=LINE, **align)


def draw(axes: Axes, cfg: Config) -> None:
    """The way from the annotation file to losses (training) and scores (testing)."""
    picture = Picture(axes, cfg)
    left, middle, right = 0.0, 4.6, 9.2
    columns = dict(bbox=left, mask=middle, keypoint=right)
    steps = cfg.train_dataloader.dataset.pipeline
    picture.box("train_dataloader.dataset", left, 9, DATA)
    picture.box("train_pipeline", middle, 9, DATA, f"{len(steps)} transforms")
    picture.box("model.data_preprocessor", right, 9, MODEL)
    picture.box("model.backbone", right, 7.3, MODEL, cfg.model.backbone.type + "-50")
    picture.box("model.neck", middle, 7.3, MODEL)
    picture.box("model.rpn_head", left, 7.3, MODEL)
    sampler = cfg.model.train_cfg.rcnn.sampler
    sampled = f"{sampler.num} RoIs, {sampler.pos_fraction:.0%} positive"
    picture.box("model.train_cfg.rcnn", left, 5.6, MODEL, sampled)
    for branch, x in columns.items():
        picture.box(f"...{branch}_roi_extractor", x, 3.4, HEAD)
        picture.box(f"...{branch}_head", x, 1.7, HEAD)
    picture.box("losses", left, -0.5, RESULT, "summed 1 : 1 : 1, and the RPN's")
    kept = f"{cfg.model.test_cfg.rcnn.max_per_img} best boxes after NMS"
    picture.box("model.test_cfg.rcnn", middle, -0.5, RESULT, kept)
    picture.box("test_evaluator", right, -0.5, RESULT)

    picture.arrow("train_dataloader.dataset", "train_pipeline", "file, polygons,\nkeypoints")
    picture.arrow("train_pipeline", "model.data_preprocessor", "pixels and all\nin step")
    picture.arrow("model.data_preprocessor", "model.backbone", "normalized, padded batch")
    picture.arrow("model.backbone", "model.neck", "C2 ... C5")
    picture.arrow("model.neck", "model.rpn_head", "P2 ... P6")
    picture.arrow("model.rpn_head", "model.train_cfg.rcnn", "proposals (testing: no sampling)")
    rois, heads = 4.5, 0.6  # heights of the lines that join the columns
    for x in columns.values():
        picture.line([(left, 5.6 - HEIGHT / 2), (left, rois), (x, rois), (x, 3.4 + HEIGHT / 2)])
    picture.line([(middle, 7.3 - HEIGHT / 2), (middle, rois)])
    picture.note(middle + 0.08, 5.7, "P2 ... P5: each RoI is pooled\nfrom the level that fits its "
                 "size", ha="left", va="center")  # fmt: skip
    for branch in columns:
        size = cfg.model.roi_head[f"{branch}_roi_extractor"].roi_layer.output_size
        whose = "" if branch == "bbox" else " of positives"
        text = f"{size} x {size}{whose}"
        picture.arrow(f"...{branch}_roi_extractor", f"...{branch}_head", text)
    for x in columns.values():
        picture.axes.plot([x, x], [1.7 - HEIGHT / 2, heads], color=LINE, linewidth=1)
    picture.line([(right, heads), (left, heads), (left, -0.5 + HEIGHT / 2)])
    picture.line([(right, heads), (middle, heads), (middle, -0.5 + HEIGHT / 2)])
    picture.note(left + 0.08, 0.3, "training", ha="left", va="center")
    picture.note(middle + 0.08, 0.3, "testing: boxes first, then masks and "
                 "keypoints on the kept boxes", ha="left", va="center")  # fmt: skip
    picture.arrow("model.test_cfg.rcnn", "test_evaluator", "RLEs, lists")
    axes.set(xlim=(left - 1.8, right + 1.8), ylim=(-1.1, 9.6))
    axes.axis("off")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT, help="the SVG (%(default)s)")
    args = parser.parse_args()
    figure = Figure(figsize=(10.5, 8.6), layout="constrained", facecolor="white")
    FigureCanvasSVG(figure)
    draw(figure.subplots(), Config.fromfile(config_path(CONFIG)))
    figure.savefig(args.out, metadata={"Date": None})
    print(args.out)


if __name__ == "__main__":
    main()
