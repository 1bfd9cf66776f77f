"""Checks of the keypoints of a COCO annotation file; pure functions on parsed JSON.

Each raises a UserError (a ValueError) that names the file and an annotation id. Keypoints are as in
COCO: x, y in pixel indices of the image (the center of its first pixel is (0, 0)) and a visibility
v: 0 not labeled, 1 labeled but hidden, 2 labeled and visible.

Symbols: A annotations, K keypoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mmdet_maskr.errors import UserError


def check_category_keypoints(category: Mapping, names: Sequence[str], ann_file: str) -> None:
    """Check that a category's own keypoint names, where it has them, are the dataset's.

    Args:
        category: entry of the file's ``categories``.
        names: ``metainfo['keypoints']``.
        ann_file: path of the annotation file, for messages.

    Raises:
        UserError: other names, another order, or no list of names.
    """
    in_file = category.get("keypoints")
    if in_file is None:
        return
    if not isinstance(in_file, list) or not all(isinstance(name, str) for name in in_file):
        raise UserError(
            f"category {category['name']!r} of {ann_file} has "
            f"keypoints={str(in_file)[:100]}, which is not a list of names."
        )
    if in_file == list(names):
        return
    if len(in_file) != len(names):
        what = f"{len(in_file)} keypoints and metainfo['keypoints'] {len(names)}"
    elif sorted(in_file) == sorted(names):
        what = "the keypoints of metainfo['keypoints'] in another order"
    else:
        what = "other keypoints than metainfo['keypoints']"
    raise UserError(
        f"category {category['name']!r} of {ann_file} has {what}: {tuple(in_file)} in the file, "
        f"{tuple(names)} in metainfo."
    )


def check_keypoints_present(
    categories: Sequence[Mapping], annotations: Sequence[Mapping], ann_file: str
) -> None:
    """Refuse a class with keypoints whose annotations all lack them.

    A category that names its keypoints may be without any: its annotations are not labeled yet.

    Args:
        categories: entries of the file's ``categories`` that have keypoints by metainfo.
        annotations: all of the file.
        ann_file: path of the annotation file, for messages.

    Raises:
        UserError: a category has annotations, none with ``keypoints``, and no names of its own.
    """
    counts = Counter(annotation["category_id"] for annotation in annotations)
    having = {annotation["category_id"] for annotation in annotations if "keypoints" in annotation}
    for category in categories:
        count = counts[category["id"]]
        if count and category["id"] not in having and "keypoints" not in category:
            raise UserError(
                f"none of the {count} annotations of {category['name']!r} in {ann_file} has "
                "keypoints. If the keypoints are in another file, set it as keypoint_ann_file, "
                "or as ann_file if it also has the boxes and masks. If the class has no "
                "keypoints, leave it out of metainfo['keypoint_classes']."
            )


def read_keypoints(annotations: Sequence[Mapping], num_keypoints: int, ann_file: str) -> np.ndarray:
    """Check the ``keypoints`` of A annotations and put them into one array.

    Args:
        annotations: A annotations that have ``keypoints``, and perhaps ``num_keypoints``.
        num_keypoints: K of the dataset.
        ann_file: path of the annotation file, for messages.

    Returns:
        A x K x 3 float32: x, y, v as in the file.

    Raises:
        UserError: not 3 K numbers, NaN or infinite ones, a visibility other than 0, 1 and 2, or a
            ``num_keypoints`` other than the number of keypoints with v > 0, which is what COCO
            defines it to be and what its evaluation takes on trust.
    """

    def refuse(wrong: Sequence[bool] | np.ndarray, message: Callable[[Mapping], str]) -> None:
        """Raise where ``wrong`` says so, with the ``message`` about the first such annotation."""
        found = np.flatnonzero(wrong)
        if len(found):
            first = annotations[found[0]]
            others = f" So have {len(found) - 1} more annotations." if len(found) > 1 else ""
            raise UserError(f"annotation {first['id']} of {ann_file} {message(first)}{others}")

    # 1. 3 K numbers each
    lists = [annotation["keypoints"] for annotation in annotations]
    refuse(
        [not isinstance(values, list) or len(values) != 3 * num_keypoints for values in lists],
        lambda a: (
            f"has {_describe(a['keypoints'])} as keypoints, not 3 x {num_keypoints} numbers for "
            f"the {num_keypoints} of metainfo['keypoints']: x, y, v each, three zeros for what is "
            "not labeled."
        ),
    )
    if not lists:
        return np.zeros((0, num_keypoints, 3), np.float32)
    numbers = _as_numbers(lists)
    if numbers is None:
        refuse(
            [any(type(v) not in (int, float) for v in values) for values in lists],
            lambda a: f"has keypoints that are no plain list of numbers: {a['keypoints']}.",
        )
        numbers = np.array(lists, np.float64)  # integers that fit into no integer type
    # 2. finite ones
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        points = numbers.astype(np.float32).reshape(-1, num_keypoints, 3)  # (A, K, 3)
    refuse(
        [not finite.all() for finite in np.isfinite(points)],
        lambda a: f"has NaN or infinite numbers among its keypoints: {a['keypoints']}.",
    )
    # 3. a known visibility
    visibility = points[..., 2]
    refuse(
        ((visibility != 0) & (visibility != 1) & (visibility != 2)).any(1),
        lambda a: (
            f"has keypoint visibilities {sorted(set(a['keypoints'][2::3]))}: 0 (not labeled), 1 "
            "(hidden) and 2 (visible) are possible."
        ),
    )
    # 4. their count
    labeled = (visibility > 0).sum(1).tolist()
    refuse(
        [a.get("num_keypoints", n) != n for a, n in zip(annotations, labeled, strict=True)],
        lambda a: (
            f"has num_keypoints {a['num_keypoints']}, but "
            f"{sum(v > 0 for v in a['keypoints'][2::3])} keypoints with v > 0."
        ),
    )
    return points


def join_by_id(
    content: Mapping, keypoint_content: Mapping, ann_file: str, keypoint_ann_file: str
) -> None:
    """Give the annotations of one file the keypoints that another has under the same ids.

    Args:
        content: parsed file with the instances; its annotations get ``keypoints`` and
            ``num_keypoints`` where the other file's have them.
        keypoint_content: parsed file with the keypoints.
        ann_file: path of the first, for messages.
        keypoint_ann_file: path of the second, for messages.

    Raises:
        UserError: the second has ids that the first lacks; annotations with the same id are of
            another image or category; the first has keypoints of its own.
    """
    own = [a["id"] for a in content["annotations"] if "keypoints" in a]
    if own:
        raise UserError(
            f"annotation {own[0]} of {ann_file} has keypoints already: leave "
            f"keypoint_ann_file={keypoint_ann_file!r} out, or set ann_file to a file without "
            "keypoints."
        )
    others = keypoint_content["annotations"]
    by_id = {annotation["id"]: annotation for annotation in content["annotations"]}
    unknown = [a["id"] for a in others if a["id"] not in by_id]
    if unknown:
        raise UserError(
            f"{len(unknown)} of the {len(others)} annotations of {keypoint_ann_file} are not "
            f"in {ann_file}, e.g. those with ids {unknown[:5]}: both files must be of the "
            "same split, and an object must have the same id in both."
        )
    names = {category["id"]: category["name"] for category in content["categories"]}
    other_names = {c["id"]: c["name"] for c in keypoint_content["categories"]}
    for other in others:
        annotation = by_id[other["id"]]
        here = annotation["image_id"], names.get(annotation["category_id"])
        there = other["image_id"], other_names.get(other["category_id"])
        if here != there:
            raise UserError(
                f"annotation {other['id']} is a {here[1]!r} in image {here[0]} by {ann_file}, "
                f"but a {there[1]!r} in image {there[0]} by {keypoint_ann_file}: an object must "
                "have the same id in both files."
            )
        annotation.update({k: other[k] for k in ("keypoints", "num_keypoints") if k in other})


def _as_numbers(lists: Sequence[list]) -> np.ndarray | None:
    """The lists of equal length as one matrix; None if it does not come out as numbers."""
    try:
        numbers = np.array(lists)
    except ValueError:  # of lists within
        return None
    return numbers if numbers.ndim == 2 and numbers.dtype.kind in "iuf" else None


def _describe(keypoints: object) -> str:
    return f"{len(keypoints)} entries" if isinstance(keypoints, list) else repr(keypoints)
