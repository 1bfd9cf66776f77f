"""Losses that are not finite: the step is left out, the batch saved, the run stopped in time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import child_training as child
import pytest
import torch
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import Runner

from mmdet_maskr import checkpoint_files
from mmdet_maskr.benchmark.pretended_gpu import Counts, on_gpu, real
from mmdet_maskr.engine import step_reading
from mmdet_maskr.engine.batch_file import pack_batch, unpack_batch
from mmdet_maskr.engine.loss_guard import LossGuardHook
from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.late_checks import late_checks, require

SHORT = dict(
    train_cfg__max_epochs=1, val_cfg=None, val_dataloader=None, val_evaluator=None,
    default_hooks__checkpoint__save_best=None, train_dataloader__num_workers=0,
)  # fmt: skip


def spoil(at: tuple[int, ...], value: float) -> Callable[[Runner], None]:
    """Let the classification loss of some iterations (from 0) be ``value``, weights permitting."""

    def prepare(runner: Runner) -> None:
        train_step = runner.model.roi_head.loss
        calls = iter(range(1000))

        def loss(*args, **kwargs):
            losses = train_step(*args, **kwargs)
            if next(calls) in at:
                losses["loss_cls"] = losses["loss_cls"] * value
            return losses

        runner.model.roi_head.loss = loss

    return prepare


def guard(stop_after: int) -> dict:
    hooks = [dict(type="WriteLosses"), dict(type="LossGuardHook", stop_after=stop_after)]
    return dict(SHORT, custom_hooks=hooks)


def test_stops_at_the_first(tmp_path: Path, shapes_root: Path, repo: Path):
    """The message names iteration, images and parts; the batch replays to the same losses."""
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    pid = child.start(
        shapes_root, work_dir, False, spoil((3,), float("nan")), **guard(1),
        default_hooks__checkpoint__by_epoch=False, default_hooks__checkpoint__interval=2,
    )  # fmt: skip
    assert child.finish(pid) == 2
    log = Path(f"{work_dir}.log").read_text()
    assert "error: the loss of iteration 4 is not finite (rank 0: images [" in log
    assert "loss_cls nan" in log and "1 in a row. The weights were not updated" in log
    assert (work_dir / "last_checkpoint").read_text().endswith("iter_2.pth")

    saved = work_dir / "bad_batch_iter_4_rank_0.pth"
    content = checkpoint_files.load(saved)
    assert all(value.isfinite().all() for value in content["state_dict"].values())
    command = [sys.executable, str(repo / "tools" / "replay_batch.py"), str(child.CONFIG)]
    environment = {"PYTHONPATH": f"{repo}:{child.HERE}", "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*command, str(saved)], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    lines = map(str.split, result.stdout.splitlines())
    rows = {words[0]: words[1:] for words in lines if len(words) == 3}
    for name in ("loss_rpn_cls", "loss_rpn_bbox", "loss_bbox", "loss_mask"):
        then, now = rows[name]
        assert then == now and float(then) > 0
    assert rows["loss_cls"][0] == "nan" and float(rows["loss_cls"][1]) > 0  # unspoilt now
    for image in content["data_samples"]:
        assert image["metainfo"]["img_path"] in result.stdout


def test_skips_single_ones(tmp_path: Path, shapes_root: Path):
    """Two single ones cost their own steps, nothing else; three in a row stop the run."""
    for name, at, code in (("single", (1, 3), 0), ("row", (2, 3, 4), 2)):
        work_dir = tmp_path / name
        work_dir.mkdir()
        pid = child.start(shapes_root, work_dir, False, spoil(at, float("inf")), **guard(3))
        log = Path(f"{work_dir}.log")
        assert child.finish(pid) == code, log.read_text()[-2000:]
        assert "step skipped, 2 so far" in log.read_text()
    assert "iteration 5 is not finite" in log.read_text() and "3 in a row" in log.read_text()
    assert f"{tmp_path}/row/bad_batch_iter_3_rank_0.pth" in log.read_text()  # the first of the row
    checkpoint = checkpoint_files.load(tmp_path / "single" / "epoch_1.pth")
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())
    steps = {int(state["step"]) for state in checkpoint["optimizer"]["state"].values()}
    assert steps == {8 - 2}
    assert checkpoint["message_hub"]["runtime_info"]["skipped_steps"] == 2
    assert not list((tmp_path / "row").glob("epoch*"))


def test_keeps_a_few_batches(tmp_path: Path):
    """Each has the model's weights: a run that skips for weeks must not fill the disk."""
    hook, model = LossGuardHook(stop_after=2), torch.nn.Linear(2, 2)
    batch = dict(inputs=[torch.zeros(3, 2, 2)], data_samples=[DetDataSample()])
    for iteration in range(10):
        runner = SimpleNamespace(work_dir=str(tmp_path), iter=iteration, model=model)
        hook._save(runner, batch, {})
        resumed = LossGuardHook(stop_after=2)
        resumed.load_state_dict(hook.state_dict())
        hook = resumed
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(f"bad_batch_iter_{i}_rank_0.pth" for i in (8, 9, 10))


@pytest.mark.parametrize(
    "batch",
    [
        None,
        [torch.zeros(2, 3), torch.zeros(2)],
        dict(inputs=torch.zeros(2, 3)),
        dict(inputs=dict(sup=[torch.zeros(3, 2, 2)]), data_samples=dict(sup=[DetDataSample()])),
        dict(inputs=[torch.zeros(1, 3, 2, 2)], data_samples=[TrackDataSample()]),
    ],
    ids=["none", "tensors", "inputs", "semi-supervised", "tracking"],
)
def test_batches_of_other_models(tmp_path: Path, batch: object):
    """The message has no images, and no file that could not be replayed is written."""
    hook = LossGuardHook()
    hook._is_bad = True
    info = SimpleNamespace(update_info=lambda *a: None, update_scalar=lambda *a: None)
    runner = SimpleNamespace(work_dir=str(tmp_path), iter=6, message_hub=info)
    with pytest.raises(
        UserError, match=r"iteration 7 .*\(rank 0: loss nan\), 1 in a row.*not saved"
    ):
        hook.after_train_iter(runner, 6, batch, dict(loss=torch.tensor(float("nan"))))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bad", [(), (1,), (0, 1), (0, 1, 2, 3)])
def test_accumulation_with_loss_scaling(monkeypatch: pytest.MonkeyPatch, bad: tuple[int, ...]):
    """Two losses a step, some not finite; torch's GradScaler cannot step without any gradient."""
    monkeypatch.setattr(amp_optimizer_wrapper, "is_cuda_available", lambda: True)
    scaler = partial(torch.amp.GradScaler, "cpu", init_scale=8.0)
    monkeypatch.setattr(amp_optimizer_wrapper, "GradScaler", scaler)
    weight = torch.nn.Parameter(torch.tensor([3.0]))
    wrapper = AmpOptimWrapper(
        optimizer=torch.optim.SGD([weight], lr=1.0), loss_scale="dynamic", accumulative_counts=2
    )
    wrapper.initialize_count_status(torch.nn.Module(), 0, 4)
    runner = SimpleNamespace(
        model=torch.nn.Identity(),
        optim_wrapper=wrapper,
        message_hub=SimpleNamespace(runtime_info={}),
    )
    LossGuardHook(stop_after=9).before_train(runner)
    for i in range(4):
        wrapper.update_params(weight.sum() * (float("nan") if i in bad else 1.0))
    assert weight.item() == 3 - (4 - len(bad)) * 0.5
    assert weight.grad is None


@pytest.mark.parametrize("bad", [(), (0,), (1,), (0, 1), (1, 2)])
def test_accumulation_on_two_processes(tmp_path: Path, bad: tuple[int, ...]):
    """A bad loss where the gradients would be averaged: both processes still step alike."""
    slopes = {0: [1.0, 2.0, 3.0, 4.0], 1: [5.0, 7.0, 9.0, 11.0]}

    def train(rank: int) -> None:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{tmp_path}/store", rank=rank, world_size=2
        )
        layer = torch.nn.Linear(1, 1, bias=False)
        layer.weight.data.fill_(3.0)
        model = torch.nn.parallel.DistributedDataParallel(layer)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        wrapper = OptimWrapper(optimizer, accumulative_counts=2)
        wrapper.initialize_count_status(model, 0, 4)
        hub = SimpleNamespace(runtime_info={})
        hook = LossGuardHook(stop_after=9)
        hook.before_train(
            SimpleNamespace(model=torch.nn.Identity(), optim_wrapper=wrapper, message_hub=hub)
        )
        for i, slope in enumerate(slopes[rank]):
            with wrapper.optim_context(model):
                loss = model(torch.tensor([[slope]])).sum()
            # one process is enough for all to leave the step out
            wrapper.update_params(loss * (float("nan") if i in bad and rank == 0 else 1.0))
        (tmp_path / f"weight_{rank}").write_text(repr(layer.weight.item()))

    children = [child.fork(partial(train, rank), tmp_path / f"log_{rank}") for rank in slopes]
    codes = [child.finish(pid) for pid in children]
    assert codes == [0, 0], (tmp_path / "log_0").read_text()
    good = [sum(of[i] for of in slopes.values()) for i in range(4) if i not in bad]
    expected = 3 - 0.01 * sum(good) / 2 / 2  # the mean of two processes, half of each loss
    for rank in slopes:
        assert float((tmp_path / f"weight_{rank}").read_text()) == pytest.approx(expected)


def test_batch_round_trip(shapes_root: Path, tmp_path: Path):
    dataset = child.config(shapes_root, tmp_path).train_dataloader.dataset
    built = DATASETS.build(dataset)
    batch = pseudo_collate([built[0], built[1]])
    torch.save(pack_batch(batch), tmp_path / "batch.pth")
    again = unpack_batch(checkpoint_files.load(tmp_path / "batch.pth"))
    for ours, expected in zip(again["data_samples"], batch["data_samples"], strict=True):
        assert ours.metainfo.keys() == expected.metainfo.keys()
        assert torch.equal(ours.gt_instances.bboxes.tensor, expected.gt_instances.bboxes.tensor)
        assert torch.equal(ours.gt_instances.labels, expected.gt_instances.labels)
        assert (
            ours.gt_instances.masks.to_ndarray() == expected.gt_instances.masks.to_ndarray()
        ).all()
    for ours, expected in zip(again["inputs"], batch["inputs"], strict=True):
        assert torch.equal(ours, expected)


def test_wrong_option():
    with pytest.raises(UserError, match=r"stop_after must be a whole number from 1, not 0"):
        LossGuardHook(stop_after=0)


@pytest.mark.parametrize("fault", ["none", "loss", "check"])
def test_one_wait_for_the_loss_the_log_and_the_checks(pretended_gpu: Counts, fault: str):
    """On a GPU all are read at once, before the weights change; the log's numbers are the CPU's."""

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(2))

        def forward(self, inputs: torch.Tensor, mode: str) -> dict[str, torch.Tensor]:
            with late_checks():
                require((inputs < 5).all(), explain)
            return dict(loss_a=(self.weight * inputs).sum(), loss_b=self.weight.sum())

    def explain() -> None:
        raise UserError("an input is too large")

    model = on_gpu(Model())
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0))
    hook = LossGuardHook()
    hook.guard(model, wrapper)
    inputs = torch.tensor([1.0, dict(none=2.0, loss=float("nan"), check=7.0)[fault]])
    inputs = inputs.nan_to_num(nan=-float("inf")).to("cuda")
    if fault == "check":
        with pytest.raises(UserError, match="too large"):
            model.train_step(dict(inputs=inputs), wrapper)
        assert real(model.weight).tolist() == [1, 1]
        return
    pretended_gpu.clear()
    outputs = model.train_step(dict(inputs=inputs), wrapper)
    assert pretended_gpu.totals()["syncs"] == 1
    assert all(not value.is_cuda for value in outputs.values())
    if fault == "loss":
        assert real(model.weight).tolist() == [1, 1]
        return
    assert {name: value.item() for name, value in outputs.items()} == dict(
        loss=5.0, loss_a=3.0, loss_b=2.0
    )
    assert real(model.weight).tolist() == [-1, -2]


def test_checks_that_no_update_followed(pretended_gpu: Counts):
    """They are read before the next forward pass."""
    model = torch.nn.Identity()
    wrapper = OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0))
    LossGuardHook().guard(model, wrapper)

    def explain() -> None:
        raise UserError("bad")

    with wrapper.optim_context(model):
        require(torch.zeros((), dtype=torch.bool, device="cuda"), explain)
    with pytest.raises(UserError, match="bad"), wrapper.optim_context(model):
        pass


def test_losses_on_a_gpu_are_summed_at_once(pretended_gpu: Counts):
    """mmengine's total, parts and gradients, in three kernels; other forms are left to it."""
    values = torch.rand(4, dtype=torch.float32)
    names = dict(loss_rpn_cls=[0], loss_cls=1, acc=2, loss_mask=3)

    def losses(device: str) -> tuple[dict, torch.Tensor]:
        leaf = values.to(device).requires_grad_()
        own = {
            name: [leaf[i] for i in at] if isinstance(at, list) else leaf[at : at + 1]
            for name, at in names.items()
        }
        return own, leaf

    given, leaf = losses("cpu")
    expected, expected_parts = BaseModel.parse_losses(None, given)
    moved, own_leaf = losses("cuda")
    pretended_gpu.clear()
    total, parts = step_reading._summed(moved)
    assert pretended_gpu.totals()["launches"] <= 3
    assert list(parts) == list(expected_parts)
    for name, value in parts.items():
        torch.testing.assert_close(real(value), expected_parts[name].detach().reshape(()))
    torch.testing.assert_close(real(total), expected.detach())
    (gradient,) = torch.autograd.grad(total, own_leaf)
    torch.testing.assert_close(real(gradient), torch.autograd.grad(expected, leaf)[0])
    assert step_reading._summed(given) is None  # on a CPU
    assert step_reading._summed(dict(moved, loss_map=own_leaf)) is None  # four numbers
    assert step_reading._summed(dict(moved, loss_rpn_cls=[own_leaf[0]] * 2)) is None
