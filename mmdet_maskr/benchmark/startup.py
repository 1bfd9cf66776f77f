"""Seconds until a training set is loaded, and the memory of all processes that share it.

Annotation files are made, as large as asked for. Each rank is a process that builds the dataset
and forks its data workers, each of which reads images' annotations. Seconds of CPU do not depend on
what else a machine does, and on a quiet one the others are close to them. Memory is the
proportional set size (PSS, of Linux): what processes share counts once, in parts. It is that above
the same processes without a dataset, and after all of them have read as many images' annotations.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.benchmark.measure import MIB, machine
from mmdet_maskr.errors import UserError

OURS, STOCK = "CocoInstanceDataset", "CocoDataset"
ANNOTATIONS = 9.25  # an image, 560 bytes each; COCO has 7.3
CLASSES = 80
READ = 2000  # images whose annotations each process reads


def add_startup(subparsers) -> None:
    """Add the subcommand ``startup``."""
    parser = subparsers.add_parser(
        "startup",
        help="time and memory until a training set is ready",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 20000], help="(5000 20000)")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 4], help="(1 4)")
    parser.add_argument(
        "--workers", type=int, default=2, help="data workers of each rank (%(default)s)"
    )
    parser.add_argument("--no-stock", action="store_true", help="do not run stock mmdet")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure, print a table and write it where asked to.

    Raises:
        UserError: the system has no PSS, or an option is out of range.
    """
    if not Path("/proc/self/smaps_rollup").is_file():
        raise UserError("startup needs /proc/self/smaps_rollup, which Linux has.")
    if min(*args.images, *args.ranks, args.workers + 1) < 1:
        raise UserError("--images and --ranks must be from 1, --workers from 0.")
    rows = []
    print(
        f"{'images':>8} {'dataset':<20} {'ranks':>5} {'start':<6} {'s':>7} "
        f"{'s of CPU':>9} {'MiB, all':>9}"
    )
    for images in args.images:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "annotations.json"
            write_annotations(file, images)
            for row in _rows(args, file):
                rows.append(dict(images=images, **row))
                print(
                    f"{images:>8} {row['dataset']:<20} {row['ranks']:>5} {row['start']:<6} "
                    f"{row['seconds']:>7.2f} {row['cpu_seconds']:>9.2f} {row['mib']:>9.0f}",
                    flush=True,
                )
    if args.json:
        write_whole(args.json, json.dumps(dict(machine=machine(), rows=rows), indent=1))


def _rows(args: argparse.Namespace, file: Path) -> Iterator[dict[str, Any]]:
    for ranks in args.ranks:
        with tempfile.TemporaryDirectory() as cache:
            environment = dict(os.environ, MMDET_MASKR_CACHE=cache)
            for start in ("first", "second"):
                yield dict(
                    dataset=OURS,
                    ranks=ranks,
                    start=start,
                    **_start(args, file, OURS, ranks, environment),
                )
                time.sleep(2.5)  # a file that is as new as its note is read again
        if not args.no_stock:
            own = _start(args, file, STOCK, ranks, dict(os.environ))
            yield dict(dataset=STOCK, ranks=ranks, start="each", **own)


def _start(
    args: argparse.Namespace, file: Path, kind: str, ranks: int, environment: dict[str, str]
) -> dict[str, float]:
    """Seconds of the slowest rank and of the busiest, and MiB of all ranks and their workers."""
    command = [sys.executable, "-m", __name__, kind, str(file), str(args.workers)]
    processes = [
        subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(ranks)
    ]
    try:
        before = sum(_said(process)["mib"] for process in processes)
        _tell(processes)
        said = [_said(process) for process in processes]
        _tell(processes)
        for process in processes:
            _said(process)  # all have read before anyone looks
        _tell(processes)
        after = sum(_said(process)["mib"] for process in processes)
        _tell(processes)
    finally:
        for process in processes:
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
            process.wait()
    spent = {key: max(own[key] for own in said) for key in ("seconds", "cpu_seconds")}
    return dict(spent, mib=after - before)


def _said(process: subprocess.Popen) -> dict[str, float]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("{"):
        raise UserError(f"a rank ended: {line.strip() or 'see above'}.")
    return json.loads(line)


def _tell(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


# --------------------------------------------------------------------------------------- the ranks
def rank(kind: str, file: str, workers: int) -> None:
    """What a rank does: say its memory, build, read in workers, say its memory again."""
    from mmdet.registry import DATASETS
    from mmengine.registry import init_default_scope

    import mmdet_maskr.datasets  # noqa: F401

    init_default_scope("mmdet")
    classes = tuple(f"class {i}" for i in range(CLASSES))
    config = dict(type=kind, ann_file=file, metainfo=dict(classes=classes), pipeline=[])
    config.update(data_prefix=dict(img=str(Path(file).parent / "images")))
    config.update(filter_cfg=dict(filter_empty_gt=True, min_size=32))
    _wait_as(dict(mib=_all_mib(_forked(workers, None))))
    begin, busy = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = DATASETS.build(config)
    busy = time.process_time() - busy
    _wait_as(dict(seconds=time.perf_counter() - begin, cpu_seconds=busy))
    children = _forked(workers, dataset)
    _read(dataset, 0)
    _wait_as({})
    _wait_as(dict(mib=_all_mib(children)))


def _wait_as(said: dict[str, float]) -> None:
    print(json.dumps(said), flush=True)
    sys.stdin.readline()


def _read(dataset: Any, seed: int) -> None:
    for place in np.random.default_rng(seed).integers(len(dataset), size=READ).tolist():
        dataset.get_data_info(place)


def _forked(workers: int, dataset: Any) -> list[tuple[int, int]]:
    """Data workers: process ids, and pipes that keep them until they are closed."""
    children: list[tuple[int, int]] = []
    for number in range(workers):
        ready, done = os.pipe()
        stay, go = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(go)
            for _, other in children:
                os.close(other)
            if dataset is not None:
                _read(dataset, number + 1)
            os.write(done, b"1")
            os.read(stay, 1)
            os._exit(0)
        os.close(stay)
        os.read(ready, 1)
        children.append((child, go))
    return children


def _all_mib(children: list[tuple[int, int]]) -> float:
    """PSS of this process and its workers, which end then."""
    found = sum(map(_pss_mib, [os.getpid(), *(child for child, _ in children)]))
    for child, go in children:
        os.close(go)
        os.waitpid(child, 0)
    return found


def _pss_mib(process: int) -> float:
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / MIB
    return 0.0


# --------------------------------------------------------------------------------------------- data
def write_annotations(file: Path, images: int) -> None:
    """An annotation file as COCO's, and its first image; seeded.

    Args:
        file: to write; images are in the folder ``images`` next to it.
        images: how many it has.
    """
    random = np.random.default_rng(0)
    names = [f"{number:012d}.jpg" for number in range(images)]
    (file.parent / "images").mkdir(exist_ok=True)
    (file.parent / "images" / names[0]).touch()
    listed = [
        dict(
            id=number + 1,
            file_name=name,
            width=640,
            height=480,
            license=3,
            coco_url=f"http://images.cocodataset.org/train2017/{name}",
            date_captured="2013-11-14 17:02:52",
            flickr_url=f"http://farm9.staticflickr.com/8186/8119368305_{number:08d}_z.jpg",
        )
        for number, name in enumerate(names)
    ]
    categories = [dict(id=i + 1, name=f"class {i}") for i in range(CLASSES)]
    with file.open("w", encoding="utf-8") as out:
        out.write(f'{{"images": {json.dumps(listed)}, "categories": {json.dumps(categories)}, ')
        out.write('"annotations": [')
        for number in range(int(images * ANNOTATIONS)):
            entry = dict(
                id=number + 1,
                image_id=int(random.integers(images)) + 1,
                category_id=int(random.integers(CLASSES)) + 1,
                **_instance(random),
            )
            out.write((", " if number else "") + json.dumps(entry))
        out.write("]}")


def _instance(random: np.random.Generator) -> dict[str, Any]:
    sides = random.uniform(10, 300, 2)
    corner = random.random(2) * (np.array([640, 480]) - sides)
    angles = np.linspace(0, 2 * np.pi, int(random.integers(14, 36)), endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    outline = corner + sides / 2 * (1 + circle * random.uniform(0.6, 1, (len(angles), 1)))
    outline = outline.round(2)
    low, high = outline.min(0), outline.max(0)
    return dict(
        bbox=[*low.tolist(), *(high - low).round(2).tolist()],
        area=round(float(sides.prod() / 2), 4),
        iscrowd=0,
        segmentation=[outline.ravel().tolist()],
    )


if __name__ == "__main__":
    rank(sys.argv[1], sys.argv[2], int(sys.argv[3]))
