"""``maskr browse``: pictures of a config's training images."""

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
from mmdet_maskr.errors import UserError, no_file
from mmdet_maskr.progress import track
from mmdet_maskr.visualization import InstanceVisualizer
from mmdet_maskr.visualization.browse import draw_item
from mmdet_maskr.visualization.pictures import contact_sheet, write_picture


def load_dataset(args: argparse.Namespace):
    """Build the dataset of ``--split`` as config and options say.

    Returns:
        The dataset, wrapped as in the config (RepeatDataset, ConcatDataset, ...).

    Raises:
        UserError: there is no such file; the config has no such data loader, or no ``data_root`` to
            replace; what building and checking the dataset find.
    """
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


def run(args: argparse.Namespace) -> None:
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
    print(
        f"\n{count} of {len(dataset)} images drawn into {args.out_dir}; sheet.png shows all of them"
    )
