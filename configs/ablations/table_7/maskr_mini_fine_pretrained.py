# Table 7 in miniature, row "fine + COCO": the same few images, but from the weights of a run on all
# (mini/ablation_fpn.py with the same seed; tools/ablate.py passes load_from).
_base_ = 'maskr_mini_fine.py'
