# The paper's ResNet-101-C4 (Tables 1 and 2a).
_base_ = 'maskr_r50_c4_160k.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')),
    roi_head=dict(
        shared_head=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101'))))
