"""The report says what is in the files, and what it finds is what was put into them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from forked import run_tool
from pycocotools.coco import COCO
from report_cases import write_run

from mmdet_maskr.errors import UserError
from mmdet_maskr.report import write_report
from mmdet_maskr.report.pictures import Album
from mmdet_maskr.report.run_files import find_checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, shapes_root: Path) -> Path:
    return write_run(tmp_path_factory.mktemp("report") / "run", shapes_root)


@pytest.fixture(scope="module")
def page(run: Path) -> Path:
    return write_report(run, detections=[run / "found.json"])


def test_what_the_page_says(page: Path, run: Path, shapes_root: Path):
    text = page.read_text(encoding="utf-8")
    assert page == run / "report.html" and page.stat().st_size < 8 * 2**20
    train = json.loads((shapes_root / "annotations" / "instances_train.json").read_text())
    objects = sum(not a["iscrowd"] for a in train["annotations"])
    row = re.search(r'<th scope="row">train</th>((?:<td>[^<]*</td>)+)', text)
    cells = re.findall(r"<td>([^<]*)</td>", row[1])
    assert cells[0] == "16" and cells[2] == str(objects)
    for heading in ("Data", "Training", "AP by class and size", "Which score to ask for",
                    "Kinds of errors", "The worst images", "Labels to look at again",
                    "Use the model"):  # fmt: skip
        assert f">{heading}</h2>" in text, heading
    assert "src=" in text and "http://" not in text and "https://" not in text
    pictures = re.findall(r'<img src="data:image/jpeg[^>]*>', text)
    assert len(pictures) > 10 and all(re.search(r'alt="[^"]{10,}"', p) for p in pictures)
    assert f"maskr train {run / 'shapes.py'}" in text


def test_suspicious_labels_are_those_that_were_made(page: Path, run: Path, shapes_root: Path):
    """A detection of nothing in each image, and the classes that were exchanged."""
    text = page.read_text(encoding="utf-8")
    truth = COCO(shapes_root / "annotations" / "instances_val.json")
    unlabeled = set(re.findall(r'alt="([^":]+): found \w+ 0\.97, not labeled"', text))
    assert unlabeled == {info["file_name"] for info in truth.imgs.values()}
    assert re.search(r"labeled \w+, found \w+ 0\.(89|90)", text)
    row = r'<th scope="row">(Cls|Bkg|Miss)</th><td class="text">[^<]*</td><td>(\d+)</td>'
    counts = {kind: int(count) for kind, count in re.findall(row, text)}
    objects = [a for a in truth.dataset["annotations"] if not a["iscrowd"]]
    exchanged = len(range(1, len(objects), 5))
    assert counts["Bkg"] == len(truth.imgs) and 0 < counts["Cls"] <= exchanged
    assert 0 < counts["Miss"] <= len(range(0, len(objects), 5))


def test_too_few_detections_are_allowed(page: Path, tmp_path: Path, shapes_root: Path):
    """A limit below the number of objects is named; a higher one is not."""
    assert 'class="note"' not in page.read_text(encoding="utf-8")
    run = write_run(tmp_path / "run", shapes_root, most=2)
    text = write_report(run, detections=[run / "found.json"]).read_text(encoding="utf-8")
    truth = COCO(shapes_root / "annotations" / "instances_val.json")
    counts = [len(truth.imgToAnns[i]) for i in truth.imgs]
    note = re.search(r"In (\d+) of 4 images the model gives 2 detections.* up to (\d+)", text)
    assert 0 < int(note[1]) <= sum(n > 2 for n in counts) and int(note[2]) == max(counts)


def test_a_model_that_finds_nothing(run: Path, tmp_path: Path):
    """Data and curves are there, and a sentence; no table of zeros."""
    (tmp_path / "none.json").write_text("[]")
    page = write_report(run, detections=[tmp_path / "none.json"], out=tmp_path / "r.html")
    text = page.read_text(encoding="utf-8")
    assert "finds nothing on the test images" in text and ">Data</h2>" in text
    assert ">Training</h2>" in text and "AP by class" not in text and "worst" not in text


def test_texts_are_escaped(run: Path):
    page = write_report(
        run, detections=[run / "found.json"], out=run / "b.html", title="<script>alert(1)</script>"
    )
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text


def test_pictures_share_the_weight():
    """As large as they may be: few as they are, many smaller."""
    rng = np.random.default_rng(0)
    album = Album([rng.integers(0, 256, (600, 900, 3), np.uint8) for _ in range(4)])
    few = album.sources(10**7)
    many = album.sources(400_000)
    assert [p["width"] for p in few] == [900] * 4
    assert sum(len(p["src"]) for p in many) <= 400_000 and many[0]["width"] < 900
    assert Album().sources() == []


def test_files_of_a_run(run: Path, tmp_path: Path):
    """The best checkpoint before the last; a pointer of a folder that was moved."""
    (tmp_path / "iter_9.pth").touch()
    (tmp_path / "last_checkpoint").write_text("/elsewhere/iter_9.pth")
    assert find_checkpoint(tmp_path).name == "iter_9.pth"
    (tmp_path / "best_coco_segm_mAP_iter_5.pth").touch()
    assert find_checkpoint(tmp_path).name == "best_coco_segm_mAP_iter_5.pth"
    with pytest.raises(UserError, match="has no checkpoint"):
        find_checkpoint(run / "20260101_000000")


def test_the_command(run: Path, tmp_path: Path, repo: Path):
    out = tmp_path / "r.html"
    tool = repo / "tools" / "report.py"
    code, output = run_tool(tool, [str(run), "--detections", str(run / "found.json"),
                                   "--out", str(out)])  # fmt: skip
    assert code == 0 and out.is_file() and str(out) in output, output
    code, output = run_tool(tool, [str(tmp_path / "nowhere")])
    assert code == 2 and "there is no work dir" in output
    code, output = run_tool(tool, [str(tmp_path)])
    assert code == 2 and "has no config" in output
