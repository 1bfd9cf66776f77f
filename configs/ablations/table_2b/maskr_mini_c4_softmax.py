# Table 2b in miniature, row "softmax": masks of the six shapes and background compete.
_base_ = '../../mini/ablation_c4.py'

model = dict(roi_head=dict(mask_head=dict(activation='softmax', loss_mask=dict(use_mask=False))))
