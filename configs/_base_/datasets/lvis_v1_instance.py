# LVIS v1 on COCO's images: 1203 classes with a long tail, so images with rare ones are repeated.
_base_ = 'coco_instance_ms.py'

dataset_type = 'LVISInstanceDataset'
data_root = 'data/lvis_v1/'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        # an image counts sqrt(oversample_thr / frequency) times for its rarest class
        type='ClassBalancedDataset',
        oversample_thr=1e-3,
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            ann_file='annotations/lvis_v1_train.json',
            # train2017/ and val2017/ are part of the file's own paths
            data_prefix=dict(img=''),
            filter_cfg=dict(filter_empty_gt=True, min_size=32),
            pipeline=_base_.train_pipeline)))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/lvis_v1_val.json',
        data_prefix=dict(img='')))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='LVISInstanceMetric', ann_file=data_root + 'annotations/lvis_v1_val.json')
test_evaluator = val_evaluator
