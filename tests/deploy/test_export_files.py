"""A folder of an exported model holds one model, whole, whenever an export over it is killed."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest

from mmdet_maskr.deploy import files
from mmdet_maskr.errors import UserError


def write(folder: Path, content: str) -> None:
    """A model of OpenVINO, in two files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in files.files_of("openvino"):
        (folder / name).write_text(f"{name} {content}")
    metadata = dict(
        version=1, format="openvino", classes=[content], outputs=files.NEEDED,
        preprocessing=dict(resize=None),
        sha256={name: files.digest_of(folder / name) for name in files.files_of("openvino")},
    )  # fmt: skip
    (folder / files.METADATA).write_text(json.dumps(metadata))


class Killed(BaseException):
    """In place of SIGKILL."""


@pytest.mark.parametrize("at", range(1, 8))
def test_an_export_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int):
    """At any change of a name: the old model or the new one, and the next export cleans."""
    old, new = tmp_path / "out", tmp_path / "out" / ".export_x"
    write(old, "old")
    write(new, "new")
    (old / "found.json").write_text("mine")
    count, replace = [0], os.replace

    def counted(source: Path, target: Path) -> None:
        count[0] += 1
        if count[0] == at:
            raise Killed
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", counted)
    with pytest.raises(Killed) if at <= 6 else contextlib.nullcontext():
        files.replace(new, old)
    monkeypatch.undo()
    found = files.read_metadata(old)
    assert found["classes"] == (["old"] if at <= 3 else ["new"])
    for name in files.files_of("openvino"):
        assert (old / name).read_text() == f"{name} {found['classes'][0]}"
    files.clean(old)
    names = {"found.json", files.METADATA, *files.files_of("openvino")}
    assert {path.name for path in old.iterdir()} == names


@pytest.mark.parametrize("name", ["model.xml", "model.bin"])
def test_other_bytes_are_refused(tmp_path: Path, name: str):
    write(tmp_path, "x")
    files.read_metadata(tmp_path)
    (tmp_path / name).write_text("other")
    with pytest.raises(UserError, match=name):
        files.read_metadata(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=name):
        files.read_metadata(tmp_path)


@pytest.mark.parametrize("record", ["{", "[]", "{}", '{"sha256": 3}', '{"sha256": {"../x": "a"}}'])
def test_a_record_of_no_use(tmp_path: Path, record: str):
    write(tmp_path, "x")
    (tmp_path / "metadata.json.partial").write_text(record)
    assert files.read_metadata(tmp_path)["classes"] == ["x"]
