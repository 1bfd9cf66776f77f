# The shapes for the tables in miniature, read without workers: these would be more processes than
# the rows that run in parallel have cores.
_base_ = 'shapes_instance.py'

train_dataloader = dict(num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
