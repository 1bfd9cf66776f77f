# Faster R-CNN with RoIAlign: Mask R-CNN without its mask branch (Table 3's baseline).
_base_ = 'maskr_r50_fpn.py'

model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(pad_mask=False),
    roi_head=dict(mask_roi_extractor=None, mask_head=None))
