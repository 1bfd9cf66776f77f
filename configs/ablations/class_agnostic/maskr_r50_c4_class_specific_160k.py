# Section 4.2, class-specific masks (30.3 AP): the default, as in Table 2b.
_base_ = '../table_2b/maskr_r50_c4_sigmoid_160k.py'
