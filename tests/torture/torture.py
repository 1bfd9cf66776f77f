"""Kill a training at random, again and again; in the end it must equal an undisturbed one.

Started by tools/torture.sh; tests/torture/test_torture.py runs it for a few kills. Each life of the
run ends by SIGKILL, SIGTERM or SIGINT at a random moment: while starting, training, validating, or
writing a checkpoint (the disk is slow here, so that a good part of the kills falls into that). The
signals go to the process or to its group with the two data workers, once or several times, as they
come from a terminal, timeout and Slurm. Now and then the newest checkpoint is damaged as well.
Losses of each iteration and the final weights must be those of a run that was left in peace, bit
for bit.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "engine")]

import child_training as child  # noqa: E402  (from the folder above)

from mmdet_maskr import checkpoint_files  # noqa: E402
from mmdet_maskr.datasets import shapes  # noqa: E402

KINDS = {
    "epochs": dict(
        train_dataloader=dict(num_workers=2), default_hooks__checkpoint__max_keep_ckpts=2
    ),
    "iterations": dict(
        train_dataloader=dict(sampler=dict(type="InfiniteSampler"), num_workers=2),
        default_hooks__checkpoint=dict(by_epoch=False, interval=5, save_best=None),
        log_processor__by_epoch=False,
        param_scheduler=[dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=30)],
    ),
}


def options_of(kind: str, epochs: int) -> dict:
    """Settings of a run of ``epochs`` x 8 iterations."""
    if kind == "epochs":
        return dict(KINDS[kind], train_cfg=dict(max_epochs=epochs, val_interval=3))
    loop = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=8 * epochs, val_interval=17)
    return dict(KINDS[kind], train_cfg=loop)


def slow_disk(runner) -> None:
    """Let each step of writing take a while."""
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def slowly(*args, real=real):
            time.sleep(0.05)
            return real(*args)

        setattr(os, name, slowly)


def iterations(work_dir: Path) -> int:
    file = work_dir / "losses_0.txt"
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def live_once(data: Path, work_dir: Path, rng: random.Random, options: dict) -> str | None:
    """One life of the run; how it ended, or None if it came to its end."""
    pid = child.start(data, work_dir, resume=True, prepare=slow_disk, **options)
    begin = iterations(work_dir)
    goal = begin + rng.choice([0, 1, 2, 4, 6, 9, 12])
    number = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    to_group, times = rng.choice([False, True]), rng.choice([1, 2, 3])
    while iterations(work_dir) < goal:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0, log_tail(work_dir)
            return None
        time.sleep(0.005)
    time.sleep(rng.uniform(0.1, 0.6))  # it has to be a group of its own first
    writing = bool(list(work_dir.glob("*.partial")))
    if number != signal.SIGKILL:
        for _ in range(times):
            (os.killpg if to_group else os.kill)(pid, number)
            time.sleep(rng.choice([0, 0.05]))
        code = child.finish(pid)
        assert code in (-number, 128 + number, 0), log_tail(work_dir)
        if code == 0:
            return None
        name = f"{number.name}{' to the group' if to_group else ''}"
        if iterations(work_dir) == begin:
            return f"{name} before the training"
        path = Path((work_dir / "last_checkpoint").read_text())
        saved = checkpoint_files.load(path)["meta"]["iter"]
        assert saved == last_iteration(work_dir), f"{name} lost work: {log_tail(work_dir)}"
        return name
    child.kill(pid)
    return "SIGKILL while writing a checkpoint" if writing else "SIGKILL"


def damage_newest(work_dir: Path, rng: random.Random, damaged: dict[Path, bytes]) -> bool:
    """Flip a bit of, or cut, the file that ``last_checkpoint`` names, if an intact one is left.

    ``damaged`` has what was done before: a checkpoint of that name may have been written anew.
    """
    pointer = work_dir / "last_checkpoint"
    path = Path(pointer.read_text()) if pointer.is_file() else None
    if path is None or not path.is_file():
        return False
    others = set(work_dir.glob("[ei]*.pth")) - {path}
    if not any(other.read_bytes() != damaged.get(other) for other in others):
        return False
    content = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    else:
        del content[rng.randrange(len(content)) :]
    path.write_bytes(content)
    damaged[path] = bytes(content)
    return True


def log_tail(work_dir: Path) -> str:
    return Path(f"{work_dir}.log").read_text()[-3000:]


def torture(
    data: Path, folder: Path, kind: str, kills: int, seed: int, say: Callable[[str], None]
) -> Counter:
    """Train once undisturbed and once with at least ``kills`` kills; compare; count the ends."""
    rng = random.Random(seed)
    epochs = max(3, kills // 2)
    options = options_of(kind, epochs)
    calm, disturbed = folder / f"calm_{kind}", folder / f"disturbed_{kind}"
    for work_dir in (calm, disturbed):
        work_dir.mkdir()
    assert child.finish(child.start(data, calm, resume=False, **options), 600) == 0, log_tail(calm)
    expected = child.losses(calm)
    last = Path((calm / "last_checkpoint").read_text()).name
    say(f"{kind}: undisturbed, {len(expected)} iterations")
    ends: Counter = Counter()
    killed = 0
    damaged: dict[Path, bytes] = {}
    while True:
        end = live_once(data, disturbed, rng, options)
        if end is None and killed >= kills:
            break
        if end is None:  # came to its end too early: back by one checkpoint
            for path in sorted(disturbed.glob("[ei]*_*.pth"), key=lambda p: p.stat().st_mtime)[-1:]:
                path.unlink()
            if not list(disturbed.glob("[ei]*_*.pth")):
                (disturbed / "last_checkpoint").unlink(missing_ok=True)
            continue
        ends[end] += 1
        killed += 1
        if rng.random() < 0.15 and damage_newest(disturbed, rng, damaged):
            ends["newest checkpoint damaged"] += 1
        child.losses(disturbed)
        say(f"{kind}: {killed} of {kills}: {end}, at iteration {max_iteration(disturbed)}")
    assert child.losses(disturbed) == expected
    child.assert_same_weights(calm / last, disturbed / last)
    assert names(disturbed) == names(calm), names(
        disturbed
    )  # nothing left over, and nothing forgotten
    return ends


def names(work_dir: Path) -> list[str]:
    """Files of a work dir that are neither logs nor a best checkpoint of another validation."""
    kept = (path.name for path in work_dir.iterdir() if path.is_file())
    return sorted(name for name in kept if not name.startswith("best"))


def last_iteration(work_dir: Path) -> int:
    return int((work_dir / "losses_0.txt").read_text().splitlines()[-1].split()[0]) + 1


def max_iteration(work_dir: Path) -> int:
    lines = (work_dir / "losses_0.txt").read_text().split("\n") if iterations(work_dir) else []
    return max((int(line.split()[0]) + 1 for line in lines if line), default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="per kind of run (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the kills (%(default)s)")
    args = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "shapes"
        shapes.write_dataset(data, images=16, val_images=4, size=96, seed=0)
        for kind in KINDS:
            ends = torture(
                data,
                Path(folder),
                kind,
                args.kills,
                args.seed,
                lambda text: print(text, flush=True),
            )
            listed = ", ".join(f"{count} x {end}" for end, count in ends.most_common())
            print(f"{kind}: losses and weights equal the undisturbed run's after {listed}")
    print(f"torture passed in {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
