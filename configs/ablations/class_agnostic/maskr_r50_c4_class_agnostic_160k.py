# Section 4.2, class-agnostic masks (29.7 AP): one m x m mask for all classes is nearly as good,
# because the box branch classifies.
_base_ = '../../maskr_r50_c4_160k.py'

model = dict(roi_head=dict(mask_head=dict(class_agnostic=True)))
