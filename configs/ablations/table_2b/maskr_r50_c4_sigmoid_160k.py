# Table 2b, row "sigmoid" (30.3 AP): one mask for each class, without competition between classes.
_base_ = '../../maskr_r50_c4_160k.py'
