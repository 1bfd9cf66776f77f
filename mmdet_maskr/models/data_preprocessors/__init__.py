"""Data preprocessors that mmdet does not have."""

from mmdet_maskr.models.data_preprocessors.bands import BandsDataPreprocessor
from mmdet_maskr.models.data_preprocessors.batched import BatchedDataPreprocessor
from mmdet_maskr.models.data_preprocessors.unit_range import UnitRangePreprocessor

__all__ = ["BandsDataPreprocessor", "BatchedDataPreprocessor", "UnitRangePreprocessor"]
