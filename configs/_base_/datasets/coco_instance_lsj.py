# COCO instances with large-scale jitter: resized by 0.1 to 2 relative to 1024 x 1024, then cropped
# to it (Ghiasi et al. 2021, Simple Copy-Paste).
_base_ = 'coco_instance.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2:3] = [
    dict(type='RandomResize', scale=(1024, 1024), ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_type='absolute_range', crop_size=(1024, 1024),
         recompute_bbox=True, allow_negative_crop=True),
    # what the crop left of an object may be a sliver
    dict(type='FilterAnnotations', min_gt_bbox_wh=(0.01, 0.01))
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
