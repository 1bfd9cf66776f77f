"""Errors that more than one part raises."""

from __future__ import annotations

from pathlib import Path

from mmdet_maskr.errors import no_file


def test_a_file_that_is_not_there(tmp_path: Path):
    """Near names of the same kind are named; so is a folder that is not there either."""
    for name in ("maskr_r50_fpn_1x.py", "maskr_r50_fpn_1x.md", "other.py"):
        (tmp_path / name).touch()
    given = tmp_path / "maskr_r50_fpn.py"
    assert str(no_file("config file", given)) == (
        f"there is no config file {given}: did you mean {tmp_path / 'maskr_r50_fpn_1x.py'}?"
    )
    far = tmp_path / "unlike.py"
    assert str(no_file("config file", far)) == f"there is no config file {far}."
    lost = tmp_path / "nowhere" / "epoch_1.pth"
    assert str(no_file("checkpoint", lost)) == (
        f"there is no checkpoint {lost}: there is no folder {tmp_path / 'nowhere'}."
    )
