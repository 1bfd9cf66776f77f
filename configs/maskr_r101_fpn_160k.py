# The paper's ResNet-101-FPN (Tables 1, 2a and 3).
_base_ = 'maskr_r50_fpn_160k.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))
