"""The live form, served by tools/compare.py and used in a real browser."""

from __future__ import annotations

import importlib.util
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from small_models import write_model

SECONDS = 240  # gradio's import takes a while on a busy machine
SIZES = [(390, 844), (1440, 900)]
FRAME = "iframe.compare"
BOXES = """() => [...document.querySelectorAll("h1, #images, iframe")].map((e) => {
    const { left, top, right, bottom } = e.getBoundingClientRect();
    return [left, top, right, bottom]; })"""


@pytest.fixture(scope="module")
def address(
    browser, repo: Path, shapes_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The form with two models and one image to begin with."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("needs gradio")
    folder = tmp_path_factory.mktemp("served")
    texts = [write_model(folder, name, seed) for seed, name in enumerate(("first", "second"))]
    first = min((shapes_root / "val").iterdir())
    command = [sys.executable, repo / "tools" / "compare.py", "--serve", "--device", "cpu",
               "--models", *texts, "--images", first]  # fmt: skip
    env = dict(os.environ, PYTHONPATH=str(repo), OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1")
    process = subprocess.Popen(
        list(map(str, command)), env=env, cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    lines: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=lambda: [*map(lines.put, process.stdout), lines.put("")])
    reader.start()
    try:
        output = []
        while not output or "serving" not in output[-1]:
            output.append(lines.get(timeout=SECONDS))
            assert output[-1], "".join(output)
        yield re.search(r"http://\S+", output[-1])[0]
    finally:
        process.terminate()
        process.wait(30)
        reader.join(30)
        process.stdout.close()


def upload(page, files: list[Path]) -> None:
    page.locator("#images input[type=file]").set_input_files([str(file) for file in files])


@pytest.mark.parametrize("size", SIZES, ids=["phone", "desktop"])
def test_upload(
    address: str, open_page: Callable, shapes_root: Path, tmp_path: Path, size: tuple[int, int]
):
    """Two images and a broken file: all models at once, slider, layers and differences."""
    assert address.startswith("http://127.0.0.1:")
    page = open_page(address, size)
    shown = page.frame_locator(FRAME)
    shown.locator("#panel-1 img").wait_for()
    assert not shown.locator("#images").is_visible(), "one image to begin with"
    photos = sorted((shapes_root / "val").iterdir())[1:3]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    upload(page, [*photos, broken])
    shown.locator("#notes li", has_text="broken.png could not be read").wait_for()
    options = shown.locator("#image option").all_inner_texts()
    assert options == [f"{i}/2 {photo.name}" for i, photo in enumerate(photos, start=1)]
    assert shown.locator("#columns th").count() == 5
    content = page.frames[1].evaluate("JSON.parse(document.getElementById('content').textContent)")
    for threshold in (0.05, 0.2, 0.9):
        shown.locator("#threshold").fill(str(threshold))
        for model, result in enumerate(content["images"][0]["results"]):
            expected = sum(d["score"] >= threshold for d in result["detections"])
            assert shown.locator(f"#panel-{model} .detection").count() == expected
    shown.locator("#threshold").fill("0.05")
    assert shown.locator("#panel-0 .box").count() == len(
        content["images"][0]["results"][0]["detections"]
    ) > 0  # fmt: skip
    shown.locator("#layer-boxes").uncheck()
    assert shown.locator("#panel-0 .box").count() == 0
    shown.locator("#reference").select_option("0")
    assert re.match(r"\+\d+, −\d+, \d+ in common", shown.locator("#panel-1 .count").inner_text())
    check_layout(page, size)


def check_layout(page, size: tuple[int, int]) -> None:
    """One below the other, inside of the window; the frame is as tall as its page."""
    page.wait_for_function(
        """() => { const frame = document.querySelector("iframe.compare");
        const root = frame.contentDocument.documentElement;
        return Math.abs(frame.offsetHeight - root.offsetHeight) < 5; }"""
    )
    boxes = page.evaluate(BOXES)
    assert len(boxes) == 3
    for above, below in pairwise(boxes):
        assert above[3] <= below[1] + 0.5
    assert all(box[0] >= 0 and box[2] <= size[0] for box in boxes)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_broken_image_alone(address: str, open_page: Callable, tmp_path: Path):
    """The form says so, and goes on."""
    page = open_page(address)
    page.frame_locator(FRAME).locator("#panel-1 img").wait_for()
    (tmp_path / "broken.png").write_bytes(b"no image")
    upload(page, [tmp_path / "broken.png"])
    page.get_by_text("none of the 1 images can be read").first.wait_for()


def test_no_telemetry(address: str, open_page: Callable):
    page = open_page(address)
    config = page.evaluate("window.gradio_config")
    assert config["analytics_enabled"] is False
    assert not config.get("is_space")
