# Table 2e, row "FCN" (33.6 AP): four convolutions, deconvolution, a mask for each class.
_base_ = '../../maskr_r50_fpn_160k.py'
