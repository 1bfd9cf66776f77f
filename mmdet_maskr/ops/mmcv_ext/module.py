"""``mmcv._ext`` where MMCV was not compiled: its functions are those of mmdet_maskr, in Python.

This file is installed as ``mmcv/_ext.py`` with mmdet_maskr and goes with it. A compiled extension
(``_ext.*.so`` or ``_ext.*.pyd``) in the same folder comes first, as Python looks for those before
it looks for sources. Nothing is imported before the first call of an op: whoever imports mmcv.ops
first, mmdet_maskr itself included, finds it complete.
"""

from collections.abc import Callable
from typing import Any

IN_PYTHON = True  # tells it from the compiled extension


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith("__"):  # such as __path__, which the import system asks for
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def op(*args: Any, **kwargs: Any) -> Any:
        from mmdet_maskr.ops import mmcv_ext

        function = mmcv_ext.find(name)
        globals()[name] = function  # later calls go there without a detour
        return function(*args, **kwargs)

    op.__name__ = name
    globals()[name] = op
    return op
