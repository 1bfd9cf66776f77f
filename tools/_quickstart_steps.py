"""The quickstart's steps after set-up: data, training, test, pictures. Started by quickstart.py.

Each step leaves its result on disk and is skipped when that is there. work_dirs/quickstart then has
the checkpoint, ap_table.md, curves.png, pictures/ and result.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from mmengine.config import Config

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.datasets import ShapesDataset, shapes
from mmdet_maskr.engine.child_processes import start_tool
from mmdet_maskr.engine.launch import run_tool
from mmdet_maskr.engine.score_files import remove_score_files, score_file
from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.curves import plot_curves
from mmdet_maskr.visualization.pictures import draw_predictions

TOOLS = Path(__file__).resolve().parent
CONFIG = TOOLS.parent / "configs" / "mini" / "maskr_shapes.py"
METRICS = {"bbox": "box", "segm": "mask", "keypoints": "keypoint"}
COLUMNS = {"mAP": "AP", "mAP_50": "AP50", "mAP_75": "AP75", "mAP_s": "APs", "mAP_m": "APm"}


class Quickstart:
    """The steps, and the seconds that each has taken so far over all calls."""

    def __init__(self, work_dir: Path, data_root: Path) -> None:
        self.work_dir = work_dir
        self.data_root = data_root
        self.seconds_file = work_dir / "seconds.json"
        self.cfg = Config.fromfile(CONFIG)
        work_dir.mkdir(parents=True, exist_ok=True)
        self.seconds = _read_json(self.seconds_file) or {}

    @property
    def checkpoint(self) -> Path:
        return self.work_dir / f"epoch_{self.cfg.train_cfg.max_epochs}.pth"

    def run_step(self, name: str, title: str, result: Path, step) -> None:
        """Run ``step`` unless ``result`` is there already, and add up the time that it takes."""
        if result.exists():
            print(f"\n== {title}: done already ({result})", flush=True)
            return
        print(f"\n== {title}", flush=True)
        begin = time.monotonic()
        try:
            step()
        finally:
            spent = time.monotonic() - begin
            self.seconds[name] = round(self.seconds.get(name, 0) + spent, 1)
            _write_json(self.seconds_file, self.seconds)
        if not result.exists():
            raise UserError(f"{title} ended without {result}.")

    def make_data(self) -> None:
        self._call("make_shapes.py", str(self.data_root))

    def train(self) -> None:
        self._call("train.py", str(CONFIG), "--resume", *self._common("."))

    def test(self) -> None:
        remove_score_files(self.work_dir / "test")
        self._call(
            "test.py", str(CONFIG), str(self.checkpoint), *self._common("test"),
            "--cfg-options", f"test_evaluator.outfile_prefix={self.work_dir / 'test/predictions'}",
        )  # fmt: skip
        scores = _read_json(score_file(self.work_dir / "test"))
        _write_json(self.work_dir / "metrics.json", scores)

    def draw(self) -> None:
        plot_curves(self.work_dir, self.work_dir / "curves.png")
        draw_predictions(
            self.data_root / "annotations" / "instances_val.json",
            self.data_root / "val",
            self.work_dir / "test" / "predictions.segm.json",
            self.work_dir / "pictures",
            palette=dict(enumerate(shapes.PALETTE, start=1)),
            keypoint_file=self.work_dir / "test" / "predictions.keypoints.json",
            metainfo=ShapesDataset.METAINFO,
        )

    def report(self, setup_seconds: float) -> None:
        """Write the AP table and result.json, and say where everything lies."""
        metrics = _read_json(self.work_dir / "metrics.json")
        table = ap_table(metrics)
        write_whole(self.work_dir / "ap_table.md", table)
        result = {f"{key}_mAP": metrics[f"coco/{key}_mAP"] for key in METRICS}
        result |= {
            "setup_seconds": setup_seconds,
            "train_seconds": self.seconds.get("train", 0),
            "total_seconds": round(setup_seconds + sum(self.seconds.values()), 1),
        }
        _write_json(self.work_dir / "result.json", result)
        lines = {
            "checkpoint": self.checkpoint,
            "AP table": self.work_dir / "ap_table.md",
            "curves": self.work_dir / "curves.png",
            "pictures": self.work_dir / "pictures" / "sheet.png",
            "figures": self.work_dir / "result.json",
        }
        print(f"\n{table}")
        print("\n".join(f"{name + ':':12}{path}" for name, path in lines.items()))
        print(
            "set-up {setup_seconds:.0f} s, training {train_seconds:.0f} s, "
            "in all {total_seconds:.0f} s".format(**result)
        )

    def _common(self, sub_dir: str) -> list[str]:
        work_dir = self.work_dir / sub_dir
        return ["--work-dir", str(work_dir), "--data-root", str(self.data_root)]

    def _call(self, tool: str, *args: str) -> None:
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = start_tool([sys.executable, str(TOOLS / tool), *args], env=env)
        try:
            status = process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
        if status != 0:
            raise UserError(
                f"tools/{tool} ended with exit code {status} (its output is above). "
                "Run this command again to go on from where it stopped."
            )


def ap_table(metrics: dict) -> str:
    """COCO's APs of boxes, masks and keypoints as a Markdown table, in percent.

    There is no APs of keypoints: COCO does not label them on small objects.
    """
    rows = ["| | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for key, name in METRICS.items():
        found = [metrics.get(f"coco/{key}_{column}") for column in COLUMNS]
        values = ["" if value is None else f"{100 * value:.1f}" for value in found]
        rows.append(f"| {name} | " + " | ".join(values) + " |")
    return "\n".join(rows) + "\n"


def _read_json(file: Path) -> dict | None:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _write_json(file: Path, content: dict) -> None:
    write_whole(file, json.dumps(content, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--work-dir", type=Path, default=Path("work_dirs/quickstart"),
        help="folder of the results (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--data-root", type=Path, default=Path("data/shapes"),
        help="folder of the dataset (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--setup-seconds", type=float, default=0, help="for result.json")
    args = parser.parse_args()
    quickstart = Quickstart(args.work_dir, args.data_root)
    run = quickstart.run_step
    last_written = args.data_root / "annotations" / "instances_val.json"
    run("data", "making the shapes", last_written, quickstart.make_data)
    run("train", f"training {CONFIG.name}", quickstart.checkpoint, quickstart.train)
    run("test", "testing", args.work_dir / "metrics.json", quickstart.test)
    run("draw", "drawing", args.work_dir / "pictures" / "sheet.png", quickstart.draw)
    quickstart.report(args.setup_seconds)


if __name__ == "__main__":
    run_tool(main, stopped="stopped; the same command goes on")
