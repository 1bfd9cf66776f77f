"""Names of the shapes: classes, keypoints, their left/right swaps, sigmas and skeleton."""

CLASSES = ("disc", "box", "triangle", "ring", "bar", "figure")
PALETTE = (
    (230, 80, 60),
    (60, 140, 230),
    (250, 190, 40),
    (150, 80, 210),
    (60, 180, 110),
    (240, 110, 180),
)
# "left" is the figure's own left; it faces the viewer, so its left is on the right of the image.
KEYPOINTS = (
    "head",
    "left_elbow",
    "right_elbow",
    "left_hand",
    "right_hand",
    "left_knee",
    "right_knee",
    "left_foot",
    "right_foot",
)
SWAPS = (
    ("left_elbow", "right_elbow"),
    ("left_hand", "right_hand"),
    ("left_knee", "right_knee"),
    ("left_foot", "right_foot"),
)
SIGMAS = (0.05, 0.07, 0.07, 0.06, 0.06, 0.07, 0.07, 0.06, 0.06)
# 1-based pairs as in COCO. There is no hip or shoulder, so every limb starts at the head.
SKELETON = ((1, 2), (2, 4), (1, 3), (3, 5), (1, 6), (6, 8), (1, 7), (7, 9))
# What a dataset's metainfo has of these, by mmdet_maskr.coco.keypoint_meta.
KEYPOINT_META = dict(
    keypoints=KEYPOINTS,
    keypoint_swaps=SWAPS,
    keypoint_sigmas=SIGMAS,
    skeleton=tuple((KEYPOINTS[a - 1], KEYPOINTS[b - 1]) for a, b in SKELETON),
    keypoint_classes=("figure",),
)

SPLITS = ("train", "val")
SIZE_RANGE = (64, 1024)
