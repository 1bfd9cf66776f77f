# Section 4.2 in miniature, class-agnostic masks: one mask for all six shapes.
_base_ = '../../mini/ablation_c4.py'

model = dict(roi_head=dict(mask_head=dict(class_agnostic=True)))
