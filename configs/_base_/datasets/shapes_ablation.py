# The shapes in 256 pixels, so that strides of 16 and 32 have something to see, for the tables in
# miniature: python tools/make_shapes.py data/shapes_256 --size 256 (tools/ablate.py makes them).
_base_ = 'shapes_instance.py'

# workers of their own would be more processes than the rows that run in parallel have cores
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
