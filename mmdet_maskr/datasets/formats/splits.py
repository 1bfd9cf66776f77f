"""Splits of folders without one, and leaks in existing splits."""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from mmdet_maskr.datasets.formats.records import Collection, Photo
from mmdet_maskr.errors import UserError

VAL_SHARE = 0.2
LIKE = 5  # of 64 bits, by which fingerprints of the same scene differ at most
LARGEST_GROUP = 0.5  # of all photos: then it is the background that is alike, not the scene
_COPY = re.compile(
    r"(_(jpe?g|png|bmp|tiff?|webp))?\.rf\.[0-9a-zA-Z]{6,}$"  # Roboflow's augmented copies
    r"|[ _-]?(copy|aug|flip|rot)[ _-]?\d*$|\s?\(\d+\)$",
    re.IGNORECASE,
)


def assign_splits(collection: Collection, val_share: float = VAL_SHARE, seed: int = 0) -> None:
    """Give each photo without a split one, so that there are photos to train and to validate.

    Photos that are alike stay together: copies by their names, frames of one scene by their
    looks. Of each class and of all photos ``val_share`` goes to validation, as near as the groups
    allow. A split that the folder gives stays.

    Args:
        collection: its photos are changed.
        val_share: of the photos that have no split, or train without a validation split.
        seed: of the order of groups.

    Raises:
        UserError: there are fewer than two groups of photos.
    """
    open_ = [photo for photo in collection.photos if photo.split is None]
    given = Counter(photo.split for photo in collection.photos if photo.split is not None)
    if given["train"] and not given["val"]:
        open_ = [photo for photo in collection.photos if photo.split in (None, "train")]
    elif given["train"] or given["val"]:
        for photo in open_:  # of a folder that is split, what lies outside trains
            photo.split = "train"
        if not given["train"] and not open_:
            raise UserError("there are photos for validation, but none for training.")
        return
    groups = alike(open_)
    if len(groups) < 2:
        raise UserError(
            f"{len(open_)} photos look alike (copies or frames of one scene) and cannot "
            "be split into training and validation: add photos, or put them into "
            "folders named train and val."
        )
    for photo in open_:
        photo.split = "train"
    for group in _for_validation(groups, val_share, seed):
        for photo in group:
            photo.split = "val"
    collection.assumed[f"photos that are kept for validation (seed {seed})"] = sum(
        photo.split == "val" for photo in open_
    )


def folds(
    photos: Sequence[Photo], count: int, seed: int = 0
) -> list[tuple[list[Photo], list[Photo]]]:
    """Pairs of photos to train and to validate; each photo validates once, groups together.

    Raises:
        UserError: there are fewer groups of photos than folds.
    """
    waiting = alike(photos)
    if not 2 <= count <= len(waiting):
        raise UserError(f"{count} folds of {len(waiting)} groups of photos: choose 2 or more.")
    parts = []
    for left in range(count, 1, -1):
        chosen = _for_validation(waiting, 1 / left, seed)
        parts.append(chosen)
        waiting = [group for group in waiting if not any(group is other for other in chosen)]
    parts.append(waiting)
    in_part = [{id(photo) for group in part for photo in group} for part in parts]
    return [
        ([p for p in photos if id(p) not in ids], [p for p in photos if id(p) in ids])
        for ids in in_part
    ]


def assign_folds(collection: Collection, count: int, fold: int, seed: int = 0) -> None:
    """Let one of ``count`` folds validate, and the others train; photos to test stay so.

    Raises:
        UserError: there are fewer groups of photos than folds.
    """
    photos = [photo for photo in collection.photos if photo.split != "test"]
    train, val = folds(photos, count, seed)[fold]
    for split, chosen in (("train", train), ("val", val)):
        for photo in chosen:
            photo.split = split
    what = f"photos that validate in fold {fold} of {count} (seed {seed})"
    collection.assumed[what] = len(val)


def leaks(photos: Iterable[Photo]) -> list[tuple[Path, Path]]:
    """Photos that train, and the same ones, by their bytes or as copies, that validate or test."""
    photos = list(photos)
    sizes = [photo.path.stat().st_size for photo in photos]
    occurring = Counter(sizes)
    with ThreadPoolExecutor() as pool:
        digests = list(
            pool.map(
                lambda path, size: _digest(path) if occurring[size] > 1 else str(path),
                (photo.path for photo in photos),
                sizes,
            )
        )
    training: dict[str, Path] = {}
    for photo, digest in zip(photos, digests, strict=True):
        if photo.split == "train":
            training[digest] = photo.path
            training[_origin(photo.path)] = photo.path
    found = []
    for photo, digest in zip(photos, digests, strict=True):
        if photo.split in ("val", "test"):
            twin = training.get(digest) or training.get(_origin(photo.path))
            if twin is not None:
                found.append((twin, photo.path))
    return found


def alike(photos: Sequence[Photo]) -> list[list[Photo]]:
    """Photos in groups, in their order: copies by name, and scenes that look the same."""
    parent = list(range(len(photos)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    by_name: dict[str, int] = {}
    for i, photo in enumerate(photos):
        parent[root(i)] = root(by_name.setdefault(_origin(photo.path), i))
    named = list(parent)
    for i, j in _similar([photo.path for photo in photos]):
        parent[root(i)] = root(j)
    sizes = Counter(root(i) for i in range(len(photos)))
    if sizes and max(sizes.values()) > max(LARGEST_GROUP * len(photos), 2):
        parent[:] = named
    groups: dict[int, list[Photo]] = defaultdict(list)
    for i, photo in enumerate(photos):
        groups[root(i)].append(photo)
    return list(groups.values())


def _origin(path: Path) -> str:
    """The name of the photo that a copy was made of, with its folder unless that is a split."""
    stem = path.stem
    while (shorter := _COPY.sub("", stem)) not in (stem, ""):
        stem = shorter
    return stem.lower() if stem != path.stem else str(path.with_suffix("")).lower()


def _similar(paths: list[Path]) -> list[tuple[int, int]]:
    """Pairs whose fingerprints differ in few bits.

    Of two that differ in at most LIKE bits, one of LIKE + 1 parts of the bits is the same.
    """
    with ThreadPoolExecutor() as pool:
        prints = list(pool.map(_fingerprint, paths))
    pairs = []
    width = -(-64 // (LIKE + 1))
    for start in range(0, 64, width):
        buckets: dict[int, list[int]] = defaultdict(list)
        for i, bits in enumerate(prints):
            if bits is not None:
                buckets[bits >> start & (1 << width) - 1].append(i)
        for bucket in buckets.values():
            for place, i in enumerate(bucket):
                for j in bucket[place + 1 : place + 50]:  # of a plain background there are many
                    if ((prints[i] or 0) ^ (prints[j] or 0)).bit_count() <= LIKE:
                        pairs.append((i, j))
    return pairs


def _fingerprint(path: Path) -> int | None:
    """64 bits: whether each of 8 x 8 places is brighter than the one to its left."""
    try:
        with Image.open(path) as image:
            image.draft("L", (64, 64))  # a JPEG is decoded at an eighth
            small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    except Exception:  # what cannot be decoded is alike to nothing; loading says so
        return None
    bits = (small[:, 1:] > small[:, :-1] + 1).ravel()
    if not bits.any():
        return None
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _for_validation(groups: list[list[Photo]], share: float, seed: int) -> list[list[Photo]]:
    """Groups that together have ``share`` of the photos and of each class's objects, or nearly.

    Groups with the rarest classes choose first. One goes to validation where that brings the sum
    of relative errors down, and a class whose only group it is stays in training.
    """
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)
    contents = [_contents(group) for group in groups]
    totals: Counter[str] = sum(contents, Counter())
    having = Counter(name for content in contents for name in content)
    order.sort(key=lambda i: min((totals[name] for name in contents[i]), default=0))
    taken: Counter[str] = Counter()
    chosen: list[int] = []
    for i in order:
        if any(having[name] < 2 for name in contents[i]):
            continue
        before = sum(abs(share - taken[n] / totals[n]) for n in contents[i])
        after = sum(abs(share - (taken[n] + contents[i][n]) / totals[n]) for n in contents[i])
        if after < before:
            taken += contents[i]
            chosen.append(i)
    if not chosen:  # every group has a class of its own, or is large
        chosen = [min(order, key=lambda i: (len(groups[i]), -order.index(i)))]
    return [groups[i] for i in sorted(chosen)]


def _contents(group: list[Photo]) -> Counter[str]:
    """Photos, and objects of each class."""
    counts = Counter({"": len(group)})  # no class has an empty name
    for photo in group:
        counts.update(item.label for item in photo.objects)
    return counts
