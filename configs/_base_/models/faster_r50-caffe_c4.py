# Detectron2's Faster R-CNN with ResNet-50-C4: its Mask R-CNN without the mask branch.
_base_ = 'maskr_r50-caffe_c4.py'

model = dict(
    type='FasterRCNN', data_preprocessor=dict(pad_mask=False), roi_head=dict(mask_head=None))
