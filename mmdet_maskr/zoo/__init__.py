"""Pretrained models by name: a catalogue, downloads, strict conversion, releases of one's own."""

from mmdet_maskr.zoo.catalogue import PretrainedModel, find, models
from mmdet_maskr.zoo.resolve import Local, resolve

__all__ = ["Local", "PretrainedModel", "find", "models", "resolve"]
