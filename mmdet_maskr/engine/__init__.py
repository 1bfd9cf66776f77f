"""Training and testing: how a run is configured, launched and distributed."""

from mmdet_maskr.engine.hooks import ClassCountCheckHook, RLEMasksInEvaluationHook
from mmdet_maskr.engine.load_hooks import CheckpointFitHook, ClassTransferHook
from mmdet_maskr.engine.optim_wrapper import BFloat16OptimWrapper

__all__ = [
    "BFloat16OptimWrapper",
    "CheckpointFitHook",
    "ClassCountCheckHook",
    "ClassTransferHook",
    "RLEMasksInEvaluationHook",
]
