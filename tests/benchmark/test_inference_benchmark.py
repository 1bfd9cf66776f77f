"""inference runs every form, compares what they detect, and writes what it prints."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch

from mmdet_maskr.benchmark import inference
from mmdet_maskr.benchmark.random_model import (
    batch_of,
    build,
    calibrate,
    our_config,
    synthetic_photo,
)
from mmdet_maskr.errors import UserError

SMALL = ["inference", "--models", "mini", "--size", "128", "160", "--repeats", "1"]


def run(*args: str) -> None:
    parser = argparse.ArgumentParser()
    inference.add_inference(parser.add_subparsers())
    parsed = parser.parse_args(args)
    parsed.run(parsed)


@pytest.fixture(autouse=True)
def small_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "PEAK_SIDE", 64)


def test_a_row_for_each_form(tmp_path: Path, capsys: pytest.CaptureFixture):
    file = tmp_path / "inference.json"
    forms = ["--forms", "optimized", "--autocast", "bfloat16"]
    run(*SMALL, *forms, "--no-memory", "--json", str(file))
    rows = json.loads(file.read_text())["rows"]
    assert [row["case"] for row in rows] == [
        f"mini model, {form}" for form in ("ours", "optimized", "optimized, bfloat16")
    ]
    for row in rows[:2]:
        assert row["differences"]["unmatched"] == 0 and row["differences"]["box"] < 0.01
        assert row["ratio"] > 0 and row["share_of_peak"] > 0
    assert {"backbone", "RPN", "boxes", "masks", "paste", "rest"} == set(rows[1]["parts"])
    assert "30 detections" in capsys.readouterr().out


def test_other_detections_and_bad_options_are_refused(monkeypatch: pytest.MonkeyPatch):
    for options, message in (
        (["--size", "16", "64"], "--size must be at least 32 by 32"),
        (["--image", "nothing.jpg"], "nothing.jpg cannot be read: no such file"),
    ):
        with pytest.raises(UserError, match=message):
            run(*SMALL, *options)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="torch finds no GPU"):
            run(*SMALL, "--device", "cuda")
    in_form = inference.in_form

    def shifted(model: torch.nn.Module, form: str, autocast: str | None) -> torch.nn.Module:
        model = in_form(model, form, autocast)
        model.roi_head.bbox_head.fc_reg.bias.data += 0.1
        return model

    monkeypatch.setattr(inference, "in_form", shifted)
    with pytest.raises(UserError, match="detections differ from the unoptimized model's"):
        run(*SMALL, "--forms", "optimized", "--no-memory")


def test_differences_are_those_of_the_nearest_of_a_class():
    model = build(our_config("maskr_mini_fpn.py"))
    batch = batch_of(synthetic_photo(96, 128))
    calibrate(model, batch)
    found = inference.Contender("ours", model, batch)
    found()
    a = found.found
    b = a[torch.arange(len(a)).flip(0)]
    assert inference.differences(b, a) == dict(unmatched=0, box=0, score=0, mask=0)
    b.bboxes = b.bboxes + 0.25
    assert inference.differences(b, a)["box"] == pytest.approx(0.25, abs=1e-4)
    b.labels = (b.labels + 1) % 6
    assert inference.differences(b, a)["unmatched"] > 0
