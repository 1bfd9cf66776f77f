"""Training with compiled parts, on a GPU as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from mmdet_maskr.engine.unwrap import unwrapped
from mmdet_maskr.errors import UserError

PARTS = ("backbone", "neck", "rpn_head", "roi_head.bbox_head", "roi_head.mask_head.convs")


@HOOKS.register_module()
class CompileHook(Hook):
    """Trains with parts compiled by torch.compile; on a GPU each shape is captured as a CUDA graph.

    A step's launches then become one a part. Every new shape costs up to minutes, so that there
    have to be few: ``data_preprocessor.pad_to_sizes`` gives sizes of batches, and
    ``train_cfg.rcnn.pad_rois`` numbers of RoIs. Validation runs as without the hook. No config has
    it: on GPUs it is to be measured yet. ::

        model = dict(
            data_preprocessor=dict(pad_to_sizes=[(800, 1344), (1344, 800), (1344, 1344)]),
            train_cfg=dict(rcnn=dict(pad_rois=256)))
        custom_hooks = [dict(type='CompileHook')]

    Args:
        parts: names in the detector.
        graphs: capture CUDA graphs where there is a GPU.
        backend: torch.compile's; 'eager' only traces.

    Raises:
        UserError: before training, a part that the model lacks; shapes that would be many;
            gradients of several steps, which lie in the memory of graphs that are run again.
    """

    def __init__(
        self,
        parts: Sequence[str] = PARTS,
        graphs: bool = True,
        backend: str | Callable = "inductor",
    ) -> None:
        self.parts, self.graphs, self.backend = tuple(parts), graphs, backend
        self._captures = False

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner)
        self._captures = self.graphs and next(model.parameters()).is_cuda
        self._check(model, runner.optim_wrapper)
        mode = dict(mode="reduce-overhead") if self._captures else {}
        for part in [_part(model, name) for name in self.parts]:
            part.compile(backend=self.backend, dynamic=False, **mode)
        runner.logger.info(
            f"compiled for training: {', '.join(self.parts)}. The first step of each shape takes "
            "up to minutes."
        )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        if self._captures:
            torch.compiler.cudagraph_mark_step_begin()

    def before_val(self, runner: Runner) -> None:
        """Images of validation have sizes of their own."""
        torch.compiler.set_stance("force_eager")

    def after_val(self, runner: Runner) -> None:
        torch.compiler.set_stance("default")

    def after_train(self, runner: Runner) -> None:
        self.close()

    def close(self) -> None:
        """Let compiled code run, should a validation have ended early."""
        torch.compiler.set_stance("default")

    def _check(self, model: nn.Module, wrapper: OptimWrapper) -> None:
        if not getattr(model.data_preprocessor, "pad_to_sizes", None):
            raise UserError(
                "CompileHook needs batches of few sizes: set model.data_preprocessor.pad_to_sizes, "
                "e.g. [(800, 1344), (1344, 800), (1344, 1344)]."
            )
        in_rois = [name for name in self.parts if name.startswith("roi_head.")]
        if in_rois and getattr(getattr(model, "roi_head", None), "pad_rois", None) is None:
            raise UserError(
                f"CompileHook needs few numbers of RoIs for {in_rois[0]}: set "
                "model.train_cfg.rcnn.pad_rois=256, or leave it out of CompileHook.parts."
            )
        if self._captures and getattr(wrapper, "_accumulative_counts", 1) > 1:
            raise UserError(
                "CompileHook.graphs does not work with optim_wrapper.accumulative_counts: the next "
                "step would overwrite the gradients. Set graphs=False."
            )


def _part(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        names = [own for own, _ in model.named_children()]
        raise UserError(
            f"CompileHook.parts names {name}, which {type(model).__name__} has not (it has "
            f"{', '.join(names)})."
        ) from None
