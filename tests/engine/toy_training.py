"""Trainings of a dot product on eight numbers by DurableRunner, in a tenth of a second."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from forked import finish, fork
from mmdet.registry import DATASETS, METRICS, MODELS
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmdet_maskr.engine.durable_runner import DurableRunner
from mmdet_maskr.errors import UserError

BATCHES = 4
_numbers = itertools.count()


@MODELS.register_module()
class ToyModel(BaseModel):
    """A linear layer, batch norm, a linear layer.

    Args:
        matrices: no parameters but matrices.
        heads: layers at the end, of which one is taken.
    """

    def __init__(
        self, matrices: bool = False, heads: int = 1, data_preprocessor: Any = None
    ) -> None:
        super().__init__(data_preprocessor)
        self.backbone = nn.Linear(3, 3, bias=not matrices)
        self.norm = nn.BatchNorm1d(3, affine=not matrices)
        self.head = nn.Linear(3, 1, bias=not matrices)
        self.others = nn.ModuleList(nn.Linear(3, 1) for _ in range(heads - 1))

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        result = self.head(self.norm(self.backbone(torch.stack(list(inputs)))))
        return dict(loss=(result - 1).square().mean()) if mode == "loss" else list(result)


@DATASETS.register_module()
class ToyDataset(Dataset):
    metainfo = dict(classes=("a",))

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 2 * BATCHES

    def __getitem__(self, index: int) -> dict:
        if self.broken and index == 5:
            raise UserError("image 5 cannot be read.")
        return dict(inputs=torch.arange(3.0) * (index + 1) / 8)


@METRICS.register_module()
class ToyMetric(BaseMetric):
    """Scores that are given, one at each validation."""

    scores: list[float] = []
    default_prefix = "toy"

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results += data_samples

    def compute_metrics(self, results: list) -> dict:
        return dict(score=ToyMetric.scores.pop(0) if ToyMetric.scores else 0.5)


class Rates(Hook):
    """Notes each parameter group's values in each iteration."""

    priority = "HIGHEST"

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.seen: dict[int, list] = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        groups = runner.optim_wrapper.optimizer.param_groups
        self.seen[runner.iter] = [[group.get(name) for name in self.names] for group in groups]


def toy_runner(
    work_dir: Path,
    resume: Path | None = None,
    epochs: int = 3,
    optimizer: dict | None = None,
    schedulers: list[dict] | None = None,
    hooks: list | None = None,
    val_interval: int = 0,
    checkpoint: dict | None = None,
    broken: bool = False,
    **options: Any,
) -> DurableRunner:
    """A Runner of ``epochs`` x 4 iterations; it saves each epoch."""
    loader = dict(
        batch_size=2,
        dataset=dict(type="ToyDataset"),
        sampler=dict(type="DefaultSampler", shuffle=True),
    )
    validation = dict(val_cfg=None, val_dataloader=None, val_evaluator=None)
    if val_interval:
        sampler = dict(type="DefaultSampler", shuffle=False)
        validation = dict(
            val_cfg=dict(type="ValLoop"),
            val_dataloader=dict(
                loader, sampler=sampler, dataset=dict(type="ToyDataset", broken=broken)
            ),
            val_evaluator=dict(type="ToyMetric"),
        )
    settings = dict(
        model=dict(type="ToyModel"),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=val_interval or 1000),
        optim_wrapper=dict(optimizer=optimizer or dict(type="SGD", lr=0.1, momentum=0.9)),
        param_scheduler=schedulers,
        default_hooks=dict(
            checkpoint={"type": "DurableCheckpointHook", "interval": 1, **(checkpoint or {})},
            logger=dict(type="LoggerHook", interval=1),
        ),
        custom_hooks=hooks,
        randomness=dict(seed=3),
        default_scope="mmdet",
        log_level="WARNING",
        load_from=None if resume is None else str(resume),
        resume=resume is not None,
        experiment_name=f"toy_{next(_numbers)}",
        **validation,
    )
    return DurableRunner(work_dir=str(work_dir), **{**settings, **options})


def run_ranks(tmp_path: Path, world_size: int, run: Callable[[int], object]) -> list[int]:
    """Call ``run(rank)`` in forked processes of one gloo group; their exit codes.

    Output of rank R goes to rank_R.log in ``tmp_path``.
    """
    store = tmp_path / f"store_{next(_numbers)}"

    def start(rank: int) -> None:
        os.environ["LOCAL_RANK"] = str(rank)
        torch.distributed.init_process_group(
            "gloo", init_method=store.as_uri(), rank=rank, world_size=world_size
        )
        run(rank)

    children = [
        fork(partial(start, rank), tmp_path / f"rank_{rank}.log") for rank in range(world_size)
    ]
    return [finish(pid) for pid in children]


def rank_runner(*args: Any, **options: Any) -> DurableRunner:
    """A :func:`toy_runner` that trains on all ranks of :func:`run_ranks`."""
    wrapper = dict(type="MMDistributedDataParallel", broadcast_buffers=False, device_ids=None)
    cfg = dict(model_wrapper_cfg=wrapper, env_cfg=options.get("env_cfg", {}))
    return toy_runner(*args, launcher="pytorch", cfg=cfg, **options)


def weights_of(runner: DurableRunner) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
