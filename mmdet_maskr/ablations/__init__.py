"""The paper's tables as data, and the code that runs and reports them (``tools/ablate.py``)."""

from mmdet_maskr.ablations.tables import TABLES, Table, TableRow

__all__ = ["TABLES", "Table", "TableRow"]
