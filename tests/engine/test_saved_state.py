"""All that mmengine and mmdet train with saves, and resumes as if nothing had been."""

from __future__ import annotations

import inspect
import math
import shutil
from pathlib import Path

import mmdet.engine.schedulers  # noqa: F401
import mmengine.optim.scheduler  # noqa: F401
import pytest
import torch
from mmdet.registry import HOOKS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from mmdet.registry import PARAM_SCHEDULERS as MMDET_SCHEDULERS
from mmdet.structures import DetDataSample
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIMIZERS, PARAM_SCHEDULERS
from toy_training import (
    BATCHES,
    Rates,
    ToyMetric,
    ToyModel,
    assert_equal,
    toy_runner,
    weights_of,
)

from mmdet_maskr import checkpoint_files
from mmdet_maskr.engine import run_state
from mmdet_maskr.engine.resume import remove_functions
from mmdet_maskr.errors import UserError

# Options without which they cannot be built; those of parameters' and momentum's kinds follow.
_OPTIONS = dict(
    ConstantLR=dict(factor=0.5, end=6), CosineAnnealingLR=dict(T_max=10),
    ExponentialLR=dict(gamma=0.9), LinearLR=dict(end=6), MultiStepLR=dict(milestones=[5, 9]),
    StepLR=dict(step_size=3), PolyLR=dict(end=11), OneCycleLR=dict(eta_max=0.2, total_steps=12),
    CosineRestartLR=dict(periods=[6, 6], restart_weights=[1, 0.5], eta_min=0.01),
    ReduceOnPlateauLR=dict(monitor="toy/score", rule="greater", patience=0, by_epoch=True),
    QuadraticWarmupLR=dict(end=7),
)  # fmt: skip
SCHEDULERS = sorted(
    name
    for name in {**PARAM_SCHEDULERS.module_dict, **MMDET_SCHEDULERS.module_dict}
    if name.endswith(("LR", "Momentum"))
)
OPTIMIZERS_HERE = sorted(
    name
    for name, kind in OPTIMIZERS.module_dict.items()
    if inspect.isclass(kind) and name != "Optimizer"  # what all are made of
)
# Models that they need; those that cannot train a model with dense gradients and one loss a step.
_MODELS = {
    "Muon": dict(type="ToyModel", matrices=True),
    "LBFGS": dict(type="AsksAgain"), "SparseAdam": dict(type="LooksUp"),
}  # fmt: skip
_CANNOT = {"LBFGS": "closure", "SparseAdam": "Adam"}


def resumed_equals_undisturbed(tmp_path: Path, at: str = "epoch_1.pth", **options) -> None:
    rates = Rates(("lr", "momentum"))
    scores = [0.1, 0.3, 0.2, 0.2]
    ToyMetric.scores = list(scores)
    calm = toy_runner(tmp_path / "calm", **options)
    calm.register_hook(rates)
    calm.train()
    after = Rates(("lr", "momentum"))
    ToyMetric.scores = scores[0:] if options.get("val_interval") else []
    resumed = toy_runner(tmp_path / "resumed", resume=tmp_path / "calm" / at, **options)
    resumed.register_hook(after)
    resumed.train()
    assert_equal(weights_of(resumed), weights_of(calm))
    assert after.seen and all(rates.seen[i] == seen for i, seen in after.seen.items())


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers(tmp_path: Path, name: str):
    """By name in mmengine's and mmdet's registries: what is new there is tested, too."""
    options = _OPTIONS[name.replace("Momentum", "LR")]
    validated = "Plateau" in name
    resumed_equals_undisturbed(
        tmp_path,
        schedulers=[dict(dict(type=name, by_epoch=False), **options)],
        val_interval=1 if validated else 0,
    )


@MODELS.register_module()
class AsksAgain(ToyModel):
    """Gives an optimizer its loss as often as it asks."""

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict:
        data = self.data_preprocessor(data, True)

        def closure() -> torch.Tensor:
            optim_wrapper.zero_grad()
            loss = self(**data, mode="loss")["loss"]
            loss.backward()
            return loss

        loss = self(**data, mode="loss")["loss"]
        optim_wrapper.update_params(loss, step_kwargs=dict(closure=closure))
        return dict(loss=loss)


@MODELS.register_module()
class LooksUp(BaseModel):
    """Gradients of its table are sparse."""

    def __init__(self, data_preprocessor: None = None) -> None:
        super().__init__(data_preprocessor)
        self.table = torch.nn.Embedding(9, 2, sparse=True)

    def forward(self, inputs: torch.Tensor, mode: str = "tensor") -> dict:
        rows = (torch.stack(list(inputs))[:, 1] * 8).long()
        return dict(loss=(self.table(rows) - 1).square().mean())


@pytest.fixture
def one_process(tmp_path: Path):
    """A process group of this process alone."""
    path = (tmp_path / "group").as_uri()
    torch.distributed.init_process_group("gloo", init_method=path, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", OPTIMIZERS_HERE)
def test_optimizers(tmp_path: Path, name: str, request: pytest.FixtureRequest):
    kind = OPTIMIZERS.get(name)
    sharded = name == "ZeroRedundancyOptimizer"
    if sharded:
        request.getfixturevalue("one_process")
    needs_rate = sharded or "lr" in inspect.signature(kind).parameters
    optimizer = dict(type=name, **(dict(lr=0.01) if needs_rate else {}))
    optimizer.update(dict(optimizer_type="Adam") if sharded else {})
    model = _MODELS.get(name, dict(type="ToyModel"))
    resumed_equals_undisturbed(tmp_path, optimizer=optimizer, model=model)


@pytest.mark.parametrize("name", _CANNOT)
def test_optimizers_that_cannot(tmp_path: Path, name: str):
    runner = toy_runner(tmp_path, optimizer=dict(type=name, lr=0.01))
    with pytest.raises(UserError, match=rf"{name}.*{_CANNOT[name]}"):
        runner.train()
    assert runner.iter == 0


@MODELS.register_module()
class TwoSteps(ToyModel):
    """One optimizer after the other; the second one's loss leaves gradients to the first."""

    def train_step(self, data: dict, optim_wrapper: OptimWrapperDict) -> dict:
        data = self.data_preprocessor(data, True)
        losses = {}
        for name, sign in (("body", 1), ("head", -0.5)):
            losses[f"loss_{name}"] = loss = sign * self(**data, mode="loss")["loss"]
            optim_wrapper[name].update_params(loss)
        return losses


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ByPart:
    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        self.counts = optim_wrapper_cfg["counts"]

    def __call__(self, model: ToyModel) -> OptimWrapperDict:
        body = torch.optim.SGD([*model.backbone.parameters(), *model.norm.parameters()], 0.1, 0.9)
        head = torch.optim.Adam(model.head.parameters(), 0.01)
        return OptimWrapperDict(
            body=OptimWrapper(body), head=OptimWrapper(head, accumulative_counts=self.counts)
        )


def by_part(counts: int = 1) -> dict:
    schedulers = dict(
        body=dict(type="OneCycleLR", by_epoch=False, eta_max=0.2, total_steps=12),
        head=[dict(type="LinearLR", by_epoch=False, end=6)],
    )
    return dict(
        model=dict(type="TwoSteps"),
        optim_wrapper=dict(constructor="ByPart", counts=counts),
        schedulers=schedulers,
    )


@pytest.mark.parametrize("counts", [1, 3])
def test_several_optimizers(tmp_path: Path, counts: int):
    calm = toy_runner(tmp_path / "calm", **by_part(counts))
    calm.train()
    at = tmp_path / "calm" / "epoch_1.pth"
    resumed = toy_runner(tmp_path / "resumed", resume=at, **by_part(counts))
    resumed.train()
    assert_equal(weights_of(resumed), weights_of(calm))
    for name, wrapper in calm.optim_wrapper.items():
        assert resumed.optim_wrapper[name].get_lr() == wrapper.get_lr()
        assert resumed.optim_wrapper[name].inner_count == wrapper.inner_count == 12


def test_several_optimizers_and_losses_that_are_not_finite(tmp_path: Path):
    """The guard looks at what each of them is given."""
    runner = toy_runner(tmp_path, hooks=[dict(type="LossGuardHook", stop_after=99)], **by_part())
    weights = {}

    class Breaks(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            if runner.iter == 5:
                weights.update(weights_of(runner))
                data_batch["inputs"][0] *= float("nan")
                data_batch["data_samples"] = [DetDataSample(metainfo=dict(img_id=1))]

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            if runner.iter == 5:
                parameters = dict(runner.model.named_parameters())
                assert_equal({n: p.clone() for n, p in parameters.items()},
                             {n: weights[n] for n in parameters})  # fmt: skip

    runner.register_hook(Breaks())
    runner.model.norm.track_running_stats = False
    runner.train()
    assert weights and runner.message_hub.get_info("skipped_steps") == 1


def test_several_optimizers_and_a_model_of_one(tmp_path: Path):
    runner = toy_runner(tmp_path, **dict(by_part(), model=dict(type="ToyModel")))
    with pytest.raises(UserError, match=r"body.*head.*ToyModel"):
        runner.train()


@pytest.mark.parametrize(
    "wrapper",
    [
        dict(type="OptimWrapper", accumulative_counts=3, clip_grad=dict(max_norm=1)),
        dict(type="BFloat16OptimWrapper"),
        dict(type="OptimWrapper", paramwise_cfg=dict(norm_decay_mult=0.0, bias_lr_mult=2)),
    ],
)
def test_optimizer_wrappers(tmp_path: Path, wrapper: dict):
    optimizer = dict(type="AdamW", lr=0.01, weight_decay=0.1)
    resumed_equals_undisturbed(tmp_path, optim_wrapper=dict(wrapper, optimizer=optimizer))


class Counts(Hook):
    """Lowers the learning rate when it has counted to six."""

    def __init__(self) -> None:
        self.count = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.count += 1
        if self.count == 6:
            for group in runner.optim_wrapper.optimizer.param_groups:
                group["lr"] /= 10


class KeepsState(Counts):
    """The same, with a state of its own making."""

    def state_dict(self) -> dict:
        return dict(seen=torch.tensor(self.count))

    def load_state_dict(self, state: dict) -> None:
        self.count = int(state["seen"])


@pytest.mark.parametrize("kind", [Counts, KeepsState])
def test_hooks_of_users(tmp_path: Path, kind: type[Hook]):
    for name, at in (("calm", None), ("resumed", tmp_path / "calm" / "epoch_1.pth")):
        runner = toy_runner(tmp_path / name, resume=at)
        runner.register_hook(kind())
        runner.train()
        if at is None:
            expected = weights_of(runner)
    assert_equal(weights_of(runner), expected)


# what is left out needs a model of its own kind, a graphics card or a profiler's packages
STOCK_HOOKS = {
    "EMAHook": dict(ema_type="ExponentialMovingAverage"),
    "EmptyCacheHook": {}, "SyncBuffersHook": {}, "CheckInvalidLossHook": {},
    "SetEpochInfoHook": {}, "SyncNormHook": {}, "ParamSchedulerHook": {}, "IterTimerHook": {},
    "RuntimeInfoHook": {}, "LossGuardHook": dict(stop_after=2), "HangGuardHook": {},
    "PipelineSwitchHook": dict(switch_epoch=1, switch_pipeline=[]),
}  # fmt: skip


@pytest.mark.parametrize("name", STOCK_HOOKS)
def test_stock_hooks(tmp_path: Path, name: str):
    assert HOOKS.get(name) is not None
    resumed_equals_undisturbed(tmp_path, hooks=[dict(type=name, **STOCK_HOOKS[name])])


@pytest.mark.parametrize("save_best", [None, "toy/score"])
def test_early_stopping(tmp_path: Path, save_best: str | None):
    """It stops after as many epochs as undisturbed, and started again after that trains no more.

    A new best score saves the epoch's checkpoint once more, after the validation.
    """
    checkpoint = dict(save_best=save_best, rule="greater")
    scores = [0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]
    stop = [dict(type="EarlyStoppingHook", monitor="toy/score", rule="greater", patience=3)]
    options = dict(epochs=8, val_interval=1, hooks=stop, checkpoint=checkpoint)
    ToyMetric.scores = list(scores)
    calm = toy_runner(tmp_path / "calm", **options)
    calm.train()
    assert calm.epoch == 4
    for done in (1, 2, 3, 4):
        # a checkpoint is saved before its epoch's validation, which is made up for
        validated = done == 1 and save_best is not None
        ToyMetric.scores = scores[done if validated else done - 1 :]
        again = toy_runner(
            tmp_path / f"again_{done}", resume=tmp_path / "calm" / f"epoch_{done}.pth", **options
        )
        again.train()
        assert again.epoch == 4
        hook = next(hook for hook in again.hooks if isinstance(hook, EarlyStoppingHook))
        assert (hook.wait_count, hook.best_score) == (3, 0.5)


def test_validation_alone_with_early_stopping(tmp_path: Path):
    """The hook asks for the training's loop, for which no optimizer has been built."""
    stop = [dict(type="EarlyStoppingHook", monitor="toy/score", rule="greater")]
    ToyMetric.scores = [0.7]
    assert toy_runner(tmp_path, val_interval=1, hooks=stop).val() == {"toy/score": 0.7}


def test_modules_that_choose(tmp_path: Path):
    """A size for the next batches, thresholds that adapt: attributes of modules and their parts."""
    from mmdet.models.data_preprocessors import BatchSyncRandomResize
    from mmdet.models.task_modules import MaxIoUAssigner

    model = torch.nn.ModuleList([BatchSyncRandomResize((32, 64), size_divisor=8)])
    model[0].assigner = MaxIoUAssigner(0.5, 0.4)
    cached = torch.nn.ReLU()
    cached.key, cached.grid = None, None
    model.append(cached)
    start = run_state.snapshot(model, [])
    assert run_state.capture(model, [], start) == {}
    model[0]._input_size = (48, 40)
    model[0].assigner.pos_iou_thr = 0.6
    cached.key, cached.grid = (3, 3), torch.zeros(3)
    states = run_state.capture(model, [], start)
    assert states == {
        "model.0": dict(_input_size=(48, 40)),
        "model.0.assigner[0]": dict(pos_iou_thr=0.6),
        "model.1": {},
    }
    model[0]._input_size, model[0].assigner.pos_iou_thr, cached.key = None, 0.5, None
    assert run_state.restore(model, [], states) == (["model.1"], [])
    assert model[0]._input_size == (48, 40) and model[0].assigner.pos_iou_thr == 0.6
    assert cached.key is None  # alone it would belie the grid


def test_state_that_could_not_be_read(tmp_path: Path):
    class Odd(KeepsState):
        def state_dict(self) -> dict:
            return dict(me=Path("x"))

    runner = toy_runner(tmp_path)
    runner.register_hook(Odd())
    with pytest.raises(UserError, match=r"Odd.*'me'"):
        runner.train()
    checkpoint = dict(
        param_schedulers=[dict(anneal_func=math.cos, end=5)],
        meta=dict(iter=1, mine=Path("x")),
        message_hub=dict(runtime_info=dict(a=1, b=Path("y"))),
    )
    assert sorted(remove_functions(checkpoint)) == ["message_hub.runtime_info.b", "meta.mine"]
    assert checkpoint == dict(
        param_schedulers=[dict(end=5)], meta=dict(iter=1), message_hub=dict(runtime_info=dict(a=1))
    )


def test_weights_alone_and_ema(tmp_path: Path):
    """A file of weights without anything around them: hooks read it as any other."""
    weights = weights_of(toy_runner(tmp_path / "a"))
    torch.save({name: value + 1 for name, value in weights.items()}, tmp_path / "w.pth")
    seen = []

    class Reads(Hook):
        def after_load_checkpoint(self, runner, checkpoint) -> None:
            seen.append((sorted(checkpoint["state_dict"]), dict(checkpoint["meta"])))

    runner = toy_runner(
        tmp_path / "b", hooks=[dict(type="EMAHook")], load_from=str(tmp_path / "w.pth")
    )
    runner.register_hook(Reads())
    runner.train()
    assert seen == [(sorted(weights), {})]
    assert BATCHES * 3 == runner.iter


def test_resumed_without_averages(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """EMAHook saves averages as the model's weights; without it the trained ones are taken."""
    calm = toy_runner(tmp_path / "calm")
    calm.train()
    toy_runner(tmp_path / "averaged", hooks=[dict(type="EMAHook", momentum=0.5)]).train()
    saved = checkpoint_files.load(tmp_path / "averaged" / "epoch_1.pth")
    assert not torch.equal(
        saved["state_dict"]["head.bias"], saved["ema_state_dict"]["module.head.bias"]
    )
    resumed = toy_runner(tmp_path / "resumed", resume=tmp_path / "averaged" / "epoch_1.pth")
    with caplog.at_level("WARNING", logger="mmengine"):
        resumed.logger.addHandler(caplog.handler)
        resumed.train()
    assert "continues without EMA" in caplog.text
    assert_equal(weights_of(resumed), weights_of(calm))


@pytest.mark.parametrize("epochs", [3, 2])
def test_nothing_left_to_train(tmp_path: Path, epochs: int, caplog: pytest.LogCaptureFixture):
    toy_runner(tmp_path, epochs=3).train()
    again = toy_runner(tmp_path, resume=tmp_path / "epoch_3.pth", epochs=epochs)
    with caplog.at_level("WARNING", logger="mmengine"):
        again.logger.addHandler(caplog.handler)
        again.train()
    assert f"the checkpoint has 3 epochs, and train_cfg ends at {epochs}" in caplog.text


def test_what_a_crash_at_the_end_leaves(tmp_path: Path):
    """Between the last checkpoint, its checksum, the pointer, and the removal of what was saved."""
    toy_runner(tmp_path, epochs=2).train()
    names = sorted(path.name for path in tmp_path.glob("*.pth*"))
    checksum, pointer = tmp_path / "epoch_2.pth.sha256", tmp_path / "last_checkpoint"
    whole = checksum.read_bytes()
    checksum.unlink()
    shutil.copy(tmp_path / "epoch_2.pth", tmp_path / "interrupted_iter_8.pth")
    pointer.write_text("epoch_2.pth")
    runner = toy_runner(tmp_path, epochs=2, resume=Path())
    runner._load_from = None
    runner.train()
    assert runner.iter == 8
    assert sorted(path.name for path in tmp_path.glob("*.pth*")) == names
    assert checksum.read_bytes() == whole
    assert pointer.read_text() == str(tmp_path / "epoch_2.pth")


@pytest.mark.parametrize("name", ["last_checkpoint", "epoch_2.pth.sha256"])
def test_places_that_cannot_be_written(tmp_path: Path, name: str):
    """A folder of that name, say: told in a sentence."""
    toy_runner(tmp_path, epochs=2).train()
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    again = toy_runner(tmp_path, resume=tmp_path / "epoch_2.pth")
    with pytest.raises(UserError, match=f"{name} cannot be written: Is a directory.*--resume"):
        again.train()


def test_broken_validation_does_not_block(tmp_path: Path):
    """Each resume trains on up to the next validation; fixed, it ends as an undisturbed run."""
    options = dict(epochs=4, val_interval=1, hooks=[dict(type="EMAHook", momentum=0.3)])
    calm = toy_runner(tmp_path / "calm", **options)
    calm.train()
    for epoch in (1, 2):
        resume = None if epoch == 1 else tmp_path / "work" / f"epoch_{epoch - 1}.pth"
        broken = toy_runner(tmp_path / "work", resume=resume, broken=True, **options)
        with pytest.raises(UserError, match="image 5"):
            broken.train()
        assert broken.iter == epoch * BATCHES
    seen: list[int] = []
    metric = ToyMetric.compute_metrics
    ToyMetric.compute_metrics = lambda self, results: seen.append(len(results)) or metric(self, [])
    try:
        fixed = toy_runner(tmp_path / "work", resume=tmp_path / "work/epoch_2.pth", **options)
        fixed.train()
    finally:
        ToyMetric.compute_metrics = metric
    assert seen == [2 * BATCHES] * 3
    assert_equal(weights_of(fixed), weights_of(calm))
