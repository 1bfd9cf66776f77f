"""For any content of a file, its reader gives values or one sentence.

FUZZ_SECONDS is the time of all tests here together (15; `.ci/run` takes 100), FUZZ_SEED
another beginning. Annotation files and run-length codes have tests of their own.
"""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycocotools.mask
import pytest
import torch
import yaml
from mmengine.config import Config

from mmdet_maskr.ablations.jobs import Job, Settings
from mmdet_maskr.ablations.progress import failure_reason, read_progress
from mmdet_maskr.ablations.report import write_report
from mmdet_maskr.ablations.results import read_records, records_of
from mmdet_maskr.ablations.tables import TABLES
from mmdet_maskr.deploy.files import METADATA, read_metadata
from mmdet_maskr.engine.batch_file import unpack_batch
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation.error_analysis.analysis import analyze, tables
from mmdet_maskr.evaluation.error_analysis.inputs import comparisons
from mmdet_maskr.safe_configs import read_literals
from mmdet_maskr.visualization.curves import choose_keys, plot_runs, read_run
from mmdet_maskr.visualization.pictures import draw_predictions
from mmdet_maskr.weights.convert import _explained
from mmdet_maskr.weights.detectron2 import Detectron2Model
from mmdet_maskr.weights.detectron2_options import read_options

SECONDS = float(os.environ.get("FUZZ_SECONDS", 15)) / 10  # of each of the tests
SEED = int(os.environ.get("FUZZ_SEED", 0))
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3.5, 1e308, -1e308, 10**30, 10**400, 10**18, math.nan, math.inf,
    -math.inf, "", "x", "7", "\u2028", "a" * 300,
    "$x_{", "$a$ %s {} \\", "\ud800", [], [[]], [1, 2],
    ["a"], {}, {"a": 1}, {"a": {"b": [None]}}, [1] * 300,
]  # fmt: skip
BYTES = [
    b"",
    b"\xff",
    b"\0",
    b"\n",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\\ud800",
    b"NaN",
    b"-",
    b"9" * 5000,
    b"[" * 2000,
    b"\xef\xbb\xbf",
    b"1e999",
    b"&a ",
    b"*a",
    b"!!int ",
    b"'",
    b"#",
]


def mutated(rng: random.Random, value: Any, share: float = 0.05) -> Any:
    """A copy in which a few places hold something else, or nothing."""
    if rng.random() < share:
        return copy.deepcopy(rng.choice(VALUES))
    if isinstance(value, dict):
        pairs = [(k, mutated(rng, v, share)) for k, v in value.items() if rng.random() > share / 3]
        if rng.random() < share / 2:
            pairs.append((rng.choice(["", "x", "$", "\u2028", "a" * 200]), rng.choice(VALUES)))
        return dict(pairs)
    if isinstance(value, list):
        return [mutated(rng, item, share) for item in value if rng.random() > share / 3]
    return value


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Cut, with other bytes, or with lines twice."""
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        at = rng.randrange(len(content) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            content = content[:at]
        elif kind == 1:
            content = content[:at] + rng.choice(BYTES) + content[at + rng.choice((0, 1, 1, 3)) :]
        elif kind == 2:
            content = content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
        else:
            content = content[:at] + content[max(0, at - 40) :]
    return content


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def fuzz(
    good: Callable[[], Any], write: Callable[[random.Random, Any], Any], read: Callable[[], object]
) -> None:
    """Read what is written until the time is over.

    Raises:
        AssertionError: the good one is not read, or any other error than a UserError.
    """
    rng, stop = random.Random(SEED), time.monotonic() + SECONDS
    write(None, good())  # type: ignore[arg-type]
    read()
    counts = [0, 0]
    while time.monotonic() < stop or sum(counts) < 20:
        what = write(rng, mutated(rng, good(), rng.choice((0, 0.02, 0.1))))
        started = time.monotonic()
        try:
            read()
            counts[0] += 1
        except UserError as error:
            counts[1] += 1
            assert len(str(error)) > 15 and "\n\n" not in str(error)
        except Exception as error:
            raise AssertionError(f"{what!r:.2000} ended in {type(error).__name__}") from error
        assert time.monotonic() - started < 10, f"{what!r:.2000} took too long"
    assert counts[1]


def writer(path: Path, encode: Callable[[Any], bytes] = as_json) -> Callable:
    """Writes a value, damaged unless it is the good one."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(rng: random.Random | None, value: Any) -> bytes:
        content = encode(value)
        content = content if rng is None else damaged(rng, content)
        path.write_bytes(content)
        return content

    return write


def test_logs(tmp_path: Path):
    file = tmp_path / "run" / "20260101_000000" / "vis_data" / "scalars.json"
    lines = [dict(loss=3.0 - i / 10, loss_cls=1.0, time=0.5, iter=i, step=i) for i in range(8)]
    lines.append({"coco/bbox_mAP": 0.3, "step": 1})
    drawn = iter(range(10**9))

    def read() -> None:
        run = read_run(tmp_path / "run")
        if next(drawn) % 4 == 0:  # drawing takes long
            keys = choose_keys([run], ["*"])[:2]
            plot_runs({"a$b": run}, keys, tmp_path / "curves.png", smooth=3)

    fuzz(lambda: lines, writer(file, lambda v: b"\n".join(map(as_json, v)) if isinstance(v, list)
                               else as_json(v)), read)  # fmt: skip


@pytest.fixture
def job(repo: Path, tmp_path: Path) -> Job:
    config = TABLES["2c"].rows[0].config("mini")
    return Job(Settings(repo, "mini", tmp_path), config, 0, [("2c", TABLES["2c"].rows[0].name)])


def test_files_of_an_ablation(job: Job, tmp_path: Path):
    """One damaged job is told as a failure, and its records are written."""
    good = dict(config="c.py", scale="mini", seed=0, digest="x", metrics=dict(segm_mAP=30.5),
                seconds=3.5, data_root=None, gpus=1)  # fmt: skip
    writers = [
        (good, writer(job.folder / "result.json")),
        (dict(phase="train", reason="x"), writer(job.folder / "failure.json")),
        (dict(seconds=1.5, trained=True, gpus=1), writer(job.folder / "state.json")),
    ]

    def write(rng: random.Random | None, value: list) -> list:
        contents = [one(rng, part) for (_, one), part in zip(writers, value, strict=True)]
        (job.folder / "train.log").write_bytes(contents[0] + b"Epoch(train) [1][ 1/0] eta: 1:2:3")
        return contents

    def read() -> None:
        assert job.result is not None or job.failure is not None or not job.damage
        assert job.state["seconds"] >= 0
        job.check_conditions()
        read_progress(job.folder / "train.log", 0)
        failure_reason(job.folder / "train.log", 1)
        records = records_of([job])
        assert all(("failure" in r) == (job.damage is not None) for r in records)
        if job.damage is not None:
            raise UserError(job.damage)

    def as_list(value: Any) -> list:
        whole = isinstance(value, list) and len(value) == 3
        return value if whole else [part for part, _ in writers]

    fuzz(lambda: [part for part, _ in writers], lambda rng, v: write(rng, as_list(v)), read)


def test_records_of_ablations(tmp_path: Path):
    table = TABLES["2c"]
    good = [
        dict(table="2c", row=table.rows[0].name, scale="mini", seed=0, metrics=dict(segm_mAP=30.0),
             config="c.py", seconds=1.0),
        dict(table="2c", row=table.rows[1].name, scale="mini", seed=1, failure="why"),
    ]  # fmt: skip
    file = tmp_path / "results.json"
    written = iter(range(10**9))

    def read() -> None:
        records = read_records(file)
        if next(written) % 20 == 0:
            write_report([table], "mini", records, tmp_path / "out")

    fuzz(lambda: good, writer(file), read)


def test_metadata_of_exports(tmp_path: Path):
    good = dict(
        version=1, format="onnx", classes=["a"], outputs=["boxes", "scores", "labels", "masks",
        "heatmaps", "heatmap_rows"], masks=dict(threshold=0.5), keypoints=dict(score="logit",
        count=3), preprocessing=dict(resize=dict(pixels="mmdet", scale=[800, 600],
        scale_factor=None, keep_ratio=True)),
    )  # fmt: skip
    (tmp_path / "model.onnx").write_bytes(b"x")
    fuzz(lambda: good, writer(tmp_path / METADATA), lambda: read_metadata(tmp_path))


def test_options_of_detectron2(tmp_path: Path):
    good = dict(
        MODEL=dict(
            META_ARCHITECTURE="GeneralizedRCNN", MASK_ON=True, PIXEL_STD=[1.0, 1.0, 1.0],
            BACKBONE=dict(NAME="build_resnet_fpn_backbone", FREEZE_AT=2),
            RESNETS=dict(OUT_FEATURES=["res2", "res3", "res4", "res5"], NORM="BN", DEPTH=50),
            FPN=dict(IN_FEATURES=["res2", "res3", "res4", "res5"], OUT_CHANNELS=32),
            ANCHOR_GENERATOR=dict(SIZES=[[32], [64], [128], [256], [512]]),
            RPN=dict(IN_FEATURES=["p2", "p3", "p4", "p5", "p6"], IOU_THRESHOLDS=[0.3, 0.7]),
            ROI_HEADS=dict(NAME="StandardROIHeads", IN_FEATURES=["p2", "p3", "p4", "p5"],
                           NUM_CLASSES=3, IOU_THRESHOLDS=[0.5]),
            ROI_BOX_HEAD=dict(NAME="FastRCNNConvFCHead", NUM_FC=2, BBOX_REG_WEIGHTS=[1, 1, 1, 1]),
        ),
        INPUT=dict(MIN_SIZE_TRAIN="(640, 672)", FORMAT="BGR"), VERSION=2,
    )  # fmt: skip
    file = tmp_path / "c.yaml"
    base = dict(train_cfg=dict(rpn=dict(assigner={}, sampler={}), rpn_proposal={},
                               rcnn=dict(assigner={}, sampler={})))  # fmt: skip

    def read() -> None:
        with _explained("it"):
            model = Detectron2Model(read_options(file))
            model.model(copy.deepcopy(base))
            model.pipelines()

    def encode(value: Any) -> bytes:
        return yaml.safe_dump(value).encode("utf-8", "surrogatepass")

    fuzz(lambda: good, writer(file, encode), read)


def test_batches(tmp_path: Path):
    file = tmp_path / "batch.pth"

    def good() -> dict:
        boxes = dict(boxes=torch.tensor([[1.0, 2, 3, 4]]))
        bits = dict(bitmaps=torch.ones(1, 8, 8, dtype=torch.uint8), size=(8, 8))
        instances = dict(bboxes=boxes, labels=torch.tensor([1]), masks=bits)
        sample = dict(metainfo=dict(img_id=1), gt_instances=instances, ignored_instances=instances)
        return dict(inputs=[torch.zeros(3, 8, 8)], data_samples=[sample])

    def write(rng: random.Random | None, value: Any) -> Any:
        torch.save(value, file)
        if rng is not None and rng.random() < 0.3:
            content = bytearray(file.read_bytes())
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            file.write_bytes(content)
        return value

    def read() -> None:
        from mmengine.runner.checkpoint import CheckpointLoader

        content = CheckpointLoader.load_checkpoint(str(file), map_location="cpu", logger="silent")
        if not isinstance(content, dict):
            raise UserError("it is no batch at all.")
        batch = unpack_batch(content)
        for sample in batch["data_samples"]:
            if "gt_instances" in sample:
                np.asarray(sample.gt_instances.bboxes.tensor)

    fuzz(good, write, read)


def test_texts_of_configs(repo: Path):
    text = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py").pretty_text
    part = text[: text.index("\nenv_cfg")] if "\nenv_cfg" in text else text[:3000]
    held: list[str] = []

    def write(rng: random.Random | None, value: str) -> str:
        is_text = isinstance(value, str)
        content = value.encode("utf-8", "surrogatepass") if is_text else as_json(value)
        content = content if rng is None else damaged(rng, content)
        held[:] = [content.decode("utf-8", "replace")]
        return held[0]

    fuzz(lambda: part, write, lambda: read_literals(held[0], "the config of it"))


SIDE = 24
SQUARE = [4, 4, 12, 4, 12, 12, 4, 12]
POINTS = [6, 6, 2, 9, 9, 1]


def truth_file() -> dict:
    """Two images with an object each, the second with an RLE."""
    rle = dict(size=[SIDE, SIDE], counts=[4, 8, 16 * SIDE, 8, SIDE * SIDE - 20 - 16 * SIDE])
    base = dict(category_id=1, bbox=[4, 4, 8, 8], area=64, iscrowd=0, num_keypoints=2)
    return dict(
        images=[dict(id=i, file_name=f"{i}.png", width=SIDE, height=SIDE) for i in (1, 2)],
        categories=[dict(id=1, name="a"), dict(id=2, name="b")],
        annotations=[
            dict(base, id=1, image_id=1, segmentation=[SQUARE], keypoints=POINTS),
            dict(base, id=2, image_id=2, segmentation=rle, keypoints=POINTS),
        ],
    )


def results() -> list[dict]:
    """Detections of boxes, masks and keypoints on the images of :func:`truth_file`."""
    rle = pycocotools.mask.frPyObjects([SQUARE], SIDE, SIDE)[0]
    mask = dict(size=[SIDE, SIDE], counts=rle["counts"].decode())
    base = dict(category_id=1, score=0.9, bbox=[4.0, 4.0, 8.0, 8.0], segmentation=mask)
    return [dict(base, image_id=i, keypoints=[6.0, 6.0, 0.9, 9.0, 9.0, 0.1]) for i in (1, 2)]


def without_keypoints(entries: list[dict]) -> list[dict]:
    return [{k: v for k, v in entry.items() if "keypoints" not in k} for entry in entries]


def test_results_for_error_analysis(tmp_path: Path):
    truth, file = tmp_path / "truth.json", tmp_path / "results.json"
    truth.write_text(json.dumps(truth_file()))

    def read() -> None:
        for kind, comparison in comparisons(truth, [file]).items():
            tables(kind, analyze(comparison, 0.3, 0.5, 0.1))

    fuzz(lambda: without_keypoints(results()), writer(file), read)


def test_samples_for_error_analysis(tmp_path: Path):
    truth, file = tmp_path / "truth.json", tmp_path / "samples.pkl"
    truth.write_text(json.dumps(truth_file()))

    def good() -> list[dict]:
        mask = results()[0]["segmentation"]
        instances = dict(bboxes=[[4.0, 4, 12, 12]], labels=[0], scores=[0.9], masks=[mask])
        return [dict(img_id=i, pred_instances=instances) for i in (1, 2)]

    def arrays(value: Any) -> Any:
        """Lists of numbers become tensors, as tools/test.py has them."""
        if isinstance(value, dict):
            return {key: item if key == "size" else arrays(item) for key, item in value.items()}
        if isinstance(value, list):
            try:
                return torch.tensor(value)
            except (ValueError, TypeError, RuntimeError, OverflowError):
                return [arrays(item) for item in value]
        return value

    def read() -> None:
        for kind, comparison in comparisons(truth, [file]).items():
            tables(kind, analyze(comparison, 0.3, 0.5, 0.1))

    fuzz(good, writer(file, lambda value: pickle.dumps(arrays(value))), read)


def test_files_of_pictures(tmp_path: Path):
    """Ground truth, results and keypoints in files of their own."""
    good = [truth_file(), without_keypoints(results()), results()]
    files = [tmp_path / name for name in ("truth.json", "masks.json", "keypoints.json")]
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((SIDE, SIDE, 3), np.uint8))

    def write(rng: random.Random | None, value: Any) -> list:
        whole = isinstance(value, list) and len(value) == 3
        pairs = zip(files, value if whole else good, strict=True)
        return [writer(file)(rng, part) for file, part in pairs]

    def read() -> None:
        palette = {1: (9, 9, 9), 2: (200, 9, 9)}
        draw_predictions(files[0], tmp_path, files[1], tmp_path / "out", palette, 2,
                         keypoint_file=files[2])  # fmt: skip

    fuzz(lambda: good, write, read)
