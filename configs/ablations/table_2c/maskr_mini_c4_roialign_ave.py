# Table 2c in miniature, row "RoIAlign ave": the default, nothing is rounded.
_base_ = '../../mini/ablation_c4.py'
