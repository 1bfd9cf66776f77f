"""The catalogue of problems in COCO datasets, with codes; findings, and their counts."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

ERROR, NOTE = "error", "note"


class Kind(NamedTuple):
    """A kind of problem: an error crashes a training or teaches it something wrong."""

    severity: str
    meaning: str
    remedy: str


# By code. A code is stable: programs and tests match it, docs/checks.md lists it.
CATALOGUE = {
    # ------------------------------------------------------------------ entries, categories, images
    "entry": Kind(
        ERROR,
        "entry that is no object, or lacks a field or has one of a wrong type",
        "`--fix` reads numbers that are texts and gives missing ids; it leaves the others out.",
    ),
    "category-id-doubled": Kind(
        ERROR,
        "category id given twice",
        "Give each category an id of its own, and its annotations that id.",
    ),
    "category-name-doubled": Kind(
        ERROR,
        "category name given twice",
        "Rename one, or merge both: give their annotations one id and remove the other category.",
    ),
    "category-empty": Kind(
        NOTE,
        "category without annotations",
        "Nothing, if other splits have it; otherwise remove it from the file and from `classes`.",
    ),
    "class-unknown": Kind(
        ERROR,
        "classes of the config that the file lacks",
        "Write `metainfo['classes']` as the file spells its categories; the order does not matter.",
    ),
    "image-id-doubled": Kind(
        ERROR,
        "image id given twice",
        "Give each image an id of its own. `--fix` keeps the first of the two.",
    ),
    "file-name-doubled": Kind(
        NOTE,
        "two images with the same file",
        "Merge the two entries, if the objects of one are missing in the other.",
    ),
    "file-outside": Kind(
        NOTE,
        "file name that leads out of the image folder",
        "Make `file_name` relative to the image folder.",
    ),
    "image-without-annotations": Kind(
        NOTE,
        "image without annotations",
        "Nothing, if it shows no object. `filter_empty_gt=False` trains on it too.",
    ),
    # ------------------------------------------------------------------------------ ids, references
    "annotation-id-doubled": Kind(
        ERROR,
        "annotation id given twice",
        "`--fix` numbers the second one anew, or leaves it out where both are equal.",
    ),
    "image-unknown": Kind(
        ERROR,
        "annotation of an image that is not in the file",
        "Add the image, or correct `image_id`. `--fix` leaves the annotation out.",
    ),
    "category-unknown": Kind(
        ERROR,
        "annotation of a category that is not in the file",
        "Add the category, or correct `category_id`. `--fix` leaves the annotation out.",
    ),
    "image-ids-shifted": Kind(
        ERROR,
        "image ids that are one off: annotations are on the image before or after",
        "Add or subtract 1 at every `image_id`; `maskr browse` shows whether it is right.",
    ),
    "category-ids-shifted": Kind(
        ERROR,
        "category ids that are shifted against the file's categories",
        "`--fix` shifts them back.",
    ),
    # ------------------------------------------------------------------------- what a training uses
    "nothing-trainable": Kind(
        ERROR,
        "no annotation that a training uses",
        "The finding gives the reason for each annotation; correct that one first.",
    ),
    "left-out": Kind(
        NOTE,
        "annotations that a training leaves out",
        "The finding gives the reasons and their counts; correct those that you did not expect.",
    ),
    "ignored": Kind(
        NOTE,
        "annotation with ignore=1, which a training leaves out",
        "Set `ignore` to 0 to train on it.",
    ),
    # ---------------------------------------------------------------------------------------- boxes
    "boxes-in-fractions": Kind(
        ERROR,
        "box in fractions of the image, not in pixels",
        "`--fix` multiplies it by the image's width and height.",
    ),
    "box-not-mask": Kind(
        ERROR,
        "box that is not the bounds of its mask",
        "`--fix` takes the mask's bounds. Many of them: the boxes are not x, y, width, height.",
    ),
    "box-tiny": Kind(
        NOTE,
        "box under a pixel wide or high, which a training leaves out",
        "Remove it, if it was drawn by a stray click.",
    ),
    "box-degenerate": Kind(
        ERROR,
        "box without an area",
        "`--fix` takes the mask's bounds, or leaves out an annotation without a mask.",
    ),
    "box-outside": Kind(
        ERROR,
        "box wholly outside of its image",
        "As `box-degenerate`. Many of them: `image_id`, or the image's size, is wrong.",
    ),
    "box-sticks-out": Kind(
        NOTE,
        "box that sticks out of its image by more than a pixel",
        "`--fix` clips it; a training does so too.",
    ),
    "area": Kind(
        ERROR,
        "area missing, 0, negative or not finite",
        "`--fix` takes that of the mask, or of the box.",
    ),
    # --------------------------------------------------------------------------------------- crowds
    "crowd-flag": Kind(
        ERROR,
        "iscrowd other than 0 or 1",
        "`--fix` sets it where the value has one reading.",
    ),
    "crowd-single": Kind(
        NOTE,
        "single object with iscrowd=1, which is trained on as one",
        "`--fix` sets `iscrowd` to 0. CVAT writes 1 for what is drawn with the brush.",
    ),
    "crowds": Kind(
        NOTE,
        "annotations with iscrowd=1 that are not COCO's own",
        "Set `iscrowd` to 0, or `crowds='none'` of the dataset, if each is a single object.",
    ),
    "crowd-polygons": Kind(
        NOTE,
        "crowd given as polygons instead of an RLE",
        "Nothing, if it is a crowd; a single object has `iscrowd` 0.",
    ),
    # ---------------------------------------------------------------------------------------- masks
    "mask-missing": Kind(
        NOTE,
        "no segmentation (trains boxes, and no mask)",
        "Draw its outline, or nothing, if its box is enough.",
    ),
    "polygon-short": Kind(
        ERROR,
        "polygon with fewer than 3 points, or half of a point",
        "`--fix` removes the polygon, and the annotation if it was the only one.",
    ),
    "polygon-outside": Kind(
        NOTE,
        "polygon with points outside of its image by more than a pixel",
        "Nothing: it is clipped when drawn. Many of them: the image was resized, the file was not.",
    ),
    "polygon-crosses-itself": Kind(
        NOTE,
        "polygon whose edges cross",
        "Look at it: `maskr browse`. Crossing edges can leave holes in the mask.",
    ),
    "rle-size": Kind(
        ERROR,
        "RLE of another size than its image",
        "Write the mask at the image's size; `size` is [height, width]. `--fix` leaves it out.",
    ),
    "rle-counts": Kind(
        ERROR,
        "RLE whose counts cannot be decoded or do not fill its size",
        "Write the mask again, with pycocotools. `--fix` leaves it out.",
    ),
    # ------------------------------------------------------------------------------------ keypoints
    "keypoints-unnamed": Kind(
        NOTE,
        "category without names of its keypoints; their number is taken",
        "Add the list `keypoints` to the category.",
    ),
    "keypoint-length": Kind(
        ERROR,
        "keypoints whose number is not that of the category, times 3",
        "Write x, y, visibility for every keypoint of the category, 0, 0, 0 for unlabeled ones.",
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
        "num_keypoints differs from the labeled keypoints",
        "`--fix` counts the keypoints with a visibility above 0.",
    ),
    # ---------------------------------------------------------------------------------- image files
    "file-missing": Kind(
        ERROR,
        "image file missing",
        "Name the folder that `file_name` is relative to, or copy the file. `--fix` leaves it out.",
    ),
    "file-unreadable": Kind(
        ERROR,
        "image file that cannot be decoded to its end",
        "Copy or download the file again. `--fix` leaves it out.",
    ),
    "size-mismatch": Kind(
        ERROR,
        "image of another size than the file says",
        "The annotations belong to another version of the image: use that one.",
    ),
    "exif-rotated": Kind(
        NOTE,
        "image with an EXIF rotation (it is applied when loading)",
        "Look whether the annotations lie on their objects: `maskr browse`.",
    ),
    "grayscale": Kind(
        NOTE,
        "grayscale image (read as three equal channels)",
        "Nothing.",
    ),
    "alpha": Kind(
        NOTE,
        "image with transparency (it is dropped when loading)",
        "Nothing, if no object is told by its transparency.",
    ),
    "16-bit": Kind(
        NOTE,
        "image of 16 bits a channel (read as 8)",
        "`LoadBands` in the pipeline keeps all bits.",
    ),
    "cmyk": Kind(
        NOTE,
        "CMYK image",
        "Nothing: it is converted to RGB when loading.",
    ),
    "animated": Kind(
        NOTE,
        "file with several frames (the first one is read)",
        "Save the other frames as files of their own to train on them.",
    ),
}


class Problem(NamedTuple):
    """One finding.

    ``where`` names the entry, ``detail`` what is wrong. ``repair`` holds the values that fix the
    entry, or None where it can only be left out.
    """

    code: str
    where: str
    detail: str = ""
    repair: dict[str, Any] | None = None

    @property
    def is_error(self) -> bool:
        """Whether it crashes a training or teaches it something wrong; else it is a note."""
        return CATALOGUE[self.code].severity == ERROR


class Report:
    """Counts problems by code and keeps the first of each.

    Attributes:
        bands: of the images, as :meth:`.BandStatistics.described`; None where none were measured.
    """

    def __init__(self, keep: int = 5) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, list[Problem]] = {}
        self.bands: dict[str, Any] | None = None
        self._keep = keep

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it where it is among the first of its code."""
        self.counts[problem.code] += 1
        kept = self.first.setdefault(problem.code, [])
        if len(kept) < self._keep:
            kept.append(problem)

    @property
    def errors(self) -> int:
        """How many problems are errors."""
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
