"""``maskr compare``: several models in one page, or in a web form."""

from __future__ import annotations

import argparse
import sys

from mmengine.registry import init_default_scope

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.compare import Comparison, read_sources, render
from mmdet_maskr.compare.live import import_gradio, serve
from mmdet_maskr.compare.models import load_model
from mmdet_maskr.compare.photos import find_images, spread
from mmdet_maskr.compare.truth import Truth
from mmdet_maskr.errors import UserError


def check_args(args: argparse.Namespace) -> None:
    """Refuse what would fail after the models have run.

    Raises:
        UserError: with the option's name.
    """
    if args.serve:
        import_gradio()
    elif not args.images:
        raise UserError("--images is needed: files, or folders of them (or --serve).")
    if not args.serve and args.port is not None:
        raise UserError("--port has an effect only with --serve.")
    if not args.out.absolute().parent.is_dir():
        raise UserError(f"--out {args.out}: there is no folder {args.out.absolute().parent}.")
    if args.out.is_dir():
        raise UserError(f"--out {args.out} is a folder: pass a file name, such as compare.html.")


def show_progress(done: int, total: int) -> None:
    """A line that is written over on a terminal; a line an image elsewhere."""
    end = "\r" if sys.stderr.isatty() and done < total else "\n"
    print(f"images: {done}/{total}", end=end, file=sys.stderr, flush=True)


def run(args: argparse.Namespace) -> None:
    check_args(args)
    init_default_scope("mmdet")
    sources = read_sources(args.models)
    every = find_images(args.images)
    images = spread(every, args.max_images)
    truth = None if args.ann is None else Truth(args.ann)
    if truth is not None and images:
        truth.check_images(images)
    if len(images) < len(every):
        print(f"{len(images)} of {len(every)} images, evenly spread (--max-images)")
    models = []
    for source in sources:
        print(f"loading {source.name}", file=sys.stderr, flush=True)
        models.append(load_model(source, args.device))
    comparison = Comparison(models, truth)
    if args.serve:
        serve(comparison, images, args.host, args.port)
        return
    content = comparison.run(images, show_progress)
    write_whole(args.out, render(content))
    for note in content["notes"]:
        print(f"note: {note}")
    for model in content["models"]:
        known = {kind: ap for kind, ap in model["scores"].items() if ap is not None}
        scores = "".join(f", {kind} AP {ap}" for kind, ap in known.items())
        print(f"{model['name']}: {model['milliseconds']:.0f} ms an image{scores}")
    size = args.out.stat().st_size / 1e6
    print(f"{len(content['images'])} images: {args.out} ({size:.1f} MB), open it in a browser")
