"""Error analysis: errors by kind, what each costs, and confused classes.

After Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors".
"""

from mmdet_maskr.evaluation.error_analysis.confusion import confusion_matrix
from mmdet_maskr.evaluation.error_analysis.matching import Matching, match
from mmdet_maskr.evaluation.error_analysis.split import ERRORS, ErrorSplit, split_errors

__all__ = ["ERRORS", "ErrorSplit", "Matching", "confusion_matrix", "match", "split_errors"]
