# Table 2b, row "softmax" (24.8 AP): each pixel is one of the classes or background, as in semantic
# segmentation, so that masks of classes compete; the loss is multinomial instead of binary.
_base_ = '../../maskr_r50_c4_160k.py'

model = dict(roi_head=dict(mask_head=dict(activation='softmax', loss_mask=dict(use_mask=False))))
