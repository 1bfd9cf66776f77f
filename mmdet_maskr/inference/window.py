"""A window that shows pictures as they come."""

from __future__ import annotations

import os
import re
import sys

import cv2
import numpy as np

from mmdet_maskr.errors import UserError

END_KEYS = (ord("q"), 27)  # 27: Esc
_NO_GUI = re.compile(r"GUI:\s+NONE")


def check_display() -> None:
    """Check that a window can be opened.

    Raises:
        UserError: there is no display, or OpenCV has no windows.
    """
    unix = sys.platform not in ("win32", "darwin")
    if unix and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError(
            "no window can be opened here: there is no display (DISPLAY is not set). "
            "Write a video with --out instead of show, or log in with `ssh -X`."
        )
    if _NO_GUI.search(cv2.getBuildInformation()):
        raise UserError(
            "no window can be opened here: opencv-python-headless is installed. Leave "
            "show out, or install opencv-python instead."
        )


class Window:
    """Shows pictures; q, Esc or its close button ends the video, as Ctrl-C does.

    Args:
        title: of the window.

    Raises:
        UserError: no window can be opened.
    """

    def __init__(self, title: str) -> None:
        check_display()
        self._title = title
        self._open = False

    def show(self, rgb: np.ndarray) -> None:
        """Show a picture (H, W, 3), uint8 RGB, until the next one.

        Raises:
            KeyboardInterrupt: the user ends the video.
        """
        if not self._open:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            self._open = True
        cv2.imshow(self._title, rgb[..., ::-1])
        key = cv2.waitKey(1) & 0xFF
        if key in END_KEYS or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            raise KeyboardInterrupt

    def close(self) -> None:
        """Close the window."""
        if self._open:
            self._open = False
            cv2.destroyWindow(self._title)
            cv2.waitKey(1)
