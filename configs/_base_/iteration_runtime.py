# The runtime for schedules that count iterations.
_base_ = 'default_runtime.py'

default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=10000),
    logger=dict(log_metric_by_epoch=False))  # or all validations are logged at step 0
log_processor = dict(by_epoch=False)
