"""Predictions as one file of COCO results, which pycocotools can evaluate directly."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from mmengine.logging import print_log

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.coco.check.values import is_id
from mmdet_maskr.coco.detections import KINDS, Detections
from mmdet_maskr.coco.reader import read_annotations
from mmdet_maskr.errors import UserError
from mmdet_maskr.folders import as_path, check_new_file
from mmdet_maskr.inference.inputs import check_names, file_name


class CocoResults:
    """Collects the predictions of a call and writes them as COCO results.

    Each detection is one entry with ``bbox`` (x, y, width, height), ``score`` and, if the model
    predicts them, ``segmentation`` (RLE) and ``keypoints`` (pixel indices x, y and the keypoint's
    score; only for classes with keypoints).

    Args:
        path: the JSON file to write.
        classes: names of the model's classes.
        images: the paths, URLs and arrays of the call; None for frames of a video.
        ann_file: COCO annotation file that gives image ids by file name and category ids by class
            name. Without it, an image's id is its file name (for an array, its index in
            ``images``), and the class of label k has the id k + 1.

    Raises:
        UserError: the path cannot be written; ``ann_file`` lacks images or has no class of the
            model; ``ann_file`` is given for arrays or frames; two images have the same name and
            there is no ``ann_file``.
    """

    def __init__(
        self,
        path: str | Path,
        classes: Sequence[str],
        images: Sequence[str | np.ndarray] | None,
        ann_file: str | Path | None = None,
    ) -> None:
        self.path = as_path(path, "coco_json")
        if self.path.suffix != ".json":
            raise UserError(f"coco_json={str(path)!r}: its name must end in .json.")
        check_new_file(self.path, f"coco_json={str(path)!r}")
        self._entries: list[dict] = []
        self._left_out: Counter[str] = Counter()
        self._classes = list(classes)
        if ann_file is None:
            check_names(
                images or [], "a result's image_id is its file's name where no ann_file is given"
            )
            self._image_ids = None
            self._category_ids = {label: label + 1 for label in range(len(self._classes))}
        else:
            content = _read(ann_file)
            self._image_ids = _ids_of_images(images, content["images"], ann_file)
            self._category_ids = _ids_of_classes(self._classes, content["categories"], ann_file)

    def add(self, image: str | int, prediction: dict[str, list]) -> None:
        """Add the predictions of an image.

        Args:
            image: its path or URL, or the number of an array or frame.
            prediction: the result of :func:`mmdet_maskr.apis.predictions.as_lists`.
        """
        if self._image_ids is not None:
            assert isinstance(image, str)  # arrays and frames were refused, as they have no names
            image_id = self._image_ids[image]
        else:
            image_id = image if isinstance(image, int) else file_name(image)
        self._left_out.update(
            self._classes[label]
            for label in prediction["labels"]
            if label not in self._category_ids
        )
        has = dict(bbox=True, segm="masks" in prediction, keypoints="keypoints" in prediction)
        kinds = [kind for kind in KINDS if has[kind]]
        found = Detections.of([(image_id, prediction)], self._category_ids, kinds)
        self._entries += found.to_coco()

    def write(self) -> None:
        """Write the file atomically and print its path."""
        try:
            write_whole(self.path, json.dumps(self._entries))
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}.") from error
        print_log(f"{len(self._entries)} detections written to {self.path}")
        if self._left_out:
            count = self._left_out.total()
            print_log(
                f"{count} detections left out, because the annotation file does not have their "
                f"classes ({', '.join(list(self._left_out)[:8])})."
            )


def _read(ann_file: str | Path) -> dict:
    """The parsed file; images have ids and files, categories ids and names, and no more matters."""
    content = read_annotations(as_path(ann_file, "ann_file"), may_lack_annotations=True)
    for section, keys in (("images", ("file_name", "coco_url")), ("categories", ("name",))):
        for index, entry in enumerate(content[section]):
            if not (
                isinstance(entry, dict)
                and is_id(entry.get("id"))
                and any(entry.get(key) and isinstance(entry[key], str) for key in keys)
            ):
                raise UserError(f"{ann_file}: {section}[{index}] needs an id and {keys[0]}.")
    return content


def _ids_of_images(
    images: Sequence[str | np.ndarray] | None, entries: Sequence[dict], ann_file: str | Path
) -> dict[str, int]:
    """The id of each image: that of the longest end of its path that the file lists."""
    known = {}
    for entry in entries:
        name = entry.get("file_name")
        if name:
            known[str(PurePosixPath(str(name)))] = entry["id"]
        else:  # LVIS has URLs alone
            known[file_name(entry["coco_url"])] = entry["id"]
    names = [image for image in images or [] if isinstance(image, str)]
    if images is None or len(names) < len(images):
        raise UserError("ann_file needs file names to find image ids; arrays and frames have none.")
    ids, lacking = {}, []
    for image in names:
        parts = Path(image).parts if "://" not in image else (file_name(image),)
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        end = next((end for end in ends if end in known), None)
        if end is None:
            lacking.append(image)
        else:
            ids[image] = known[end]
    if lacking:
        raise UserError(
            f"{len(lacking)} of {len(images)} images are not in {ann_file}, e.g. "
            f"{lacking[0]}. Its file names look like {next(iter(known), '(none)')!r}. Remove "
            "these images, or leave out ann_file."
        )
    return ids


def _ids_of_classes(
    classes: Sequence[str], categories: Sequence[dict], ann_file: str | Path
) -> dict[int, int]:
    by_name = {category["name"]: category["id"] for category in categories}
    ids = {label: by_name[name] for label, name in enumerate(classes) if name in by_name}
    if not ids:
        raise UserError(
            f"{ann_file} has none of the model's classes ({', '.join(classes[:5])}, ...); it "
            f"has {', '.join(list(by_name)[:5])}. Is it the file of another dataset?"
        )
    return ids
