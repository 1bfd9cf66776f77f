"""Reading any annotation file or run-length code ends well.

FUZZ_SECONDS is the time of all tests here together (15; `.ci/run` takes 100), FUZZ_SEED
another beginning.
"""

from __future__ import annotations

import copy
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask
import pytest
import torch
from cases import HEIGHT, WIDTH, good
from PIL import Image

from mmdet_maskr.coco import check
from mmdet_maskr.coco.check.problems import Problem
from mmdet_maskr.datasets import CocoInstanceDataset, CocoKeypointDataset
from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.mask_paste import paste_masks
from mmdet_maskr.ops.mask_rle import encode_masks
from mmdet_maskr.run_lengths import compress, decompress

LEAST = 4  # examples, also on a machine that is busy
SECONDS = float(os.environ.get("FUZZ_SECONDS", 15)) / 5  # of each of the five tests
SEED = int(os.environ.get("FUZZ_SEED", 0))
PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True, poly2mask=True),
    dict(type="PackDetInputs"),
]
KEYPOINT_PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadKeypointAnnotations", with_bbox=True, with_mask=True, poly2mask=False),
    dict(type="PackKeypointInputs"),
]
CODES = [chr(code) for code in range(40, 121)]  # run-length codes, and a little more
KEYPOINTS = dict(keypoints=("head", "hand", "foot"), keypoint_swaps=(), keypoint_sigmas=(0.1,) * 3)

VALUES = [None, True, 0, -1, 1, 2, 7, 8, 1.5, 1e308, 10**30, float("nan"), float("-inf"), "", "7",
          "P", "\ud800", [], [[]], [1, 2, 3, 4], [[1, 2, 3, 4, 5, 6]], {}, {"size": [30, 40]},
          {"size": [HEIGHT, WIDTH], "counts": "0"}]  # fmt: skip


def mutated(rng: random.Random, value: Any, depth: int = 0) -> Any:
    """A copy in which a few places hold something else."""
    if rng.random() < 0.04 and depth:
        return copy.deepcopy(rng.choice(VALUES))
    if isinstance(value, dict):
        items = [(k, mutated(rng, v, depth + 1)) for k, v in value.items() if rng.random() > 0.01]
        return dict(items)
    if isinstance(value, list):
        items = [mutated(rng, item, depth + 1) for item in value if rng.random() > 0.01]
        return items + items[: rng.random() < 0.03]
    return value


def start() -> dict:
    """The good file, with a compressed mask too."""
    content = good()
    text = pycocotools.mask.encode(np.ones((HEIGHT, WIDTH), np.uint8, order="F"))["counts"].decode()
    content["annotations"][0]["segmentation"] = dict(size=[HEIGHT, WIDTH], counts=text)
    return content


def check_and_clean(content: dict) -> None:
    """Problems are found, and the cleaned copy has none but what no copy can fix."""
    if not all(isinstance(content.get(key), list) for key in good()):
        return
    found = check.check_content(content, ["cat", "person"], keypoints=True)
    assert all(isinstance(problem, Problem) for _, _, problem in found.problems)
    clean, _ = check.cleaned(found)
    again = check.check_content(clean, keypoints=True).problems
    bad = [p for kind, _, p in again if kind is not None and p.is_error]
    assert not bad or content["categories"] != good()["categories"], bad


def check_text(text: str) -> None:
    """Where a text is taken for a run-length code, pycocotools reads the same."""
    numbers = decompress(text)
    if numbers is not None and (numbers >= 0).all() and 0 < numbers.sum() < 10**6:
        area = pycocotools.mask.area(dict(size=[1, int(numbers.sum())], counts=text))
        assert area == numbers[1::2].sum()


def test_random_mutations():
    """Also without hypothesis: many small changes at once."""
    rng = random.Random(SEED)
    begin, runs = time.monotonic(), 0
    while time.monotonic() - begin < SECONDS:
        check_and_clean(mutated(rng, start()))
        check_text("".join(chr(rng.randrange(40, 120)) for _ in range(rng.randrange(12))))
        runs += 1
    print(f"{runs} files in {SECONDS:g} s")
    assert runs > 5 * SECONDS


def fuzz(strategy: Any, body: Callable[[Any], None]) -> None:
    """Call ``body`` with what hypothesis thinks up, in rounds, until the time is over."""
    from hypothesis import HealthCheck, given, seed, settings

    end, runs, rounds, failed = time.monotonic() + SECONDS, 0, 0, False

    def until_the_end(value: Any) -> None:
        nonlocal runs, failed
        over = time.monotonic() > end and runs >= LEAST
        if over and not failed:  # a failure is repeated and made smaller
            return
        runs += 1
        try:
            body(value)
        except BaseException:
            failed = True
            raise

    options = settings(
        max_examples=50, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    while time.monotonic() < end or runs < LEAST:
        seed(SEED + rounds)(options(given(strategy)(until_the_end)))()
        rounds += 1
    print(f"{runs} examples in {SECONDS:g} s")


def json_values() -> Any:
    st = pytest.importorskip("hypothesis.strategies")
    numbers = st.integers() | st.floats() | st.sampled_from([0, 1, 7, 8, WIDTH, HEIGHT])
    texts = st.text("07P`~é\0. ", max_size=8)
    leaves = st.none() | st.booleans() | numbers | texts
    boxes = st.lists(numbers, min_size=3, max_size=9)
    rles = st.fixed_dictionaries(
        dict(
            size=st.just([HEIGHT, WIDTH]) | st.lists(numbers, max_size=3),
            counts=st.text(CODES, max_size=12) | boxes,
        )
    )
    nested = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=4,
    )
    return nested | boxes | boxes.map(lambda box: [box]) | rles


def files() -> Any:
    """Annotation files: the good one with one to three places deleted, doubled or replaced."""
    st = pytest.importorskip("hypothesis.strategies")
    values = json_values()

    @st.composite
    def changed(draw: Callable) -> dict:
        content = start()
        for _ in range(draw(st.integers(1, 3))):
            _change_one_place(draw, content, values)
        return content

    return changed()


def _change_one_place(draw: Callable, content: dict, values: Any) -> None:
    from hypothesis import strategies as st

    all_places = list(places(content))
    if not all_places:
        return
    parent, key = all_places[draw(st.integers(0, len(all_places) - 1))]
    action = draw(st.sampled_from(["replace", "replace", "delete", "double"]))
    if action == "delete":
        del parent[key]
    elif action == "double" and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    else:
        parent[key] = copy.deepcopy(draw(values))  # st.just gives one list again and again


def places(parent: dict | list) -> Iterator[tuple[Any, Any]]:
    """Every dictionary and list within, with each of its keys or indices."""
    for key, value in list(parent.items() if isinstance(parent, dict) else enumerate(parent)):
        yield parent, key
        if isinstance(value, (dict, list)):
            yield from places(value)


def test_checking_files():
    fuzz(files(), check_and_clean)


def samples_or_error(folder: Path, content: dict, keypoints: bool) -> None:
    """A dataset of the file gives samples of the right kind, or an error that names the file."""
    path = folder / "a.json"
    path.write_text(json.dumps(content))
    kind = CocoKeypointDataset if keypoints else CocoInstanceDataset
    try:
        dataset = kind(
            ann_file=str(path), data_prefix=dict(img=str(folder)), max_unreadable=1,
            metainfo=dict(classes=("person",), **KEYPOINTS) if keypoints
            else dict(classes=("cat", "person")),
            pipeline=KEYPOINT_PIPELINE if keypoints else PIPELINE,
        )  # fmt: skip
        samples = [dataset[index]["data_samples"] for index in range(len(dataset))]
    except UserError as error:
        assert str(folder) in str(error)
        return
    for sample in samples:
        instances = sample.gt_instances
        assert instances.masks.to_ndarray().shape == (len(instances), HEIGHT, WIDTH)
        boxes = instances.bboxes
        assert getattr(boxes, "tensor", boxes).isfinite().all()
        if keypoints:
            assert np.isfinite(np.asarray(instances.keypoints)).all()


@pytest.mark.parametrize("keypoints", [False, True])
def test_loading_files(tmp_path: Path, keypoints: bool):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / name)
    fuzz(files(), lambda content: samples_or_error(tmp_path, content, keypoints))


def check_codes(values: tuple[list[int], str, list[float]]) -> None:
    """Codes of any runs, texts taken for codes, and masks in any box."""
    runs, text, box = values
    check_text(text)
    counts = np.array(runs)
    encoded = compress([counts])[0]
    size = [1, int(counts.sum())]
    if size[1]:
        expected = pycocotools.mask.frPyObjects(dict(size=size, counts=runs), *size)
        assert encoded == expected["counts"]
    assert np.array_equal(decompress(encoded), counts)
    masks = torch.from_numpy(np.resize(np.array(runs) % 7 / 6, (1, 4, 4))).float()
    boxes = torch.tensor([box], dtype=torch.float32)
    try:
        found = encode_masks(masks, boxes, HEIGHT, WIDTH)
    except UserError as error:
        assert not boxes.isfinite().all(), error
        return
    pasted = paste_masks(masks, boxes, HEIGHT, WIDTH)[0].numpy()
    expected = pycocotools.mask.encode(np.asfortranarray(pasted, np.uint8))
    assert dict(found[0]) == expected


def test_run_length_codes():
    st = pytest.importorskip("hypothesis.strategies")
    near = st.floats(-60, 60, width=32) | st.integers(-5, 45).map(float)
    values = st.tuples(
        st.lists(st.integers(0, 70_000) | st.integers(0, 40), min_size=1, max_size=20),
        st.text(CODES, max_size=14),
        st.lists(near | st.floats(width=32), min_size=4, max_size=4),
    )
    fuzz(values, check_codes)
