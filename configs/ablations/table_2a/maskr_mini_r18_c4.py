# Table 2a in miniature, row "ResNet-50-C4": the smaller body, stride 16.
_base_ = '../../mini/ablation_c4.py'
