"""Frames a second of a video: stages that overlap against one after the other."""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from mmdet_maskr.benchmark.live import CONFIG, OurModel, write_photos
from mmdet_maskr.benchmark.measure import (
    TimedCase,
    add_measuring_options,
    compare,
    show_progress,
    time_in_turn,
    timed,
)
from mmdet_maskr.benchmark.random_model import synthetic_photo
from mmdet_maskr.deploy.film import Film
from mmdet_maskr.deploy.runtime import ExportedModel
from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.overlap import IN_TURN, Depths, depths_of
from mmdet_maskr.inference.sinks import Collected
from mmdet_maskr.inference.video import VideoFrames, VideoSink
from mmdet_maskr.inference.walk import walk

FORMS = ("onnx", "openvino", "int8")
PEER = "in turn"
DISCS, RADIUS, SPEED = 12, 0.06, 0.01  # of the picture's height; of it in a frame


def add_video(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand video."""
    parser = subparsers.add_parser(
        "video",
        help="frames per second of a video, with overlapped stages and one frame after the other",
        description=(
            "Times a generated video: decoding, detection by an exported model with "
            "random weights, drawing and encoding. It runs in threads, as in maskr "
            "predict, and one frame after the other. Fails if the predictions differ in "
            "any bit."
        ),
        epilog="example: maskr benchmark video --threads 2 --forms int8",
    )
    add_measuring_options(parser, repeats=3)
    parser.set_defaults(no_memory=True)
    parser.add_argument("--config", default=CONFIG, help="name or path (%(default)s)")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=(480, 640),
        metavar=("H", "W"),
        help="size of the frames",
    )
    parser.add_argument("--frames", type=int, default=60, help="number of frames (%(default)s)")
    parser.add_argument(
        "--objects", type=int, default=20, help="detections on each frame (%(default)s)"
    )
    parser.set_defaults(run=lambda args: compare(args, PEER, measure))


def measure(args: argparse.Namespace) -> list[TimedCase]:
    """A row for each form of the model.

    Raises:
        UserError: fewer than one frame or object; predictions that differ.
    """
    if args.frames < 1 or args.objects < 1 or min(args.size) < 32:
        raise UserError("--frames and --objects must be positive, --size at least 32 32.")
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        size: tuple[int, int] = tuple(args.size)
        video = write_video(folder / "video.mp4", args.frames, size)
        model = OurModel(args.config, write_photos(folder, 1, size), args.objects)
        for form in args.forms:
            show_progress(f"preparing {form}")
            exported = model.exported(form, folder / form, torch.get_num_threads())
            run = partial(play, exported, video, folder / "drawn.mp4")
            overlapped = depths_of(VideoFrames(video))
            if run(overlapped) != run(IN_TURN):
                raise UserError(f"{form}: predictions of overlapped stages differ.")
            timings = time_in_turn(
                {
                    "overlapped": partial(timed, partial(run, overlapped)),
                    PEER: partial(timed, partial(run, IN_TURN)),
                },
                args.repeats,
                warmup=0,
            )
            ours, peer = timings["overlapped"], timings[PEER]
            notes = dict(fps=args.frames / ours.median, peer_fps=args.frames / peer.median)
            print(f"{form}: {notes['fps']:.1f} frames a second, {notes['peer_fps']:.1f} in turn")
            rows.append(TimedCase(f"{form}, {args.frames} frames", ours, peer, notes))
    return rows


def write_video(path: Path, frames: int, size: tuple[int, int]) -> Path:
    """Discs that cross over noise with a photo's spectrum."""
    height, width = size
    ground = synthetic_photo(height, width)
    rng = np.random.default_rng(0)
    begin = rng.random((DISCS, 2)) * [width, height]
    speed = rng.choice([-1, 1], (DISCS, 2)) * SPEED * height * rng.uniform(0.5, 1, (DISCS, 2))
    colors = rng.integers(0, 256, (DISCS, 3)).tolist()
    sink = VideoSink(path, 25.0)
    for t in range(frames):
        picture = ground.copy()
        for center, color in zip((begin + speed * t) % [width, height], colors, strict=True):
            x, y = center.astype(int).tolist()
            cv2.circle(picture, (x, y), max(2, int(RADIUS * height)), color, -1, cv2.LINE_AA)
        sink.write(picture)
    sink.close(True)
    return path


def play(model: ExportedModel, video: Path, drawn: Path, depths: Depths) -> list[dict]:
    """Detect and draw on a video; gives the predictions of each frame."""
    frames, kept = VideoFrames(video), Collected()
    film = Film(VideoSink(drawn, frames.fps), model.classes, score_thr=0.0)
    walk(frames, model.as_wanted(), [kept, film], depths=depths)
    return kept.results
