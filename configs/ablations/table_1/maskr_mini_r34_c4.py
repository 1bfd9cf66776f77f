# Table 1 in miniature, row "ResNet-101-C4": as in Table 2a, for there is no test split of its own.
_base_ = '../table_2a/maskr_mini_r34_c4.py'
