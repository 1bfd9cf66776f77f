"""An annotation file is parsed once and each check made once, whoever reads it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from mmdet_maskr.coco import reader
from mmdet_maskr.coco.index import annotation_index
from mmdet_maskr.coco.indexed import CheckedCOCO
from mmdet_maskr.datasets import CocoInstanceDataset
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation.error_analysis.inputs import comparisons
from mmdet_maskr.evaluation.ground_truth import GroundTruthFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    content = dict(
        images=[dict(id=1, file_name="ä.jpg", width=9, height=9)],
        categories=[dict(id=1, name="a")],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 5, 5], area=25)],
    )
    (tmp_path / "ann.json").write_text(json.dumps(content))
    (tmp_path / "ä.jpg").touch()
    return tmp_path / "ann.json"


def as_data_set(path: str) -> CocoInstanceDataset:
    return CocoInstanceDataset(
        ann_file=path, data_prefix=dict(img=str(Path(path).parent)), pipeline=[],
        metainfo=dict(classes=("a",)),
    )  # fmt: skip


def as_error_analysis(path: str) -> dict:
    results = Path(path).with_name("results.json")
    results.write_text(json.dumps([dict(image_id=1, category_id=1, bbox=[1, 1, 5, 5], score=1)]))
    return comparisons(path, [results])


@pytest.mark.parametrize(
    "read", [reader.read_checked, CheckedCOCO, GroundTruthFile, as_data_set, as_error_analysis]
)
def test_once(file: Path, monkeypatch: pytest.MonkeyPatch, read):
    """It is read by its index, which is made once and kept."""
    monkeypatch.setenv("MMDET_MASKR_CACHE", str(file.parent / "cache"))
    calls: Counter = Counter()
    real = annotation_index.build
    monkeypatch.setattr(
        annotation_index, "build", lambda *args: (calls.update(["build"]), real(*args))[1]
    )
    read(str(file))
    reader.read_checked(str(file))
    assert calls == dict(build=1)


def test_what_is_looked_at(file: Path):
    """Entries by the strict form alone; files without annotations where they may lack them."""
    content = json.loads(file.read_text())
    assert reader.read_annotations(file) == reader.read_checked(file) == content
    del content["annotations"][0]["bbox"]
    file.write_text(json.dumps(content))
    assert reader.read_annotations(file) == content
    with pytest.raises(UserError, match="bbox"):
        reader.read_checked(file)
    del content["annotations"]
    file.write_text(json.dumps(content))
    for read in (reader.read_annotations, reader.read_checked):
        assert read(file, may_lack_annotations=True)["annotations"] == []
        with pytest.raises(UserError, match="annotations"):
            read(file)


def test_where_it_is_broken(file: Path):
    file.write_text('{"images": [],\n "annotations": }')
    with pytest.raises(UserError, match=r"ann\.json, line 2, column 17"):
        reader.read_annotations(file)
    with pytest.raises(UserError, match=r"keypoint_ann_file"):
        reader.read_checked(file.with_name("none.json"), option="keypoint_ann_file")
