# Table 1 in miniature, row "ResNeXt-101-FPN": as in Table 2a, for there is no test split of its
# own.
_base_ = '../table_2a/maskr_mini_x50_fpn.py'
