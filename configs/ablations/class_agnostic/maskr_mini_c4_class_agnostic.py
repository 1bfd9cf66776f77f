# Section 4.2 in miniature, class-agnostic masks: one mask for all six shapes.
_base_ = 'maskr_mini_c4_class_specific.py'

model = dict(roi_head=dict(mask_head=dict(class_agnostic=True)))
