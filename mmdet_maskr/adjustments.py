"""Applied by importing it, once: what today's torch, numpy and OpenMMLab's packages need.

Each folder that has registered parts imports this module, so that it is in force before a part is
built. ``import mmdet_maskr`` alone only lets torch read mmengine's checkpoints.
"""

from mmdet_maskr import compat, pretrained

compat.apply()
pretrained.apply()
