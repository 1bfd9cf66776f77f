# Table 2e in miniature, row "FCN": four convolutions, deconvolution, a mask for each class.
_base_ = '../../mini/ablation_fpn.py'
