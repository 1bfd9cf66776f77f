# Table 2b in miniature, row "sigmoid": a mask for each of the six shapes, which overlap.
_base_ = '../../mini/ablation_c4.py'
