"""Faults that only a GPU would show, planted in a model: the checks of the configs find each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from test_configs_on_device import SIZE, build_from, thin_model, types_of_losses
from torch import Tensor, nn

from mmdet_maskr.benchmark.launches import (
    count_prediction,
    count_training_step,
    photo_for,
    training_batch,
)
from mmdet_maskr.benchmark.pretended_gpu import Counts

NAME = "maskr_r50_fpn_1x.py"
DEVICES, HALF_SUM, HALF_LOSS, WAIT = "devices", "half sum", "half loss", "wait"
Change = Callable[..., Any]


@dataclass(frozen=True)
class Fault:
    """``part`` of a model, whose ``method`` gets another result; and what finds it."""

    part: str
    method: str
    change: Change  # of the result, and then the arguments
    found: str
    autocast: torch.dtype | None = None

    def plant(self, model: nn.Module) -> None:
        owner = model
        for name in self.part.split("."):
            owner = getattr(owner, name)
        before = getattr(owner, self.method)
        change = self.change

        def changed(*args: Any, **options: Any) -> Any:
            return change(before(*args, **options), *args)

        setattr(owner, self.method, changed)


def half_sum(x: Tensor) -> Tensor:
    with torch.autocast("cuda", enabled=False):
        return x.half().sum()


def waits_for_each(found: list, *args: Any) -> list:
    """As code that looks at one detection after the other."""
    for own in found:
        for score in own.scores:
            float(score)
    return found


FAULTS = {
    # made on the wrong device
    "anchors on the host": Fault(
        "rpn_head.anchor_grids", "anchors", lambda grids, *_: [g.cpu() for g in grids], DEVICES,
    ),
    "levels of RoIs on the host": Fault(
        "roi_head.bbox_roi_extractor", "map_roi_levels",
        lambda levels, *_: torch.zeros(len(levels), dtype=torch.long), DEVICES,
    ),
    "weights of classes on the host": Fault(
        "roi_head.bbox_head.loss_cls", "forward", lambda loss, *_: loss * torch.ones(3), DEVICES,
    ),
    "a table for the mask logits on the host": Fault(
        "roi_head.mask_head", "forward",
        lambda logits, *_: logits + torch.zeros(logits.shape[1:]), DEVICES,
    ),
    # precision
    "a half-precision sum": Fault(
        "neck", "forward", lambda maps, *_: (maps[0] + 0 * half_sum(maps[0]), *maps[1:]),
        HALF_SUM, torch.float16,
    ),
    "a loss in half precision": Fault(
        "roi_head.mask_head", "loss_and_target",
        lambda out, *_: dict(out, loss_mask=dict(loss_mask=out["loss_mask"]["loss_mask"].half())),
        HALF_LOSS, torch.float16,
    ),
    # the host waits
    "a hidden item()": Fault(
        "backbone", "forward", lambda maps, *_: (maps[0] * min(maps[0].max().item(), 1), *maps[1:]),
        WAIT,
    ),
    "a question": Fault(
        "neck", "forward", lambda maps, *_: maps if (maps[0] == maps[0]).all() else None, WAIT,
    ),
    "chosen by a mask": Fault(
        "roi_head.bbox_head", "forward",
        lambda out, *_: (out[0], out[1] + out[0][out[0] > 1].sum()), WAIT,
    ),
    "a constant made at each step": Fault(
        "neck", "forward", lambda maps, *_: (maps[0] * maps[0].new_tensor([1.0]), *maps[1:]), WAIT,
    ),
    "a table moved at each step": Fault(
        "data_preprocessor", "forward",
        lambda data, *_: dict(data, inputs=data["inputs"] * torch.ones(1).to("cuda")), WAIT,
    ),
    "one detection after the other": Fault("roi_head", "predict_bbox", waits_for_each, WAIT),
}  # fmt: skip


def findings(model: nn.Module, autocast: torch.dtype | None) -> tuple[set[str], list[Counts]]:
    """What a step and a prediction show, and their counts."""
    kinds = types_of_losses(model)
    try:
        counts, _ = count_training_step(
            model, lambda: training_batch(model, SIZE, 3), guarded=True, autocast=autocast, steps=1
        )
        both = [counts, count_prediction(model, photo_for(model, *SIZE), autocast, runs=1)[0]]
    except RuntimeError as error:
        assert "same device" in str(error)
        return {DEVICES}, []
    found = set()
    if any(counts.half_sums for counts in both):
        found.add(HALF_SUM)
    if kinds != {torch.float32}:
        found.add(HALF_LOSS)
    return found, both


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> list[Counter]:
    """Where the host waits for a model without faults, of which nothing else is found either."""
    folder = tmp_path_factory.mktemp("usual")
    assert findings(build_from(thin_model(NAME, folder)), torch.float16)[0] == set()
    found, both = findings(build_from(thin_model(NAME, folder)), None)
    assert found == set()
    return [counts.syncs for counts in both]


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_found(name: str, tmp_path: Path, usual: list[Counter]):
    fault = FAULTS[name]
    model = build_from(thin_model(NAME, tmp_path))
    fault.plant(model)
    found, both = findings(model, fault.autocast)
    if fault.found != WAIT:
        assert found == {fault.found}
        return
    assert found == set()
    # more often than usual, and the line of the code that does so is named
    assert any(counts.syncs - before for counts, before in zip(both, usual, strict=True))
