"""A cost model, on paper, of training Mask R-CNN on 1 to 512 GPUs: table and figure.

Nothing is measured here but the number of parameters, which is counted from the config. The time of
a step on one node is what Detectron2's model zoo has published; links are parameters.

    S = 4 bytes x trainable parameters             gradient of a step
    r = 2 (n - 1) / n x S / B + k x 2 (n - 1) a    ring all-reduce of n GPUs in k buckets
    e = max(last bucket's share of r, r - h t)     what is left after the backward pass hid the rest
    images per second = n b / (t + e)

with B bytes a second through the slowest link of the ring, a the latency of one of its 2 (n - 1)
steps, t the seconds of a step with b images a GPU, h the part of t in which gradients are being
computed, so that all-reduce can run during it, k buckets of 25 MiB as in torch's
DistributedDataParallel.

Example:
    python docs/figures/scaling.py      prints the table, writes docs/pictures/scaling.svg
    python docs/figures/scaling.py --step-seconds 0.12 --links 200
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_maskr.catalogue import config_path
from mmdet_maskr.catalogue.complexity import build_bare
from mmdet_maskr.catalogue.published import numbers
from mmdet_maskr.quiet import quiet

OUT = Path(__file__).resolve().parent.parent / "pictures" / "scaling.svg"
CONFIG = "maskr_r50_fpn_1x"
PUBLISHED = "R50-FPN 1x"  # row of Detectron2's zoo: 16 images on 8 GPUs
BUCKET = 25 * 2**20  # bytes; torch's bucket_cap_mb
TRAIN_IMAGES = 117266  # of instances_train2017.json, those with annotations
GPUS = tuple(2**power for power in range(10))
COLORS = ("#d1603d", "#1f6fb4", "#3b8f4a", "#7a4fa3")


@dataclass(frozen=True)
class Cluster:
    """What the model assumes of the machines.

    Attributes:
        step: t, seconds of a step on one GPU, or on one node where they were published.
        images: b, of a GPU in a step.
        hidden: h, part of the step in which all-reduce can run during the backward pass.
        node: GPUs of a node.
        inside: bytes a second between the GPUs of a node.
        between: bytes a second between nodes.
        latency: a, seconds of a step of the ring.
    """

    step: float
    images: int
    hidden: float
    node: int
    inside: float
    between: float
    latency: float


def gradient_bytes(config: str) -> tuple[int, int]:
    """Trainable parameters of a config's model, and the bytes of their float32 gradients."""
    init_default_scope("mmdet")
    with quiet():
        model = build_bare(Config.fromfile(config_path(config)).model)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return count, 4 * count


def all_reduce_seconds(size: int, gpus: int, cluster: Cluster) -> tuple[float, float]:
    """r: seconds that a ring all-reduce of ``size`` bytes takes, and those of its last bucket."""
    if gpus == 1:
        return 0.0, 0.0
    bandwidth = cluster.inside if gpus <= cluster.node else cluster.between
    latency = 2 * (gpus - 1) * cluster.latency
    per_byte = 2 * (gpus - 1) / gpus / bandwidth
    last = min(size, BUCKET)
    return size * per_byte + math.ceil(size / BUCKET) * latency, last * per_byte + latency


def images_per_second(size: int, gpus: int, cluster: Cluster) -> float:
    """Of all GPUs together, with gradients of ``size`` bytes."""
    whole, last = all_reduce_seconds(size, gpus, cluster)
    exposed = max(last, whole - cluster.hidden * cluster.step)
    return gpus * cluster.images / (cluster.step + exposed)


def table(size: int, clusters: dict[str, Cluster]) -> str:
    """Markdown: a row for each number of GPUs, images per second and efficiency for each link."""
    single = next(iter(clusters.values()))
    head = ["GPUs", "nodes", "images per step", "steps per epoch"]
    columns = ("all-reduce, ms", "images per second", "of linear scaling")
    rows = [head + [f"{name}: {column}" for name in clusters for column in columns]]
    rows.append(["--:"] * (len(head) + 3 * len(clusters)))
    for gpus in GPUS:
        batch = gpus * single.images
        row = [str(gpus), str(-(-gpus // single.node)), str(batch), f"{TRAIN_IMAGES / batch:.0f}"]
        for cluster in clusters.values():
            speed = images_per_second(size, gpus, cluster)
            share = speed / (gpus * images_per_second(size, 1, cluster))
            whole = all_reduce_seconds(size, gpus, cluster)[0]
            row += [f"{1000 * whole:.0f}", f"{speed:.0f}", f"{share:.0%}"]
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def draw(size: int, clusters: dict[str, Cluster], out: Path) -> None:
    """Images per second over GPUs, both in powers of two, and what linear scaling would give."""
    figure = Figure(figsize=(7.5, 4.5), layout="constrained", facecolor="white")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    first = next(iter(clusters.values()))
    linear = [gpus * first.images / first.step for gpus in GPUS]
    axes.plot(GPUS, linear, "--", color="#888888", label="linear")
    for color, (name, cluster) in zip(COLORS, clusters.items(), strict=False):
        speeds = [images_per_second(size, gpus, cluster) for gpus in GPUS]
        axes.plot(GPUS, speeds, "o-", color=color, label=name, markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(GPUS)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ScalarFormatter())
    axes.axvline(first.node, color="#cccccc", linewidth=1)
    axes.annotate(" one node", (first.node, linear[0]), color="#777777", fontsize="small")
    axes.set(xlabel="GPUs", ylabel="images per second (computed, not measured)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out, metadata={"Date": None})


def parse_args() -> argparse.Namespace:
    seconds, *_ = numbers()["zoo"][PUBLISHED]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--step-seconds", type=float, default=seconds, help="t (%(default)s: Detectron2's zoo)")
    add("--images", type=int, default=2, help="b, images of a GPU in a step (%(default)s)")
    add("--hidden", type=float, default=0.5, help="h, part of t during which to send (%(default)s)")
    add("--node", type=int, default=8, help="GPUs of a node (%(default)s)")
    add("--inside", type=float, default=100, help="GB/s between a node's GPUs (%(default)s)")
    add("--links", type=float, nargs="+", default=[25, 100], help="Gbit/s between nodes (25 100)")
    add("--latency", type=float, default=20, help="a, microseconds (%(default)s)")
    add("--out", type=Path, default=OUT, help="the SVG (%(default)s)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    count, size = gradient_bytes(CONFIG)
    clusters = {
        f"{link:g} Gbit/s": Cluster(
            args.step_seconds,
            args.images,
            args.hidden,
            args.node,
            args.inside * 1e9,
            link * 1e9 / 8,
            args.latency * 1e-6,
        )
        for link in args.links
    }
    print(f"{CONFIG}: {count:,} trainable parameters, {size / 1e6:.1f} MB of gradients a step\n")
    print(table(size, clusters))
    draw(size, clusters, args.out)


if __name__ == "__main__":
    main()
