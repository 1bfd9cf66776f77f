"""A window: where it may open, what it shows, and how the user ends the video with it."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_overlap import Found, Keeps, Model, Numbers

from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.overlap import depths_of
from mmdet_maskr.inference.walk import Image, Sink, walk
from mmdet_maskr.inference.window import Window, check_display


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> dict:
    """A display where ``keys['pressed']`` is the key, and ``keys['shown']`` what it shows."""
    state = dict(pressed=-1, visible=1.0, shown=[], open=set())
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:    QT5\n")
    monkeypatch.setattr(cv2, "namedWindow", lambda name, flags: state["open"].add(name))
    monkeypatch.setattr(cv2, "destroyWindow", lambda name: state["open"].remove(name))
    monkeypatch.setattr(cv2, "imshow", lambda name, image: state["shown"].append(image[0, 0, 0]))
    monkeypatch.setattr(cv2, "waitKey", lambda delay: state["pressed"])
    monkeypatch.setattr(cv2, "getWindowProperty", lambda name, kind: state["visible"])
    return state


@pytest.mark.parametrize("end", [dict(pressed=ord("q")), dict(pressed=27), dict(visible=0.0)])
def test_the_user_ends_a_camera(keys: dict, end: dict):
    """By q, Esc or the close button; the other sinks are whole, with the frame that it shows."""

    class Shows(Sink):
        def __init__(self) -> None:
            self.window = Window("camera")

        def add(self, image: Image, number: int, found: Found) -> None:
            if image.name == 5:
                keys.update(end)
            self.window.show(np.full((2, 2, 3), [image.name, 0, 99], np.uint8))

        def close(self, whole: bool) -> None:
            self.window.close()

    video, kept = Numbers(50, live=True), Keeps()
    report = walk(video, Model(), [kept, Shows()], depths=depths_of(video, show=True))
    assert report.stopped and kept.ends == [True]
    assert [row[0] for row in kept.rows] == list(range(6))
    assert keys["shown"] == [99] * 6  # OpenCV's order is BGR
    assert keys["open"] == set()


def test_where_there_is_no_display(keys: dict, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    check_display()
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:    NONE\n")
    with pytest.raises(UserError, match="headless"):
        check_display()
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UserError, match="no display"):
        Window("camera")
