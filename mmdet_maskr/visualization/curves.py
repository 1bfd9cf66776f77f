"""Loss and AP over a training run, read from what the Runner logged and drawn as one picture."""

from __future__ import annotations

import json
from pathlib import Path

from mmdet_maskr.errors import UserError

LOSS_NAMES = {
    "loss": "total",
    "loss_rpn_cls": "RPN objectness",
    "loss_rpn_bbox": "RPN box",
    "loss_cls": "class",
    "loss_bbox": "box",
    "loss_mask": "mask",
    "loss_keypoint": "keypoint",
}
AP_NAMES = {
    "coco/bbox_mAP": "box AP",
    "coco/segm_mAP": "mask AP",
    "coco/keypoints_mAP": "keypoint AP",
}

Series = dict[str, list[tuple[int, float]]]


def read_scalars(work_dir: str | Path) -> tuple[Series, Series]:
    """Read the losses and APs of a run, over all its sessions if it was resumed.

    Args:
        work_dir: work dir of the run, with ``TIMESTAMP/vis_data/scalars.json`` in it.

    Returns:
        Losses by name as (iteration, value), and APs by name as (epoch, value); a later session
        replaces what an earlier one logged for the same step.

    Raises:
        UserError: nothing was logged there.
    """
    files = sorted(Path(work_dir).glob("*/vis_data/scalars.json"))
    losses: dict[str, dict[int, float]] = {name: {} for name in LOSS_NAMES}
    aps: dict[str, dict[int, float]] = {name: {} for name in AP_NAMES}
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of a session that was killed while it wrote
            for table in (losses, aps):
                for name in table.keys() & entry.keys():
                    table[name][int(entry["step"])] = float(entry[name])
    if not losses["loss"]:
        raise UserError(f"no losses were logged in {work_dir}: is it the work dir of a training?")
    return _in_order(losses), _in_order(aps)


def _in_order(table: dict[str, dict[int, float]]) -> dict[str, list[tuple[int, float]]]:
    return {name: sorted(values.items()) for name, values in table.items() if values}


def plot_curves(work_dir: str | Path, out_file: str | Path) -> Path:
    """Draw losses over iterations beside APs over epochs; returns the path of the PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    losses, aps = read_scalars(work_dir)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    loss_axes, ap_axes = figure.subplots(1, 2)
    for name, points in losses.items():
        width = 2.4 if name == "loss" else 1.2
        loss_axes.plot(*zip(*points, strict=True), label=LOSS_NAMES[name], linewidth=width)
    loss_axes.set(xlabel="iteration", ylabel="loss", title="Training loss", ylim=(0, None))
    loss_axes.legend()
    for name, points in aps.items():
        label = f"{AP_NAMES[name]}: {points[-1][1]:.3f}"
        ap_axes.plot(*zip(*points, strict=True), "o-", label=label)
    ap_axes.set(xlabel="epoch", ylabel="COCO AP (IoU or OKS .50:.95)", title="AP on the val split")
    ap_axes.set_ylim(0, 1)
    ap_axes.xaxis.get_major_locator().set_params(integer=True)
    if aps:
        ap_axes.legend()
    for axes in (loss_axes, ap_axes):
        axes.grid(alpha=0.3)
    out_file = Path(out_file)
    out_file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out_file, dpi=110)
    return out_file
