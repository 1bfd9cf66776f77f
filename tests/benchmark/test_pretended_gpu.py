"""A GPU that is not there: right numbers, and faults that only a GPU would show are found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmdet_maskr.benchmark.pretended_gpu import Counts, PretendedTensor, on_gpu, pretended_gpu, real
from mmdet_maskr.benchmark.pretended_gpu.counts import BACKWARD


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))


def test_numbers_are_those_of_the_cpu():
    """Losses, gradients, running statistics and the optimizer's step."""
    images = torch.rand(2, 3, 8, 8)

    def step(model: nn.Module, device: str) -> float:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=True)
        found = model(images.to(device)) * 2
        found[:, :2] += 1
        loss = found.square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    expected_model = tiny()
    expected = step(expected_model, "cpu")
    model = tiny()
    with pretended_gpu():
        assert step(on_gpu(model), "cuda") == expected
    for own, other in zip(
        [*model.parameters(), *model.buffers()],
        [*expected_model.parameters(), *expected_model.buffers()],
        strict=True,
    ):
        assert own.device == torch.device("cuda:0")
        torch.testing.assert_close(real(own), other.detach(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "move",
    [
        lambda x: x.to("cuda"),
        lambda x: x.to(torch.device("cuda", 0)),
        lambda x: x.cuda(),
        lambda x: x.to(torch.zeros(1, device="cuda")),
        lambda x: x.to(device="cuda", dtype=torch.float32),
        lambda x: torch.as_tensor(x, device="cuda"),
        lambda x: torch.zeros(2, device="cuda").copy_(x),
    ],
)
def test_moves(pretended_gpu: Counts, move: Callable[[Tensor], Tensor]):
    moved = move(torch.tensor([1.0, 2.0]))
    assert moved.is_cuda
    assert moved.device == torch.device("cuda:0")
    assert pretended_gpu.totals()["copies"] >= 1
    assert pretended_gpu.to_device_bytes.total() >= 8
    assert moved.cpu().tolist() == [1.0, 2.0]
    assert moved.to(torch.float64).dtype == torch.float64
    assert moved.to(torch.float64).is_cuda


def test_made_on_the_device_without_copies(pretended_gpu: Counts):
    x = torch.arange(4, device="cuda", dtype=torch.float32)
    for made in (
        x.new_zeros(2),
        torch.zeros_like(x),
        torch.full((2,), 1.5, device=x.device),
        x[1:],
    ):
        assert made.is_cuda
    totals = pretended_gpu.totals()
    assert (totals["copies"], totals["syncs"]) == (0, 0)
    assert totals["launches"] == 4  # a view launches nothing


def test_kernels_of_autograd_are_of_the_backward_pass(pretended_gpu: Counts):
    weight = torch.ones(3, device="cuda", requires_grad=True)
    (weight * 2).sum().backward()
    places = {place for _, place in pretended_gpu.launches}
    assert BACKWARD in places
    assert any(place.startswith("test_pretended_gpu.py:") for place in places)


def test_copies_that_do_not_wait(pretended_gpu: Counts):
    torch.ones(3).to("cuda", non_blocking=True)
    assert pretended_gpu.totals()["copies"] == 1
    assert pretended_gpu.totals()["syncs"] == 0


def test_numbers_filled_in_by_a_mask_do_not_wait(pretended_gpu: Counts):
    """``x[mask] = number`` is masked_fill on a GPU."""
    x = torch.arange(4.0, device="cuda")
    x[x > 1] = -1.0
    assert pretended_gpu.totals()["syncs"] == 0
    assert x.tolist() == [0.0, 1.0, -1.0, -1.0]


# Faults that pass unnoticed on a CPU. On a GPU the first ones end in an error, the others wait.
MIXED: dict[str, Callable[[Tensor], object]] = {
    "a sum of two devices": lambda x: x + torch.ones(3),
    "joined": lambda x: torch.cat([x, torch.zeros(1)]),
    "a table of the host": lambda x: torch.ones(5)[x.long()],
    "written into the host's": lambda x: torch.ones(3).mul_(x),
    "a choice": lambda x: torch.where(x > 0, x, torch.zeros(3)),
    "a product": lambda x: torch.eye(3) @ x,
}
WAITS: dict[str, Callable[[Tensor], object]] = {
    "bool": lambda x: bool((x > 0).any()),
    "item": lambda x: max(x.sum().item(), 1.0),
    "tolist": lambda x: x.tolist(),
    "a boolean mask": lambda x: x[x > 0],
    "written by a mask": lambda x: x.masked_fill(x > 0, 0).__setitem__(x > 0, x[:2]),
    "nonzero": lambda x: (x > 0).nonzero(),
    "unique": lambda x: x.unique(),
    "repeat_interleave": lambda x: torch.repeat_interleave(x.long()),
    "new_tensor": lambda x: x.new_tensor([1.0, 2.0]),
    "torch.tensor": lambda x: torch.tensor([1.0], device=x.device),
    "an index of the host": lambda x: x[torch.tensor([0, 1])],
    "to": lambda x: torch.ones(3).to(x.device),
    "cpu": lambda x: x.cpu(),
    "equal": lambda x: torch.equal(x, x),
}


@pytest.mark.parametrize("fault", list(MIXED.values()), ids=list(MIXED))
def test_devices_that_meet(pretended_gpu: Counts, fault: Callable[[Tensor], object]):
    x = torch.arange(3.0, device="cuda")
    with pytest.raises(RuntimeError, match="same device"):
        fault(x)
    fault(x.cpu())  # all is well on a CPU


@pytest.mark.parametrize("fault", list(WAITS.values()), ids=list(WAITS))
def test_the_host_waits(pretended_gpu: Counts, fault: Callable[[Tensor], object]):
    x = torch.arange(3.0, device="cuda")
    pretended_gpu.clear()
    fault(x)
    assert pretended_gpu.totals()["syncs"] >= 1
    assert all(place.startswith("test_pretended_gpu.py:") for _, place in pretended_gpu.syncs)


def test_arrays_are_refused(pretended_gpu: Counts):
    x = torch.arange(3.0, device="cuda")
    for fault in (lambda: x.numpy(), lambda: np.asarray(x)):
        with pytest.raises(TypeError, match="cuda"):
            fault()


def test_sums_in_half_precision(pretended_gpu: Counts):
    """Above 2,048 elements a float16 loses what is added; CUDA's autocast sums in float32."""
    x = torch.ones(4096, device="cuda", dtype=torch.float16)
    x[:2048].sum()
    x.sum(dtype=torch.float32)
    x.float().mean()
    assert not pretended_gpu.half_sums
    x.sum()
    x.mean()
    assert [(name, count) for name, count, _ in pretended_gpu.half_sums] == [
        ("sum", 4096),
        ("mean", 4096),
    ]
    pretended_gpu.clear()
    with torch.autocast("cuda", torch.float16):
        assert x.sum().dtype == torch.float32
        assert (x[:, None] @ x[None, :2]).dtype == torch.float16
    assert not pretended_gpu.half_sums


def test_nothing_stays_of_it():
    with pretended_gpu():
        kept = torch.zeros(2, device="cuda")
    assert isinstance(kept, PretendedTensor)
    assert not torch.zeros(2).is_cuda
    with pytest.raises((AssertionError, RuntimeError)):
        torch.zeros(2, device="cuda:0" if not torch.cuda.is_available() else "cuda:99")
