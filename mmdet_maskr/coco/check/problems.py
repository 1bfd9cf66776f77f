"""The catalogue of problems in COCO datasets, with codes; single problems and their counts."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

ERROR, NOTE = "error", "note"


class Kind(NamedTuple):
    """A kind of problem. Errors crash the training or teach the model something wrong."""

    severity: str
    meaning: str
    remedy: str


# By code. A code is stable: programs and tests match it, docs/checks.md lists it.
CATALOGUE = {
    # ------------------------------------------------------------------ entries, categories, images
    "entry": Kind(
        ERROR,
        "entry that is not a JSON object, lacks a field, or has a field of the wrong type",
        "`--fix` converts numbers stored as strings, adds missing ids, and removes all others.",
    ),
    "category-id-doubled": Kind(
        ERROR,
        "two categories with the same id",
        "Give each category its own id, and use it in its annotations.",
    ),
    "category-name-doubled": Kind(
        ERROR,
        "two categories with the same name",
        "Rename one, or merge both: use one id in all annotations and remove the other category.",
    ),
    "category-empty": Kind(
        NOTE,
        "category without annotations",
        "Nothing, if other splits have some; else remove the category from file and `classes`.",
    ),
    "class-unknown": Kind(
        ERROR,
        "classes in the config that are not in the file",
        "Spell `metainfo['classes']` as the file does; the order does not matter.",
    ),
    "image-id-doubled": Kind(
        ERROR,
        "two images with the same id",
        "Give each image its own id. `--fix` keeps the first of the two.",
    ),
    "file-name-doubled": Kind(
        NOTE,
        "two images with the same file name",
        "Merge the two entries, if one has objects that the other lacks.",
    ),
    "file-outside": Kind(
        NOTE,
        "file name that points outside of the image folder",
        "Make `file_name` relative to the image folder.",
    ),
    "image-without-annotations": Kind(
        NOTE,
        "image without annotations",
        "Nothing, if it shows no objects. `filter_empty_gt=False` trains on such images too.",
    ),
    # ------------------------------------------------------------------------------ ids, references
    "annotation-id-doubled": Kind(
        ERROR,
        "two annotations with the same id",
        "`--fix` gives the second one a new id, or removes it if both are equal.",
    ),
    "image-unknown": Kind(
        ERROR,
        "annotation of an image that is not in the file",
        "Add the image, or correct `image_id`. `--fix` removes the annotation.",
    ),
    "category-unknown": Kind(
        ERROR,
        "annotation of a category that is not in the file",
        "Add the category, or correct `category_id`. `--fix` removes the annotation.",
    ),
    "image-ids-shifted": Kind(
        ERROR,
        "image ids that are off by one: annotations are on the image before or after",
        "Add or subtract 1 in every `image_id`, then check the result with `maskr browse`.",
    ),
    "category-ids-shifted": Kind(
        ERROR,
        "category ids that are shifted, such as 0 to 79 instead of 1 to 80",
        "`--fix` shifts them back.",
    ),
    # ------------------------------------------------------------------------- what a training uses
    "nothing-trainable": Kind(
        ERROR,
        "no annotation that training can use",
        "The message gives the reasons; fix the most frequent one first.",
    ),
    "left-out": Kind(
        NOTE,
        "annotations that training leaves out",
        "The message gives the reasons and their counts; fix those that you did not expect.",
    ),
    "ignored": Kind(
        NOTE,
        "annotation with ignore=1; training leaves it out",
        "Set `ignore` to 0 to train on it.",
    ),
    # ---------------------------------------------------------------------------------------- boxes
    "boxes-in-fractions": Kind(
        ERROR,
        "box in fractions of the image size instead of pixels",
        "`--fix` multiplies it by the image's width and height.",
    ),
    "box-not-mask": Kind(
        ERROR,
        "box that does not match the bounds of its mask",
        "`--fix` uses the mask's bounds. If there are many: boxes must be x, y, width, height.",
    ),
    "box-tiny": Kind(
        NOTE,
        "box less than a pixel wide or high; training leaves it out",
        "Remove it, if it is an accidental click.",
    ),
    "box-degenerate": Kind(
        ERROR,
        "box without an area",
        "`--fix` uses the mask's bounds, and removes annotations without a mask.",
    ),
    "box-outside": Kind(
        ERROR,
        "box completely outside of its image",
        "As `box-degenerate`. If there are many: `image_id` or the image size is wrong.",
    ),
    "box-sticks-out": Kind(
        NOTE,
        "box that extends beyond its image by more than a pixel",
        "`--fix` clips it, and so does training.",
    ),
    "area": Kind(
        ERROR,
        "area missing, 0, negative or not finite",
        "`--fix` uses the area of the mask, or of the box.",
    ),
    # --------------------------------------------------------------------------------------- crowds
    "crowd-flag": Kind(
        ERROR,
        "iscrowd other than 0 or 1",
        "`--fix` corrects it if the meaning is clear.",
    ),
    "crowd-single": Kind(
        NOTE,
        "single object with iscrowd=1; training uses it as an object",
        "`--fix` sets `iscrowd` to 0. CVAT writes 1 for masks drawn with the brush.",
    ),
    "crowds": Kind(
        NOTE,
        "annotations with iscrowd=1 that are not COCO's own",
        "If each is a single object, set `iscrowd` to 0, or `crowds='none'` in the dataset.",
    ),
    "crowd-polygons": Kind(
        NOTE,
        "crowd given as polygons instead of an RLE",
        "Nothing, if it is a crowd. If it is a single object, set `iscrowd` to 0.",
    ),
    # ---------------------------------------------------------------------------------------- masks
    "mask-missing": Kind(
        NOTE,
        "annotation without a mask; it trains the box branch only",
        "Nothing, if the box is enough; else draw the outline.",
    ),
    "polygon-short": Kind(
        ERROR,
        "polygon with fewer than 3 points, or with an odd number of values",
        "`--fix` removes the polygon, or the annotation if it has no other polygon.",
    ),
    "polygon-outside": Kind(
        NOTE,
        "polygon that extends beyond its image by more than a pixel",
        "Nothing; it is clipped. If there are many: images were resized, but not their polygons.",
    ),
    "polygon-crosses-itself": Kind(
        NOTE,
        "polygon whose edges cross",
        "Look at it with `maskr browse`: crossing edges can make holes in the mask.",
    ),
    "rle-size": Kind(
        ERROR,
        "RLE with another size than its image",
        "Encode the mask at image size; `size` is [height, width]. `--fix` removes it.",
    ),
    "rle-counts": Kind(
        ERROR,
        "RLE whose counts cannot be decoded or do not match its size",
        "Encode the mask again with pycocotools. `--fix` removes it.",
    ),
    # ------------------------------------------------------------------------------------ keypoints
    "keypoints-unnamed": Kind(
        NOTE,
        "category without keypoint names; the message says which number is assumed",
        "Add the list `keypoints` to the category.",
    ),
    "keypoint-length": Kind(
        ERROR,
        "keypoint list whose length is not 3 times the category's number of keypoints",
        "Write x, y, visibility for each keypoint of the category; 0, 0, 0 if it is unlabeled.",
    ),
    "keypoint-visibility": Kind(
        ERROR,
        "keypoint visibility other than 0, 1 or 2",
        "0: not labeled; 1: hidden; 2: visible.",
    ),
    "keypoint-outside": Kind(
        NOTE,
        "labeled keypoint outside of its image",
        "Set it to 0, 0, 0, or correct it.",
    ),
    "keypoint-count": Kind(
        ERROR,
        "num_keypoints differs from the number of labeled keypoints",
        "`--fix` counts the keypoints with visibility above 0.",
    ),
    # ---------------------------------------------------------------------------------- image files
    "file-missing": Kind(
        ERROR,
        "image file missing",
        "Pass the folder that `file_name` is relative to, or copy the file. `--fix` removes it.",
    ),
    "file-unreadable": Kind(
        ERROR,
        "image file that is damaged or truncated",
        "Copy or download the file again. `--fix` removes it.",
    ),
    "size-mismatch": Kind(
        ERROR,
        "image whose size differs from the annotation file",
        "The annotations belong to another version of the image; use that version.",
    ),
    "exif-rotated": Kind(
        NOTE,
        "image with an EXIF rotation (it is applied when loading)",
        "Check with `maskr browse` that the annotations lie on their objects.",
    ),
    "grayscale": Kind(
        NOTE,
        "grayscale image (read as three equal channels)",
        "Nothing.",
    ),
    "alpha": Kind(
        NOTE,
        "image with transparency (loading drops it)",
        "Nothing, if objects are visible without it.",
    ),
    "16-bit": Kind(
        NOTE,
        "image with 16 bits per channel (read as 8)",
        "`LoadBands` in the pipeline keeps all bits.",
    ),
    "cmyk": Kind(
        NOTE,
        "CMYK image",
        "Nothing; loading converts it to RGB.",
    ),
    "animated": Kind(
        NOTE,
        "file with several frames (the first one is read)",
        "To train on the other frames, save them as separate files.",
    ),
}


class Problem(NamedTuple):
    """One problem of an entry.

    ``where`` names the entry, ``detail`` says what is wrong. ``repair`` has the values that fix the
    entry; None if it can only be left out.
    """

    code: str
    where: str
    detail: str = ""
    repair: dict[str, Any] | None = None

    @property
    def is_error(self) -> bool:
        """Whether it is an error; otherwise it is a note."""
        return CATALOGUE[self.code].severity == ERROR


class Report:
    """Counts problems by code and keeps the first of each.

    Attributes:
        bands: statistics of the images, from :meth:`.BandStatistics.described`; None if not
            measured.
    """

    def __init__(self, keep: int = 5) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, list[Problem]] = {}
        self.bands: dict[str, Any] | None = None
        self._keep = keep

    def add(self, problem: Problem) -> None:
        """Count a problem; keep the first ones of each code."""
        self.counts[problem.code] += 1
        kept = self.first.setdefault(problem.code, [])
        if len(kept) < self._keep:
            kept.append(problem)

    @property
    def errors(self) -> int:
        """The number of errors."""
        return sum(n for code, n in self.counts.items() if CATALOGUE[code].severity == ERROR)

    def rows(self) -> list[dict[str, Any]]:
        """Severity, code, meaning, remedy, count and first entries of each code found."""
        return [
            dict(
                severity=kind.severity,
                code=code,
                meaning=kind.meaning,
                remedy=kind.remedy,
                count=self.counts[code],
                first=[dict(where=p.where, detail=p.detail) for p in self.first[code]],
            )
            for code, kind in CATALOGUE.items()
            if code in self.counts
        ]

    def table(self) -> str:
        """Severity, count, code, meaning, first entries; for errors what to do. Notes come last."""
        lines = []
        for code, kind in CATALOGUE.items():
            if code in self.counts:
                first = "; ".join(
                    p.where + (f" ({p.detail})" if p.detail else "") for p in self.first[code]
                )
                head = f"{kind.severity:<6}{self.counts[code]:>8}  {code:<26}"
                line = f"{head}{kind.meaning}: {first}"
                if kind.severity == ERROR:
                    line += f"\n{'':<16}-> {kind.remedy}"
                lines.append((kind.severity != ERROR, line))
        if not lines:
            return "nothing found."
        head = f"{'':<6}{'count':>8}  {'code':<26}meaning: first entries"
        return "\n".join([head, *(line for _, line in sorted(lines, key=lambda pair: pair[0]))])
