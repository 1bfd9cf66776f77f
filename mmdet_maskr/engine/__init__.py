"""Training and testing: how a run is configured, launched, distributed, saved and resumed."""

from mmdet.registry import HOOKS

from mmdet_maskr import adjustments, old_names
from mmdet_maskr.engine.channels_last import ChannelsLastHook
from mmdet_maskr.engine.checkpoint_hook import DurableCheckpointHook
from mmdet_maskr.engine.compile_hook import CompileHook
from mmdet_maskr.engine.durable_runner import DurableRunner
from mmdet_maskr.engine.hang_guard import HangGuardHook
from mmdet_maskr.engine.hooks import DatasetFitHook, RLEMasksInEvaluationHook
from mmdet_maskr.engine.layer_decay import BackboneLayerDecayConstructor
from mmdet_maskr.engine.load_hooks import CheckpointFitHook, ClassTransferHook
from mmdet_maskr.engine.loops import ExactEpochTrainLoop
from mmdet_maskr.engine.loss_guard import LossGuardHook
from mmdet_maskr.engine.optim_wrapper import BFloat16OptimWrapper
from mmdet_maskr.engine.preview_hook import PreviewHook

__all__ = [
    "BFloat16OptimWrapper",
    "BackboneLayerDecayConstructor",
    "ChannelsLastHook",
    "CheckpointFitHook",
    "ClassTransferHook",
    "CompileHook",
    "DatasetFitHook",
    "DurableCheckpointHook",
    "DurableRunner",
    "ExactEpochTrainLoop",
    "HangGuardHook",
    "LossGuardHook",
    "PreviewHook",
    "RLEMasksInEvaluationHook",
]

old_names.register(HOOKS)
__getattr__ = old_names.getter(__name__)

adjustments.apply()
