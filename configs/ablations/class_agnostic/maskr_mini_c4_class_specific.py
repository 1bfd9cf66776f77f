# Section 4.2 in miniature, class-specific masks: the default, as in Table 2b.
_base_ = '../table_2b/maskr_mini_c4_sigmoid.py'
