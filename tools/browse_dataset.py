"""Draw what a config's data set gives: images with boxes, masks and keypoints, transformed.

Examples:
    python tools/browse_dataset.py configs/mini/maskr_shapes.py --out-dir browse
    python tools/browse_dataset.py CONFIG --mode pipeline --number 4    # transform by transform
    python tools/browse_dataset.py CONFIG --split val --mode original --show
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed

from mmdet_maskr.datasets import wrappers
from mmdet_maskr.engine.data_root import replace_data_root
from mmdet_maskr.engine.launch import run_tool
from mmdet_maskr.engine.options import OptionAction
from mmdet_maskr.errors import UserError, no_file
from mmdet_maskr.progress import track
from mmdet_maskr.visualization import InstanceVisualizer
from mmdet_maskr.visualization.browse import MODES, draw_item
from mmdet_maskr.visualization.pictures import contact_sheet, write_picture


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="path of the config")
    parser.add_argument(
        "--out-dir", type=Path, default=Path("browse"),
        help="folder for a picture of each image, and sheet.png with all of them (default: "
        "%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--number",
        type=int,
        default=12,
        help="how many images, evenly spread over the data set (default: %(default)s)",
    )
    parser.add_argument(
        "--mode", choices=MODES, default=MODES[0],
        help="transformed: what comes out of the pipeline, which the training sees (default); "
        "original: the images as they are; pipeline: a picture after each transform that changes "
        "something",
    )  # fmt: skip
    parser.add_argument(
        "--split", choices=("train", "val", "test"), default="train",
        help="whose data loader (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--data-root", help="folder of the data set (default: the config's)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of random transforms (default: 0)"
    )
    parser.add_argument(
        "--show", action="store_true",
        help="show each in a window, too; the space key goes on to the next",
    )  # fmt: skip
    parser.add_argument(
        "--cfg-options", nargs="+", action=OptionAction, metavar="KEY=VALUE",
        help="override settings of the config",
    )  # fmt: skip
    return parser.parse_args()


def load_dataset(args: argparse.Namespace):
    if not Path(args.config).is_file():
        raise no_file("config file", args.config)
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    if args.data_root is not None:
        if "data_root" not in cfg:
            raise UserError(f"{args.config} has no data_root that --data-root could replace.")
        replace_data_root(cfg, cfg.data_root, args.data_root)
    loader = cfg.get(f"{args.split}_dataloader")
    if loader is None:
        raise UserError(f"{args.config} has no {args.split}_dataloader.")
    init_default_scope(cfg.get("default_scope", "mmdet"))
    dataset = DATASETS.build(loader.dataset)
    wrappers.prepare(dataset)
    return dataset


def main() -> None:
    args = parse_args()
    if args.number < 1:
        raise UserError(f"--number {args.number}: it must be 1 or more.")
    dataset = load_dataset(args)
    count = min(args.number, len(dataset))
    args.out_dir.mkdir(parents=True, exist_ok=True)
    pictures = []
    window = InstanceVisualizer()
    places = np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()
    for place in places if args.show else track(places, "Drawing"):
        set_random_seed(args.seed + place)  # the same picture for the same image and seed
        path, picture = draw_item(dataset, place, args.mode)
        write_picture(args.out_dir / f"{place:06d}_{Path(path).stem}.png", picture)
        pictures.append(picture)
        if args.show:
            window.show(picture, win_name=Path(path).name)
    columns = 1 if args.mode == "pipeline" else 4
    text = f"{args.split} set of {Path(args.config).name}, {args.mode}"
    write_picture(args.out_dir / "sheet.png", contact_sheet(pictures, columns, text))
    print(f"\n{count} of {len(dataset)} images are drawn in {args.out_dir}, all in sheet.png")


if __name__ == "__main__":
    run_tool(main)
