# The paper's ResNeXt-101-FPN (Tables 1, 2a and 3): one image per GPU and half the learning rate.
# The paper does not name the groups.
_base_ = [
    '_base_/models/maskr_x101-64x4d_fpn.py', '_base_/datasets/coco_instance_iterations.py',
    '_base_/schedules/schedule_160k.py', '_base_/iteration_runtime.py'
]

model = dict(backbone=dict(norm_cfg=dict(requires_grad=False)))
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=8)
