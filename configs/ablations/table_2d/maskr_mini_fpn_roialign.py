# Beside Table 2d in miniature: RoIAlign on a pyramid, whose strides are finer.
_base_ = '../../mini/ablation_fpn.py'
