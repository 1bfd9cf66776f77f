# 1x in mixed precision: float16 on GPUs, with loss scaling. On CPUs --amp chooses bfloat16.
_base_ = 'maskr_r50_fpn_1x.py'

optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic')
