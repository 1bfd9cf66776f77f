"""What a dataset's ``metainfo`` says about keypoints: names, swaps, sigmas, skeleton, classes.

Keys, all plain tuples (or lists) so that configs can write them:

- ``keypoints``: the K names, in the order of the annotations' arrays;
- ``keypoint_swaps``: pairs of names that a mirrored image exchanges; ``()`` if there are none;
- ``keypoint_sigmas``: K sigmas of the object keypoint similarity (OKS), as COCO's evaluation has
  them: relative to the square root of an object's area;
- ``skeleton``: pairs of names to be joined in pictures (optional);
- ``keypoint_colors``: K RGB colors from 0 to 255 (optional);
- ``keypoint_classes``: names of the classes that have keypoints (optional, default: all).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real

from mmdet_maskr.errors import UserError

# Parts of COCO's person that come left and right, in order, with pycocotools' sigmas.
_PAIRED = dict(
    eye=0.025,
    ear=0.035,
    shoulder=0.079,
    elbow=0.072,
    wrist=0.062,
    hip=0.107,
    knee=0.087,
    ankle=0.089,
)
_LEFT, _RIGHT, _MIDDLE = (255, 128, 0), (0, 170, 255), (60, 200, 60)

_EXPECTED = {
    "keypoints": "write the names of the K keypoints, in the order of the annotations",
    "keypoint_swaps": (
        "write the pairs of names that a mirrored image exchanges, e.g. "
        "(('left_eye', 'right_eye'),), or () if there are none"
    ),
    "keypoint_sigmas": (
        "write one positive number a keypoint, COCO's OKS sigma, e.g. 0.026 for a person's nose"
    ),
    "skeleton": "write pairs of keypoint names, e.g. (('nose', 'left_eye'),); not COCO's indices",
    "keypoint_colors": "write one color (red, green, blue), each from 0 to 255, a keypoint",
    "keypoint_classes": (
        "write a tuple of the names of the classes that have keypoints, e.g. ('person',)"
    ),
}

# Keys that hold nothing but what belongs to the names under "keypoints".
KEYS_OF_NAMES = ("keypoint_swaps", "keypoint_sigmas", "skeleton", "keypoint_colors")

# Names, order and skeleton of COCO's person_keypoints files.
COCO_PERSON = dict(
    keypoints=("nose", *(f"{side}_{part}" for part in _PAIRED for side in ("left", "right"))),
    keypoint_swaps=tuple((f"left_{part}", f"right_{part}") for part in _PAIRED),
    keypoint_sigmas=(0.026, *(sigma for sigma in _PAIRED.values() for _ in range(2))),
    skeleton=(
        ("left_ankle", "left_knee"),
        ("left_knee", "left_hip"),
        ("right_ankle", "right_knee"),
        ("right_knee", "right_hip"),
        ("left_hip", "right_hip"),
        ("left_shoulder", "left_hip"),
        ("right_shoulder", "right_hip"),
        ("left_shoulder", "right_shoulder"),
        ("left_shoulder", "left_elbow"),
        ("right_shoulder", "right_elbow"),
        ("left_elbow", "left_wrist"),
        ("right_elbow", "right_wrist"),
        ("left_eye", "right_eye"),
        ("nose", "left_eye"),
        ("nose", "right_eye"),
        ("left_eye", "left_ear"),
        ("right_eye", "right_ear"),
        ("left_ear", "left_shoulder"),
        ("right_ear", "right_shoulder"),
    ),
    keypoint_colors=(_MIDDLE, *(color for _ in _PAIRED for color in (_LEFT, _RIGHT))),
)


def check_keypoint_meta(metainfo: Mapping) -> None:
    """Check the keys above, as a dataset has them in addition to its ``classes``.

    Raises:
        UserError: a required key is missing, names are unknown or doubled, the swaps are no
            involution, or there are not K sigmas or colors.
    """
    for key in ("keypoints", "keypoint_swaps", "keypoint_sigmas"):
        if metainfo.get(key) is None:
            raise UserError(
                f"metainfo lacks {key!r}: {_EXPECTED[key]}. It has {sorted(metainfo)}; swaps, "
                "sigmas, skeleton and colors of other keypoints cannot be reused."
            )
    for key in _EXPECTED:
        value = metainfo.get(key, ())
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise UserError(f"metainfo[{key!r}] is {value!r}: {_EXPECTED[key]}.")
    names = metainfo["keypoints"]
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"metainfo['keypoints'] is {names!r}: {_EXPECTED['keypoints']}.")
    _check_unique("keypoints", names)
    for key in ("keypoint_swaps", "skeleton"):
        _check_pairs(key, metainfo.get(key, ()), names)
    _check_swaps(metainfo["keypoint_swaps"])
    _check_each("keypoint_sigmas", metainfo["keypoint_sigmas"], names, _is_sigma)
    if metainfo.get("keypoint_colors"):
        _check_each("keypoint_colors", metainfo["keypoint_colors"], names, _is_color)
    _check_keypoint_classes(metainfo)


def flip_indices(metainfo: Mapping) -> list[int]:
    """Index of the keypoint whose place each one takes in a mirrored image; K, an involution."""
    index = {name: k for k, name in enumerate(metainfo["keypoints"])}
    flipped = list(range(len(index)))
    for left, right in metainfo["keypoint_swaps"]:
        flipped[index[left]], flipped[index[right]] = index[right], index[left]
    return flipped


def keypoint_labels(metainfo: Mapping) -> list[int]:
    """Labels of the classes that have keypoints, ascending."""
    classes = metainfo["classes"]
    having = set(metainfo.get("keypoint_classes", classes))
    return [label for label, name in enumerate(classes) if name in having]


def skeleton_indices(metainfo: Mapping) -> list[tuple[int, int]]:
    """0-based indices of the keypoints that the skeleton joins; empty without a skeleton."""
    index = {name: k for k, name in enumerate(metainfo["keypoints"])}
    return [(index[start], index[end]) for start, end in metainfo.get("skeleton", ())]


def _check_unique(key: str, names: Sequence[str]) -> None:
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise UserError(f"metainfo[{key!r}] names {doubled} more than once: {tuple(names)}.")


def _check_pairs(key: str, pairs: Sequence, names: Sequence[str]) -> None:
    for pair in pairs:
        if (
            isinstance(pair, str)
            or not isinstance(pair, Sequence)
            or len(pair) != 2
            or not all(isinstance(name, str) for name in pair)
        ):
            raise UserError(f"metainfo[{key!r}] has the entry {pair!r}: {_EXPECTED[key]}.")
        unknown = [name for name in pair if name not in names]
        if unknown:
            raise UserError(
                f"metainfo[{key!r}] has {tuple(pair)!r}, but {unknown} are not in "
                f"metainfo['keypoints'], which has {tuple(names)}."
            )


def _check_swaps(swaps: Sequence[Sequence[str]]) -> None:
    doubled = [
        name for name, n in Counter(name for pair in swaps for name in pair).items() if n > 1
    ]
    if doubled:
        raise UserError(
            f"metainfo['keypoint_swaps'] has {doubled} more than once, so two flips would "
            "not restore the keypoints: write each pair once, and leave out keypoints that "
            "have no partner."
        )


def _check_each(
    key: str, values: Sequence, names: Sequence[str], is_right: Callable[[object], bool]
) -> None:
    wrong = [value for value in values if not is_right(value)]
    if wrong:
        raise UserError(f"metainfo[{key!r}] has the entry {wrong[0]!r}: {_EXPECTED[key]}.")
    if len(values) != len(names):
        raise UserError(
            f"metainfo[{key!r}] has {len(values)} entries for {len(names)} keypoints: "
            f"{_EXPECTED[key]}."
        )


def _is_sigma(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value) and float(value) > 0


def _is_color(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and len(value) == 3
        and all(isinstance(part, Integral) and 0 <= int(part) <= 255 for part in value)
    )


def _check_keypoint_classes(metainfo: Mapping) -> None:
    if "keypoint_classes" not in metainfo:
        return
    names, classes = metainfo["keypoint_classes"], metainfo.get("classes", ())
    _check_unique("keypoint_classes", names)
    unknown = [name for name in names if name not in classes]
    if unknown or not names:
        raise UserError(
            f"metainfo['keypoint_classes'] is {tuple(names)}, but {unknown} are not in the "
            f"classes {tuple(classes)}: list the classes that have keypoints, or leave the "
            "key out if all have."
        )
