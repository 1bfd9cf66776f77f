"""Mask R-CNN (He et al. 2017) for MMDetection 3.x.

Importing this package checks the installed stack and registers the plugin's parts into mmdet's
registries; a config does so by ``custom_imports = dict(imports=['mmdet_maskr'])``.
"""

from mmdet_maskr import compat, pretrained
from mmdet_maskr.version import __version__

compat.check_dependencies()
compat.apply()
pretrained.apply()

# only after the checks above
from mmdet_maskr import datasets, engine, evaluation, models, visualization  # noqa: E402

__all__ = ["__version__", "datasets", "engine", "evaluation", "models", "visualization"]
