# Section 4.2, beside Table 2d: RoIAlign on a pyramid is better by 1.5 mask AP and 0.5 box AP.
_base_ = '../../maskr_r50_fpn_160k.py'
