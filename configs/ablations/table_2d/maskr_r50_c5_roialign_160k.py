# Table 2d, row "RoIAlign" (30.9 mask AP, 34.0 box AP): stride 32, FPN's heads.
_base_ = '../../maskr_r50_c5_160k.py'
