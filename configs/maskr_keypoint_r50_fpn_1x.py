# The old name of the config below, whose schedule is counted in iterations.
_base_ = 'maskr_keypoint_r50_fpn_90k.py'
_deprecation_ = dict(expected='maskr_keypoint_r50_fpn_90k.py')
