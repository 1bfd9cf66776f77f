"""What can be wrong with a COCO dataset: the catalogue, single findings, and their counts."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

ERROR, NOTE = "error", "note"

# code: (severity, what it means). Errors crash a training, or make it learn something wrong.
CATALOGUE = {
    "entry": (ERROR, "entry that is no object, or lacks a field or has one of a wrong type"),
    "category-id-doubled": (ERROR, "category id given twice"),
    "category-name-doubled": (ERROR, "category name given twice"),
    "category-empty": (NOTE, "category without annotations"),
    "class-unknown": (ERROR, "classes of the config that the file lacks"),
    "image-id-doubled": (ERROR, "image id given twice"),
    "file-name-doubled": (NOTE, "two images with the same file"),
    "file-outside": (NOTE, "file name that leads out of the image folder"),
    "image-without-annotations": (NOTE, "image without annotations"),
    "annotation-id-doubled": (ERROR, "annotation id given twice"),
    "image-unknown": (ERROR, "annotation of an image that is not in the file"),
    "category-unknown": (ERROR, "annotation of a category that is not in the file"),
    "image-ids-shifted": (
        ERROR,
        "image ids that are one off: annotations are on the image before or after",
    ),
    "category-ids-shifted": (ERROR, "category ids that are shifted against the file's categories"),
    "boxes-in-fractions": (ERROR, "box in fractions of the image, not in pixels"),
    "nothing-trainable": (ERROR, "no annotation that a training uses"),
    "left-out": (NOTE, "annotations that a training leaves out"),
    "ignored": (NOTE, "annotation with ignore=1, which a training leaves out"),
    "box-not-mask": (ERROR, "box that is not the bounds of its mask"),
    "box-tiny": (NOTE, "box under a pixel wide or high, which a training leaves out"),
    "box-degenerate": (ERROR, "box without an area"),
    "box-outside": (ERROR, "box wholly outside of its image"),
    "box-sticks-out": (NOTE, "box that sticks out of its image by more than a pixel"),
    "area": (ERROR, "area missing, 0, negative or not finite"),
    "crowd-flag": (ERROR, "iscrowd other than 0 or 1"),
    "crowd-single": (NOTE, "single object with iscrowd=1, which is trained on as one"),
    "crowds": (NOTE, "annotations with iscrowd=1 that are not COCO's own"),
    "crowd-polygons": (NOTE, "crowd given as polygons instead of an RLE"),
    "mask-missing": (NOTE, "no segmentation (trains boxes, and no mask)"),
    "polygon-short": (ERROR, "polygon with fewer than 3 points, or half of a point"),
    "polygon-outside": (NOTE, "polygon with points outside of its image by more than a pixel"),
    "polygon-crosses-itself": (NOTE, "polygon whose edges cross"),
    "rle-size": (ERROR, "RLE of another size than its image"),
    "rle-counts": (ERROR, "RLE whose counts cannot be decoded or do not fill its size"),
    "keypoints-unnamed": (NOTE, "category without names of its keypoints; their number is taken"),
    "keypoint-length": (ERROR, "keypoints whose number is not that of the category, times 3"),
    "keypoint-visibility": (ERROR, "keypoint visibility other than 0, 1 or 2"),
    "keypoint-outside": (NOTE, "labeled keypoint outside of its image"),
    "keypoint-count": (ERROR, "num_keypoints differs from the labeled keypoints"),
    "file-missing": (ERROR, "image file missing"),
    "file-unreadable": (ERROR, "image file that cannot be decoded to its end"),
    "size-mismatch": (ERROR, "image of another size than the file says"),
    "exif-rotated": (NOTE, "image with an EXIF rotation (it is applied when loading)"),
    "grayscale": (NOTE, "grayscale image (read as three equal channels)"),
    "alpha": (NOTE, "image with transparency (it is dropped when loading)"),
    "16-bit": (NOTE, "image of 16 bits a channel (read as 8)"),
    "cmyk": (NOTE, "CMYK image"),
    "animated": (NOTE, "file with several frames (the first one is read)"),
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
        return CATALOGUE[self.code][0] == ERROR


class Report:
    """Counts problems by code and keeps the first of each."""

    def __init__(self, keep: int = 5) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, list[Problem]] = {}
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
        return sum(n for code, n in self.counts.items() if CATALOGUE[code][0] == ERROR)

    def rows(self) -> list[dict[str, Any]]:
        """``severity``, ``code``, ``meaning``, ``count`` and ``first`` of each code found."""
        return [
            dict(
                severity=severity,
                code=code,
                meaning=meaning,
                count=self.counts[code],
                first=[dict(where=p.where, detail=p.detail) for p in self.first[code]],
            )
            for code, (severity, meaning) in CATALOGUE.items()
            if code in self.counts
        ]

    def table(self) -> str:
        """One line a code: severity, count, meaning, the first entries; errors before notes."""
        lines = []
        for code, (severity, meaning) in CATALOGUE.items():
            if code in self.counts:
                first = "; ".join(
                    p.where + (f" ({p.detail})" if p.detail else "") for p in self.first[code]
                )
                line = f"{severity:<6}{self.counts[code]:>8}  {code:<26}{meaning}: {first}"
                lines.append((severity != ERROR, line))
        if not lines:
            return "nothing found."
        head = f"{'':<6}{'count':>8}  {'code':<26}meaning: first entries"
        return "\n".join([head, *(line for _, line in sorted(lines, key=lambda pair: pair[0]))])
