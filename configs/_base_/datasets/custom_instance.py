# A COCO-format dataset of your own. Copy this file, and change what is marked with <--.
#
#   data/custom/annotations/train.json   images, annotations and categories, as in COCO
#   data/custom/annotations/val.json
#   data/custom/images/                  the file_name of an image starts here
#
# A config with it:
#   _base_ = ['../_base_/models/maskr_r50_fpn.py', 'my_copy_of_this.py',
#             '../_base_/schedules/schedule_1x.py', '../_base_/default_runtime.py']
#   model = dict(roi_head=dict(bbox_head=dict(num_classes=3), mask_head=dict(num_classes=3)))
#   load_from = 'checkpoint of COCO.pth'
#   custom_hooks = [*_base_.custom_hooks, dict(type='ClassTransferHook')]
#
# Names, files and folders are checked before training starts.
_base_ = 'coco_instance.py'

data_root = 'data/custom/'  # <-- or --data-root FOLDER
# <-- in any order; a subset of the file's is fine; one class is ('cat', )
metainfo = dict(classes=('cat', 'dog', 'bird'))

train_dataloader = dict(
    batch_size=2,  # <-- images per GPU; --auto-scale-lr scales the learning rate to it
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/train.json',  # <--
        data_prefix=dict(img='images/'),  # <--
        # images without objects are left out; filter_empty_gt=False keeps them
        filter_cfg=dict(filter_empty_gt=True, min_size=32)))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/val.json',  # <--
        data_prefix=dict(img='images/')))  # <--
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=data_root + 'annotations/val.json')  # <--
test_evaluator = val_evaluator
