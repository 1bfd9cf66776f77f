"""Mask R-CNN (He et al. 2017) for MMDetection 3.x.

Importing this package checks the installed stack and registers the plugin's parts into mmdet's
registries; a config does so by ``custom_imports = dict(imports=['mmdet_maskr'])``.

Where none of mmdet, mmcv and mmengine is installed, nothing is registered: only
:func:`mmdet_maskr.deploy.load` can be used, which runs exported models.
"""

from mmdet_maskr import compat
from mmdet_maskr.version import __version__

__all__ = ["__version__", "datasets", "engine", "evaluation", "models", "visualization"]

if compat.has_openmmlab():
    from mmdet_maskr import pretrained

    compat.check_dependencies()
    compat.apply()
    pretrained.apply()

    # only after the checks above
    from mmdet_maskr import datasets, engine, evaluation, models, visualization
else:

    def __getattr__(name: str) -> object:
        if name in __all__:
            compat.check_dependencies()  # its error says what to install
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
