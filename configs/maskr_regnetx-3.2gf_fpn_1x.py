# RegNets are trained with half the weight decay, as PyCls does.
_base_ = [
    '_base_/models/maskr_regnetx-3.2gf_fpn.py', '_base_/datasets/coco_instance.py',
    '_base_/schedules/schedule_1x.py', '_base_/default_runtime.py'
]

optim_wrapper = dict(optimizer=dict(weight_decay=0.00005))
