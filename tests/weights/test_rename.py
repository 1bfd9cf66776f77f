"""Name maps: rules, and strictness both ways."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmdet_maskr.weights.rename import Drop, NameMap, Rule, WeightsMismatchError, rename

MAP = NameMap(
    rules=[
        Rule(r"res(\d)\.(\w+)", "layer{1-1}.{2}"),
        Rule(r"head\.(\d+)\.w", "convs.{1/2}.{norm}"),
        Rule(r"both", ("a", "b")),
        Rule(r"gone", "nowhere"),
    ],
    drops=[Drop(r"pixel_.*", "in the config")],
    variables=dict(norm="gn"),
    changes={r"a": lambda tensor: tensor.flip(0)},
    defaults={r".*\.num_batches_tracked": 0},
)


def shapes(**sizes: tuple) -> dict[str, torch.Size]:
    return {name.replace("__", "."): torch.Size(size) for name, size in sizes.items()}


def test_rules():
    source = {
        "res3.w": torch.ones(2),
        "head.14.w": torch.zeros(1),
        "both": torch.arange(3.0),
        "pixel_mean": torch.ones(3),
    }
    target = shapes(a=(3,), layer2__w=(2,), convs__7__gn=(1,), b=(3,), bn__num_batches_tracked=())
    renamed = rename(source, target, MAP)
    assert list(renamed.state) == list(target)
    assert renamed.state["a"].tolist() == [2, 1, 0] and renamed.state["b"].tolist() == [0, 1, 2]
    assert renamed.state["bn.num_batches_tracked"].dtype == torch.long
    assert renamed.dropped == {"pixel_mean": "in the config"}
    renamed.state["b"][0] = 5
    assert source["both"][0] == 0  # a copy


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (dict(unknown=1), {}, r"1 not used:\n  unknown$"),
        (dict(gone=1), {}, r"1 not used:\n  gone \(as nowhere\)$"),
        (dict(both=1), dict(a=(1,)), r"1 not used:\n  both \(as a, b\)"),
        ({}, dict(a=(1,)), r"1 not filled:\n  a$"),
        (dict(both=2), dict(a=(1,), b=(2,)), r"1 of another shape:\n  both \(2,\) for a \(1,\)$"),
        (
            {"res3.w": 1, "res03.w": 1},
            dict(layer2__w=(1,)),
            "not used",
        ),
    ],
)
def test_strict(source: dict, target: dict, message: str):
    tensors: dict[str, Tensor] = {name: torch.zeros(size) for name, size in source.items()}
    with pytest.raises(WeightsMismatchError, match=message):
        rename(tensors, shapes(**target), MAP)


def test_two_sources_of_one_target():
    twice = NameMap(rules=[Rule(r"[xy]", "a")])
    with pytest.raises(WeightsMismatchError, match=r"1 filled twice:\n  a by x and y"):
        rename(dict(x=torch.zeros(1), y=torch.zeros(1)), shapes(a=(1,)), twice)


def test_long_lists_are_cut():
    source = {f"unknown{i}": torch.zeros(1) for i in range(50)}
    with pytest.raises(WeightsMismatchError) as caught:
        rename(source, {}, MAP)
    assert "50 not used" in str(caught.value) and "... and 30 more" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 23
