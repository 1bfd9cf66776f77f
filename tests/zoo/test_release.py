"""Publishing: the folder alone is enough, bit for bit, and runs nothing."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import thin_configs
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader

from mmdet_maskr import safetensors_files
from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.errors import UserError
from mmdet_maskr.quiet import quiet
from mmdet_maskr.zoo import publish, release, resolve

CONFIG = "mini/maskr_shapes.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work dir with a checkpoint that has its config and names, as a training writes it."""
    folder = tmp_path_factory.mktemp("work") / "pets"
    folder.mkdir()
    init_default_scope("mmdet")
    cfg = thin_configs.thin(thin_configs.load(CONFIG), Path("nowhere"))
    with quiet():
        model = MODELS.build(copy.deepcopy(cfg.model))
    meta = dict(dataset_meta=dict(classes=tuple("abcdef"), palette=[(1, 2, 3)] * 6))
    content = dict(
        state_dict=model.state_dict(),
        meta=dict(meta, cfg=cfg.pretty_text),
        optimizer=dict(state={}, param_groups=[]),
    )
    torch.save(content, folder / "epoch_2.pth")
    logs = folder / "20260101_000000" / "vis_data"
    logs.mkdir(parents=True)
    lines = [
        {"coco/bbox_mAP": 0.1, "step": 1},
        {"coco/bbox_mAP": 0.412, "coco/segm_mAP": 0.3713, "coco/segm_mAP_50": 0.5, "step": 2},
        {"loss": 1.0, "step": 2},
    ]
    text = "\n".join(map(json.dumps, lines))
    (logs / "scalars.json").write_text(text + '\n{"coco/bbox_mAP": 0.9, "st')  # killed
    return folder


@pytest.fixture(scope="module")
def folder(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = publish.gather(run / "epoch_2.pth", "apache-2.0")
    return release.write(made, tmp_path_factory.mktemp("release") / "out")


def test_the_folder_alone_gives_the_same_detections(run: Path, folder: Path):
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    cfg = thin_configs.thin(thin_configs.load(CONFIG), Path("nowhere"))
    options = dict(device="cpu", show_progress=False)
    trained = MaskRInferencer(cfg, run / "epoch_2.pth", **options)
    published = MaskRInferencer.from_pretrained(folder, **options)
    assert published.model.dataset_meta["classes"] == list("abcdef")
    expected, found = (model(image)["predictions"][0] for model in (trained, published))
    assert expected == found and len(found["scores"]) > 0
    state = published.model.state_dict()
    for name, value in trained.model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert MaskRInferencer(folder, **options)(image)["predictions"][0] == found


def test_what_is_in_it(folder: Path):
    assert sorted(path.name for path in folder.iterdir()) == sorted(release.FILES)
    facts = json.loads((folder / "release.json").read_text())
    assert facts["name"] == "pets" and facts["classes"] == list("abcdef")
    assert facts["scores"] == {"box AP": 41.2, "mask AP": 37.1, "mask AP50": 50.0}
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: mmdet_maskr\n") and "| mask AP | 37.1 |" in card
    assert facts["sha256"]["model.safetensors"] in card and "license: apache-2.0" in card
    cfg = Config.fromfile(folder / "config.py")
    assert cfg.load_from == str(folder / "model.safetensors") and "work_dir" not in cfg
    assert "pets" in resolve(folder).title and "41.2" in resolve(folder).title


def test_safetensors_load_where_a_checkpoint_does(folder: Path):
    loaded = CheckpointLoader.load_checkpoint(str(folder / "model.safetensors"), "cpu")
    assert loaded["meta"]["dataset_meta"]["classes"] == list("abcdef")
    assert all(isinstance(value, torch.Tensor) for value in loaded["state_dict"].values())


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("model.safetensors", lambda b: b[:-1], "differ from model.safetensors.sha256"),
        ("config.py", lambda b: b + b"x = 1\n", "differ from config.py.sha256"),
        ("config.py", None, "has no config.py"),
        ("model.safetensors", None, "has no model.safetensors"),
    ],
)
def test_a_damaged_folder(folder: Path, tmp_path: Path, name: str, change, says: str):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    if change is not None:
        (tmp_path / name).write_bytes(change(content))
    with pytest.raises(UserError, match=says):
        MaskRInferencer.from_pretrained(tmp_path, device="cpu", show_progress=False)


@pytest.mark.parametrize(
    "line",
    ["import os\n", "__import__('os').mkdir('evil')\n", "_base_ = 'other.py'\n",
     "custom_imports = dict(imports=['evil'])\n"],
)  # fmt: skip
def test_a_config_that_is_a_program_is_not_run(folder: Path, tmp_path: Path, line: str):
    for name in ("model.safetensors", "config.py"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with (tmp_path / "config.py").open("a") as file:
        file.write(line)
    (tmp_path / "evil.py").write_text("raise SystemExit")
    with pytest.raises(UserError):
        resolve(tmp_path)


def test_a_folder_of_others_is_not_touched(run: Path, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    made = publish.gather(run / "epoch_2.pth", "mit")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        release.write(made, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_weights_of_another_model_are_not_published(run: Path, tmp_path: Path):
    config = thin_configs.ROOT / "maskr_r50_fpn_1x.py"
    with pytest.raises(UserError, match="does not fit"):
        publish.gather(run / "epoch_2.pth", "mit", config)
    torch.save(dict(state_dict={"a": torch.zeros(1)}), tmp_path / "a.pth")
    with pytest.raises(UserError, match="contains no config"):
        publish.gather(tmp_path / "a.pth", "mit")
    with pytest.raises(UserError, match="no checkpoint"):
        publish.gather(tmp_path / "b.pth", "mit")


# ------------------------------------------------------------------------------------ safetensors
def test_round_trip_is_bit_equal(tmp_path: Path):
    state = {
        "a": torch.randn(3, 4),
        "turned": torch.randn(4, 3).T,
        "half": torch.randn(5).half(),
        "count": torch.tensor(7),
        "nan": torch.tensor([float("nan"), float("inf")]),
        "empty": torch.zeros(0, 3),
    }
    state["shared"] = state["a"]
    meta = dict(dataset_meta=dict(classes=["a", "ü"]), number=1.5)
    safetensors_files.write(tmp_path / "a.safetensors", state, meta)
    loaded = safetensors_files.read(tmp_path / "a.safetensors")
    assert loaded["meta"] == meta and loaded["state_dict"].keys() == state.keys()
    for name, value in state.items():
        found = loaded["state_dict"][name]
        assert found.dtype == value.dtype
        assert found.numpy(force=True).tobytes() == value.contiguous().numpy().tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("length", [0, 4, 8, 100, -1])
def test_a_cut_file(tmp_path: Path, length: int):
    path = tmp_path / "a.safetensors"
    safetensors_files.write(path, dict(a=torch.zeros(100)), {})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match="damaged, truncated, or not a"):
        safetensors_files.read(path)


def test_what_it_cannot_hold(tmp_path: Path):
    with pytest.raises(UserError, match="cannot store"):
        safetensors_files.write(tmp_path / "a.safetensors", dict(a=[1.0]), {})
    with pytest.raises(UserError, match="cannot store"):
        safetensors_files.write(tmp_path / "a.safetensors", dict(a=torch.eye(3).to_sparse()), {})
    assert not list(tmp_path.iterdir())
