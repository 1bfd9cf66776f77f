# Table 2d in miniature, row "RoIAlign": stride 32.
_base_ = '../../mini/ablation_c5.py'
