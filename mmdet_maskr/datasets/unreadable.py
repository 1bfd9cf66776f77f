"""Skips the odd image that cannot be read during training, and counts it."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from typing import Any

import mmcv
import torch
from mmengine import fileio
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmdet_maskr.cli.spelling import call
from mmdet_maskr.datasets.located_errors import failed_transform, with_places
from mmdet_maskr.errors import UserError


class SurvivesUnreadableImages(BaseDataset):
    """A dataset that takes another image for one whose file is missing or cannot be decoded.

    Only while training, and only up to a limit; all else that fails names the image's file. To be
    inherited before the dataset whose images it concerns, and takes its options.

    Args:
        max_unreadable: share of the images that may turn out to be unreadable while training (one
            always may, unless it is 0, which stops at the first).

    Raises:
        UserError: max_unreadable is no share.
    """

    pipeline: Any

    def __init__(self, *args, max_unreadable: float = 0.001, **kwargs) -> None:
        if not 0 <= max_unreadable <= 1:
            raise UserError(f"max_unreadable must be from 0 to 1, not {max_unreadable}.")
        self.max_unreadable = max_unreadable
        super().__init__(*args, **kwargs)

    def full_init(self) -> None:
        """Load the annotations; make the marks that this process shares with its data workers."""
        super().full_init()
        if not hasattr(self, "_unreadable"):
            self._unreadable = torch.zeros(len(self), dtype=torch.bool).share_memory_()

    def filter_data(self) -> list[dict]:
        """Leave images out as ``filter_cfg`` says.

        Raises:
            UserError: no image is left.
        """
        kept = super().filter_data()
        if not kept:
            raise UserError(
                f"filter_cfg leaves none of the {len(self.data_list)} images of {self.ann_file}: "
                f"{dict(self.filter_cfg or {})}."
            )
        return kept

    def prepare_data(self, idx: int) -> Any:
        """Load and transform an image; None, for which another one is taken, if it is unreadable.

        Raises:
            UserError: too many are unreadable, or one is while testing, or anything else is wrong
                with the image or its annotations.
            MemoryError: there is not enough for it; also where OpenCV says so.
        """
        self.pipeline = with_places(self.pipeline)  # each time, as a hook may have switched it
        try:
            data = super().prepare_data(idx)
        except UserError:
            raise
        except MemoryError as error:  # numpy's own kind would not pass out of a data worker
            raise MemoryError(str(error)) from error
        except Exception as error:
            if "Insufficient memory" in str(error):
                raise MemoryError(str(error)) from error
            info = self.get_data_info(idx)
            reason = why_unreadable(info["img_path"], self.backend_args)
            if reason is None:
                raise UserError(_explain(error, info)) from error
            if self.test_mode:
                raise UserError(f"image {info['img_path']} cannot be read: {reason}.") from error
            self._mark(idx, info["img_path"], reason)
            return None
        self._check_size(idx, data)
        return data

    def __getitem__(self, idx: int) -> Any:
        """An image through the pipeline; another one where that gives none.

        Raises:
            UserError: it gives none, however many images it is given.
        """
        try:
            return super().__getitem__(idx)
        except Exception as error:
            if type(error) is not Exception:  # what mmengine raises where no image is left to try
                raise
            info = self.get_data_info(idx)
            tries = 1 if self.test_mode else self.max_refetch + 1
            raise UserError(
                f"the pipeline returns nothing for {tries} images in a row, such as "
                f"{info['img_path']} (id {info['img_id']}): {self._what_gives_none(idx)} "
                "returns None if it leaves no object. Make its options less strict."
            ) from error

    def _what_gives_none(self, idx: int) -> str:
        data: Any = self.get_data_info(idx)
        with contextlib.suppress(Exception):  # random ones may fail this time
            for index, transform in enumerate(self.pipeline.transforms):
                data = transform(data)
                if data is None:
                    return f"transform {index} ({type(transform).__name__})"
        return "a transform"

    def _mark(self, idx: int, path: str, reason: str) -> None:
        if self._unreadable[idx]:
            return
        self._unreadable[idx] = True
        count, limit = int(self._unreadable.sum()), math.ceil(self.max_unreadable * len(self))
        if count > limit:
            raise UserError(
                f"image {path} cannot be read: {reason}. That makes {count} of {len(self)}, "
                f"and max_unreadable={self.max_unreadable:g} allows {limit}. Is "
                f"{os.path.dirname(path)} the folder of {self.ann_file}? If it is, check the "
                f"disk, or find these images with {call('check')} and write annotations "
                "without them (--fix)."
            )
        print_log(
            f"image {path} cannot be read: {reason}. Another image replaces it; {count} "
            f"so far, at most {limit}.",
            logger="current",
            level=logging.WARNING,
        )

    def _check_size(self, idx: int, data: Any) -> None:
        sample = data.get("data_samples") if isinstance(data, dict) else None
        shape = getattr(sample, "ori_shape", None)
        info = self.get_data_info(idx)
        if shape is not None and tuple(shape[:2]) != (info["height"], info["width"]):
            raise UserError(
                f"image {info['img_path']} (id {info['img_id']}) has {shape[1]} x {shape[0]} "
                f"pixels, but {info['width']} x {info['height']} in the annotation file, so "
                "boxes and masks would be misplaced. If the file has an EXIF rotation that "
                "the annotations ignore, set color_type='color_ignore_orientation' in "
                "LoadImageFromFile."
            )


def _explain(error: Exception, info: dict) -> str:
    """What failed on an image that can be read: a transform, or the reading of its annotations."""
    image = f"image {info['img_path']} (id {info['img_id']})"
    transform = failed_transform(error)
    what = f"{type(error).__name__}: {error}"
    if transform is None or "Load" in transform:
        if isinstance(error, KeyError) and error.args == ("mask",):  # mmdet drops empty ones
            what = "an annotation has no segmentation, which with_mask=True asks for"
        return f"{image} or its annotations cannot be used: {what}. {call('check')} looks at all."
    return (
        f"{transform} of the pipeline failed on {image}: {what}. The image itself can be read; "
        f"{call('browse --mode pipeline')} draws it after each transform."
    )


def why_unreadable(path: str, backend_args: dict | None = None) -> str | None:
    """Why an image file cannot be loaded, or None if it can."""
    try:
        content = fileio.get(path, backend_args=backend_args)
    except OSError as error:
        return error.strerror or str(error)
    try:
        image = mmcv.imfrombytes(content)
    except Exception as error:  # of OpenCV, for some damaged headers
        return f"it cannot be decoded ({str(error)[:100]})"
    return "it cannot be decoded" if image is None else None
