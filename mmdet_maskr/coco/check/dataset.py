"""Checks a whole annotation file and makes a cleaned copy."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mmdet_maskr.coco.check.annotations import check_annotation, check_category, check_image
from mmdet_maskr.coco.check.crowds import Crowds
from mmdet_maskr.coco.check.fixing import (
    ANNOTATION_ENTRY,
    CATEGORY_ENTRY,
    IMAGE_ENTRY,
    SECTIONS,
    fix,
)
from mmdet_maskr.coco.check.problems import Problem
from mmdet_maskr.coco.check.trainable import Tally
from mmdet_maskr.coco.check.values import is_box, is_id, is_number

Progress = Callable[[int, int], None]
ROUNDS = 3  # fixing one thing may show another


class Found:
    """The problems of one file.

    Attributes:
        content: the file, with all values fixed whose meaning is clear.
        problems: (kind, index, problem): kind is IMAGE_ENTRY, ANNOTATION_ENTRY or CATEGORY_ENTRY,
            and ``index`` the position in its list; kind is None if a cleaned copy changes nothing.
        options: what :func:`check_content` was called with.
    """

    def __init__(self, content: dict, options: dict[str, Any]) -> None:
        self.content, fixed = fix(content)
        self.problems: list[tuple[str | None, int, Problem]] = [*fixed]
        self.options = options


def check_content(
    content: dict,
    classes: Sequence[str] | None = None,
    keypoints: bool = False,
    progress: Progress = lambda done, total: None,
    num_keypoints: Mapping[str, int] | None = None,
    polygons_only: bool = False,
) -> Found:
    """Check a parsed annotation file, without its images.

    Args:
        content: the file, with the lists ``images``, ``annotations`` and ``categories``.
        classes: classes of the config; each must be one of the categories.
        keypoints: whether to check keypoints.
        progress: called with the number of annotations done and their total.
        num_keypoints: K for each class with keypoints, from the config; used for categories without
            keypoint names.
        polygons_only: whether masks are loaded with ``poly2mask=False``.
    """
    # 1. fix what has one reading, then check categories and images
    options = dict(classes=classes, keypoints=keypoints, num_keypoints=num_keypoints)
    found = Found(content, dict(options, polygons_only=polygons_only))
    content = found.content
    categories = _check_categories(found, classes)
    joints = _joints(found, categories, num_keypoints or {}) if keypoints else {}
    images = _check_images(found)
    # 2. check each annotation: its ids, then its values against its image and category
    used_images: Counter = Counter()
    used_categories: Counter = Counter()
    ids: set = set()
    tally = _tally(categories, classes, polygons_only)
    annotations = content["annotations"]
    for index, annotation in enumerate(annotations):
        if index % 1000 == 0:
            progress(index, len(annotations))
        where = f"annotations[{index}]"
        if not isinstance(annotation, dict) or not is_id(annotation.get("id")):
            found.problems.append((ANNOTATION_ENTRY, index, Problem("entry", where, "needs an id")))
            continue
        where = f"annotation {annotation['id']}"
        for problem in _check_ids(annotation, where, ids, images, categories):
            found.problems.append((ANNOTATION_ENTRY, index, problem))
        image = images.get(_key(annotation.get("image_id")))
        category = categories.get(_key(annotation.get("category_id")))
        countable = is_box(annotation.get("bbox")) and is_number(annotation.get("area"))
        if countable and category is not None:  # others are errors of their own
            tally.add(_looked_at(annotation), image)
        if image is None or category is None:
            continue
        used_images[_key(image["id"])] += 1
        used_categories[_key(category["id"])] += 1
        size = image["width"], image["height"]
        own_joints = joints.get(_key(category["id"]))
        for problem in check_annotation(annotation, where, *size, own_joints):
            found.problems.append((ANNOTATION_ENTRY, index, problem))
    progress(len(annotations), len(annotations))
    # 3. look at the file as a whole: crowds, empty categories and images, what a training uses
    names = {category["id"]: category["name"] for category in categories.values()}
    single = {index for _, index, problem in found.problems if problem.code == "crowd-single"}
    flagged = [{**a, "iscrowd": 1} if i in single else a for i, a in enumerate(annotations)]
    crowds = Crowds(flagged)
    if not crowds.known:
        found.problems.append((None, 0, Problem("crowds", "the file", crowds.told(names))))
    for key, category in categories.items():
        if not used_categories[key]:
            found.problems.append((None, 0, Problem("category-empty", category["name"])))
    for key, image in images.items():
        if not used_images[key]:
            problem = Problem("image-without-annotations", f"image {image['id']}")
            found.problems.append((None, 0, problem))
    if tally.total and not tally.used:
        problem = Problem("nothing-trainable", "the file", f"{tally.listed()}. {tally.cause()}")
        found.problems.append((None, 0, problem))
    elif tally.is_much:
        detail = f"{tally.total - tally.used} of {tally.total}: {tally.listed()}. {tally.cause()}"
        found.problems.append((None, 0, Problem("left-out", "the file", detail)))
    return found


def _tally(categories: dict, classes: Sequence[str] | None, polygons_only: bool) -> Tally:
    ids = [category["id"] for category in categories.values()]
    names = [category["name"] for category in categories.values()]
    wanted = None
    if classes is not None:
        wanted = [i for i, name in zip(ids, names, strict=True) if name in set(classes)]
    return Tally(ids, wanted, polygons_only)


def _looked_at(annotation: dict) -> dict:
    """The annotation for a Tally: how its mask is stored; the mask itself is checked elsewhere."""
    mask = annotation.get("segmentation")
    return {**annotation, "segmentation": {} if isinstance(mask, dict) else None}


def _key(value: Any) -> Any:
    """Ids as keys: 1, "1" and True are different, and lists are none."""
    return (type(value), value) if is_id(value) else None


def _check_categories(found: Found, classes: Sequence[str] | None) -> dict:
    categories: dict = {}
    names: set = set()
    for index, category in enumerate(found.content["categories"]):
        problems = list(check_category(category, index))
        if not problems:
            where = f"category {category['id']} {category['name']!r}"
            if _key(category["id"]) in categories:
                problems.append(Problem("category-id-doubled", where))
            if category["name"] in names:
                problems.append(Problem("category-name-doubled", where))
            names.add(category["name"])
            categories.setdefault(_key(category["id"]), category)
        found.problems += [(None, index, problem) for problem in problems]
    if classes is not None:
        in_file = [category["name"] for category in categories.values()]
        if not set(classes) <= set(in_file):
            detail = f"config {list(classes)[:8]}, file {in_file[:8]}"
            found.problems.append((None, 0, Problem("class-unknown", "categories", detail)))
    return categories


def _joints(found: Found, categories: dict, by_config: Mapping[str, int]) -> dict:
    """K of each category: by its own names, by the config, or by most of its annotations.

    A category may lack names, as a dataset has them in its metainfo.
    """
    lengths: dict = {key: Counter() for key in categories}
    for annotation in found.content["annotations"]:
        if not isinstance(annotation, dict):
            continue
        key, values = _key(annotation.get("category_id")), annotation.get("keypoints")
        if key in lengths and isinstance(values, list) and values:
            lengths[key][len(values)] += 1
    joints = {}
    for key, category in categories.items():
        joints[key] = len(category.get("keypoints", ()))
        if joints[key] or not lengths[key]:
            continue
        whole = [length for length, _ in lengths[key].most_common() if length % 3 == 0]
        if category["name"] in by_config:
            joints[key], source = by_config[category["name"]], "by the config"
        elif whole:
            joints[key], source = whole[0] // 3, "as most of its annotations have"
        else:
            continue  # no number fits any
        where = f"category {category['id']} {category['name']!r}"
        problem = Problem("keypoints-unnamed", where, f"{joints[key]}, {source}")
        found.problems.append((None, 0, problem))
    return joints


def _check_images(found: Found) -> dict:
    images: dict = {}
    files: set = set()
    for index, image in enumerate(found.content["images"]):
        problems = list(check_image(image, index))
        if not any(problem.is_error for problem in problems):
            where = f"image {image['id']}"
            if _key(image["id"]) in images:
                problems.append(Problem("image-id-doubled", where, image["file_name"]))
            else:
                images[_key(image["id"])] = image
                if image["file_name"] in files:
                    problems.append(Problem("file-name-doubled", where, image["file_name"]))
                files.add(image["file_name"])
        found.problems += [(IMAGE_ENTRY, index, problem) for problem in problems]
    return images


def _check_ids(
    annotation: dict, where: str, ids: set, images: dict, categories: dict
) -> Iterator[Problem]:
    key = _key(annotation["id"])
    if key in ids:
        yield Problem("annotation-id-doubled", where)
    ids.add(key)
    for field, known, code in (
        ("image_id", images, "image-unknown"),
        ("category_id", categories, "category-unknown"),
    ):
        value = annotation.get(field)
        if _key(value) not in known:
            yield Problem(code, where, f"{field} {str(value)[:30]}")


def cleaned(found: Found) -> tuple[dict, list[str]]:
    """Return a copy of the file without its errors, and one line for each change.

    Entries with errors are fixed if possible and left out otherwise; an image is left out with its
    annotations. Notes are fixed if possible. All categories are kept.
    """
    content, log = _cleaned_once(found)
    for _ in range(ROUNDS if log else 0):
        again = check_content(content, **found.options)
        if not any(
            k in (IMAGE_ENTRY, ANNOTATION_ENTRY) and p.is_error for k, _, p in again.problems
        ):
            break
        content, more = _cleaned_once(again)
        log += more
    return content, log


def _cleaned_once(found: Found) -> tuple[dict, list[str]]:
    drop: dict[str, set[int]] = {kind: set() for kind in SECTIONS}
    fixed: dict[tuple[str, int], dict] = {}
    log = []
    for kind, index, problem in found.problems:
        if kind is None or index in drop[kind]:
            continue
        reason = f"{problem.where}: {problem.code}" + (
            f" ({problem.detail})" * bool(problem.detail)
        )
        if problem.repair is not None:
            fixed.setdefault((kind, index), {}).update(problem.repair)
            log.append(f"fixed {reason}: {json.dumps(problem.repair)[:200]}")
        elif problem.is_error and kind != CATEGORY_ENTRY:
            drop[kind].add(index)
            log.append(f"left out {reason}")
    kept: dict[str, list] = {}
    for kind, section in SECTIONS.items():
        kept[section] = [
            {**copy.copy(entry), **fixed[kind, index]} if (kind, index) in fixed else entry
            for index, entry in enumerate(found.content[section])
            if index not in drop[kind]
        ]
    ids = {_key(image["id"]) for image in kept["images"]}
    orphans = [a for a in kept["annotations"] if _key(a["image_id"]) not in ids]
    log += [f"left out annotation {a['id']}: its image is left out" for a in orphans]
    kept["annotations"] = [a for a in kept["annotations"] if _key(a["image_id"]) in ids]
    return {**found.content, **kept}, log
