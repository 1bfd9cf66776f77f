# RegNetX-3.2GF, 3x at several scales.
_base_ = [
    '_base_/models/maskr_regnetx-3.2gf_fpn.py', '_base_/datasets/coco_instance_ms.py',
    '_base_/schedules/schedule_3x.py', '_base_/default_runtime.py'
]

optim_wrapper = dict(optimizer=dict(weight_decay=0.00005), clip_grad=dict(max_norm=35, norm_type=2))
