# Large-scale jitter for 100 epochs: Detectron2's new baseline with ResNet-50-FPN.
_base_ = [
    '_base_/models/maskr_r50-syncbn_fpn.py', '_base_/datasets/coco_instance_lsj.py',
    '_base_/schedules/schedule_100e.py', '_base_/default_runtime.py'
]

# every batch of training is 1024 x 1024, in mixed precision, as its 8 images a GPU need
model = dict(
    data_preprocessor=dict(
        batch_augments=[
            dict(type='BatchFixedSizePad', size=(1024, 1024), img_pad_value=0, pad_mask=True)
        ]))
optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic')
