# Table 2c, row "RoIAlign ave" (30.3 AP): the default, nothing is rounded.
_base_ = '../table_2b/maskr_r50_c4_sigmoid_160k.py'
