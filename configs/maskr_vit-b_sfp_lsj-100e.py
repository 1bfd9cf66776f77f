# ViTDet-B on COCO with large-scale jitter: Detectron2's mask_rcnn_vitdet_b_100ep.
_base_ = [
    '_base_/models/maskr_vit-b_sfp.py', '_base_/datasets/coco_instance_lsj.py',
    '_base_/schedules/schedule_100e_vit-b.py', '_base_/default_runtime.py'
]

# images are tested at the size of the training's crops
test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(type='Resize', scale=(1024, 1024), keep_ratio=True)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
