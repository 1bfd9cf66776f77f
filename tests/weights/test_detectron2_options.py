"""Detectron2's YAML: base files, defaults, tuples as strings, what is not supported."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmdet_maskr.errors import UserError
from mmdet_maskr.weights.detectron2_options import READ, read_options


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_base_files_and_defaults(tmp_path: Path):
    """As in the model zoo: two levels of _BASE_, the top one counts."""
    write(
        tmp_path / "base.yaml", 'MODEL: {RPN: {NMS_THRESH: 0.6, IN_FEATURES: ["p2"]}}\nVERSION: 2'
    )
    write(tmp_path / "a" / "mid.yaml", '_BASE_: "../base.yaml"\nMODEL: {MASK_ON: True}')
    top = write(
        tmp_path / "a" / "top.yaml",
        '_BASE_: "mid.yaml"\nMODEL: {RPN: {NMS_THRESH: 0.5}}\n'
        "INPUT:\n  MIN_SIZE_TRAIN: (640, 672)\nSOLVER:\n  STEPS: (60000, 80000)\n",
    )
    options = read_options(top)
    assert options["MODEL.RPN.NMS_THRESH"] == 0.5
    assert options["MODEL.RPN.IN_FEATURES"] == ["p2"]
    assert options["MODEL.MASK_ON"] is True
    assert options["INPUT.MIN_SIZE_TRAIN"] == [640, 672]
    assert options["MODEL.RESNETS.DEPTH"] == 50
    assert set(options) == set(READ)


def test_values_are_pythons_literals(tmp_path: Path):
    """As yacs reads them: YAML takes 1e-4 for a string, and so is what stands in quotes."""
    path = write(
        tmp_path / "c.yaml",
        "MODEL:\n  MASK_ON: 'True'\n  ROI_HEADS: {SCORE_THRESH_TEST: 1e-4, NUM_CLASSES: '3'}\n"
        "  PIXEL_STD: ['57.0', 1e+1, 2]\n  FPN: {NORM: \"'GN'\"}\n"
        "  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead}\nINPUT: {FORMAT: RGB}\n",
    )
    options = read_options(path)
    assert options["MODEL.ROI_HEADS.SCORE_THRESH_TEST"] == 0.0001
    assert options["MODEL.ROI_HEADS.NUM_CLASSES"] == 3
    assert options["MODEL.MASK_ON"] is True
    assert options["MODEL.PIXEL_STD"] == [57.0, 10.0, 2]
    assert options["MODEL.FPN.NORM"] == "GN"
    assert options["INPUT.FORMAT"] == "RGB"


def test_all_that_is_not_supported_is_named(tmp_path: Path):
    path = write(
        tmp_path / "c.yaml",
        "MODEL:\n  RESNETS: {DEFORM_ON_PER_STAGE: [False, 1, True, True], DEPTH: 20}\n"
        "  RPN: {HEAD_NAME: OtherHead}\n  POINT_HEAD: {NUM_FC: 3}\n  MASK_ON: True\n"
        "TEST: {AUG: {ENABLED: True}}\n",
    )
    with pytest.raises(UserError) as caught:
        read_options(path)
    message = str(caught.value)
    assert "DEFORM_ON_PER_STAGE: [False, 1, True, True] (must be a list of 4 times" in message
    assert "DEPTH: 20 (supported: 18, 34, 50, 101, 152)" in message
    assert "MODEL.RPN.HEAD_NAME: 'OtherHead' (supported: 'StandardRPNHead')" in message
    assert "MODEL.POINT_HEAD.NUM_FC: 3 (unknown)" in message
    assert "TEST.AUG.ENABLED: True" in message
    assert "MASK_ON" not in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODEL: {META_ARCHITECTURE: RetinaNet}", "'RetinaNet'; only 'GeneralizedRCNN'"),
        ("SOLVER: {MAX_ITER: 1}", "no MODEL section"),
        ("- a list", "contains a list"),
        ("MODEL: [", "not plain YAML"),
        ("MODEL: {RPN: {NMS_THRESH: !!python/object/apply:os.mkdir [trap]}}", "NMS_THRESH: code"),
        (
            "MODEL: {META_ARCHITECTURE: RetinaNet, X: !!python/object/apply:eval ['[1]']}",
            "'RetinaNet'; only",
        ),
        ("_BASE_: nowhere.yaml", "nowhere.yaml, the _BASE_ of"),
        ("_BASE_: c.yaml", "its own _BASE_"),
    ],
)
def test_other_files(tmp_path: Path, text: str, message: str):
    with pytest.raises(UserError, match=message):
        read_options(write(tmp_path / "c.yaml", text))
    assert not Path("trap").exists()
    with pytest.raises(UserError, match="there is no config"):
        read_options(tmp_path / "none.yaml")


def test_a_dump_has_a_semantic_head_that_is_not_built(tmp_path: Path):
    head = "SEM_SEG_HEAD: {NORM: BN, NUM_CLASSES: 7}"
    path = write(tmp_path / "a.yaml", f"MODEL:\n  MASK_ON: True\n  {head}\n")
    assert read_options(path)["MODEL.SEM_SEG_HEAD.NUM_CLASSES"] == 54
    path = write(tmp_path / "b.yaml", f"MODEL:\n  META_ARCHITECTURE: PanopticFPN\n  {head}\n")
    with pytest.raises(UserError, match="NORM: 'BN'"):
        read_options(path)
