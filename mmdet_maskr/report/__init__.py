"""One HTML report about a trained model, and a preview while it trains."""

from mmdet_maskr.report.report import write_report
from mmdet_maskr.report.run_files import Speed

__all__ = ["Speed", "write_report"]
