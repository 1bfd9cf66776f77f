"""tools/compare.py from the command line: the page it writes, and wrong input."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_models import write_model

from mmdet_maskr.cli.parser import parser_of
from mmdet_maskr.compare import live
from mmdet_maskr.engine.launch import run_tool


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [write_model(folder, name, seed) for seed, name in enumerate(("first", "second"))]


@pytest.fixture
def tool(repo: Path):
    spec = importlib.util.spec_from_file_location("compare_tool", repo / "tools" / "compare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def call(tool, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path) -> Callable:
    """Calls the tool as from a shell in an empty folder; gives its exit code and all output."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["compare.py", *map(str, args)])
        code = 0
        try:
            run_tool(tool.main)
        except SystemExit as ending:
            code = ending.code
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call


def content_of(file: Path) -> dict:
    text = file.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="content">(.*?)</script>', text, re.DOTALL)[1])


def test_page(
    call: Callable, texts: list[str], shapes_root: Path, tmp_path: Path, open_page: Callable
):
    """From checkpoints to what is seen: ground truth and two models on two of five images."""
    val = tmp_path / "photos"
    val.mkdir()
    for photo in (shapes_root / "val").iterdir():
        (val / photo.name).write_bytes(photo.read_bytes())
    (val / "000000.png").write_bytes(b"no image")
    code, output = call(
        "--models", texts[0], f"<script>={texts[1]}", "--images", val, "--max-images", "3",
        "--ann", shapes_root / "annotations" / "instances_val.json", "--out", "side.html",
        "--device", "cpu",
    )  # fmt: skip
    assert code == 0, output
    assert "3 of 5 images" in output and re.search(r"note: .*000000\.png could not be", output)
    assert "2 images: side.html" in output and "Loads checkpoint" not in output
    content = content_of(tmp_path / "side.html")
    assert [model["name"] for model in content["models"]] == ["first", "<script>"]
    assert set(content["models"][0]["scores"]) == {"box", "mask", "keypoint"}
    page = open_page((tmp_path / "side.html").as_uri())
    assert page.inner_text("#panel-1 strong") == "<script>"
    found = content["images"][0]["results"][1]["detections"]
    for threshold in ("0.05", "0.2", "0.5"):
        page.locator("#threshold").fill(threshold)
        expected = sum(d["score"] >= float(threshold) for d in found)
        assert page.locator("#panel-1 .detection").count() == expected
    assert page.locator("#panel-truth .mask").count() == len(content["images"][0]["truth"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], r"--images is needed"),
        (["--images", "nowhere.jpg"], r"nowhere\.jpg"),
        (["--images", "photo.png", "--ann", "no.json"], r"--ann: there is no annotation file"),
        (["--images", "photo.png", "--out", "no/page.html"], r"--out no/page\.html: there is no"),
        (["--images", "photo.png", "--out", "."], r"--out \. is a folder"),
        (["--images", "photo.png", "--port", "7860"], r"--port has an effect only with --serve"),
        (["--images", "photo.png", "--max-images", "0"], r"--max-images 0: it must be"),
    ],
)
def test_wrong_options(
    call: Callable, texts: list[str], tmp_path: Path, args: list[str], message: str
):
    (tmp_path / "photo.png").write_bytes(b"")
    code, output = call("--models", *texts, *args)
    assert code == 2 and re.search(message, output), output
    assert not (tmp_path / "compare.html").exists()


def test_wrong_model(call: Callable, tmp_path: Path):
    (tmp_path / "photo.png").write_bytes(b"")
    code, output = call("--models", "nowhere.py:a.pth", "--images", "photo.png")
    assert code == 2 and "there is no config file nowhere.py" in output


def test_without_gradio(call: Callable, texts: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, output = call("--models", *texts, "--serve")
    assert code == 2 and "pip install 'gradio>=6'" in output
    monkeypatch.setitem(sys.modules, "gradio", SimpleNamespace(__version__="5.49.1"))
    code, output = call("--models", *texts, "--serve")
    assert code == 2 and "newer gradio than 5.49.1: pip install" in output


def test_served_to_this_machine():
    assert (
        parser_of("compare", "compare.py").parse_args(["--models", "x"]).host
        == live.HOST
        == "127.0.0.1"
    )
