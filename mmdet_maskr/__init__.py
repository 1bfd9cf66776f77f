"""Mask R-CNN (He et al. 2017) for MMDetection 3.x.

Importing this package checks the installed stack and tells mmdet's registries where its parts are;
a config does so by ``custom_imports = dict(imports=['mmdet_maskr'])``. The parts themselves are
imported when a registry is first asked for one, as mmdet's own are, so that the import costs little
more than mmdet's.

Where none of mmdet, mmcv and mmengine is installed, nothing is registered: only
:func:`mmdet_maskr.deploy.load` can be used, which runs exported models.
"""

import importlib

from mmdet_maskr import compat
from mmdet_maskr.version import __version__

__all__ = ["__version__", "datasets", "engine", "evaluation", "models", "visualization"]

if compat.has_openmmlab():
    compat.check_dependencies()

    from mmdet_maskr import adjustments

    adjustments.announce()


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not compat.has_openmmlab():
        compat.check_dependencies()  # its error says what to install
    return importlib.import_module(f"{__name__}.{name}")
