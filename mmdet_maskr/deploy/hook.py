"""``maskr test --optimize``: runs the test on the fast form of the model."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmdet_maskr.deploy.optimization import optimize


class OptimizeHook(Hook):
    """Replaces the runner's model by its optimized form during the test.

    It runs after other hooks have loaded or averaged the weights.

    Args:
        compile: see :func:`.optimization.optimize`.
    """

    priority = "VERY_LOW"

    def __init__(self, compile: bool = False) -> None:
        self.compile = compile

    def before_test_epoch(self, runner: Runner) -> None:
        """Optimize a copy of the model with its current weights."""
        wrapped = is_model_wrapper(runner.model)
        self._original = runner.model.module if wrapped else runner.model
        self._put(runner, optimize(self._original.eval(), compile=self.compile))

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Restore the model."""
        self._put(runner, self._original)

    def _put(self, runner: Runner, model) -> None:
        if is_model_wrapper(runner.model):
            runner.model.module = model
        else:
            runner.model = model
