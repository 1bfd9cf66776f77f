"""Fine-tuning from a pretrained model, from a config of a page to the detector that comes out."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import mirror
import pytest
import torch
from forked import run_tool
from mmengine.config import Config

from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.checkpoint_files import read_checkpoint
from mmdet_maskr.errors import UserError
from mmdet_maskr.zoo import home, resolve

NAME = "mask_rcnn_R_50_FPN_1x"
# The shapes under other names, of which COCO has two
NAMES = dict(disc="sports ball", box="unicorn", triangle="kite")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    mirror.install(monkeypatch, [NAME], tmp_path / "mirror")
    monkeypatch.setenv(home.HOME, str(tmp_path / "home"))
    monkeypatch.setenv(home.MIRROR, (tmp_path / "mirror").as_uri())
    return tmp_path


@pytest.fixture
def data(here: Path, shapes_root: Path) -> Path:
    """A small set of three classes, in another order than COCO's."""
    for split in ("train", "val"):
        source = json.loads((shapes_root / f"annotations/instances_{split}.json").read_text())
        kept = [one for one in source["categories"] if one["name"] in NAMES]
        ids = {one["id"] for one in kept}
        source["categories"] = [dict(id=one["id"], name=NAMES[one["name"]]) for one in kept]
        source["annotations"] = [a for a in source["annotations"] if a["category_id"] in ids]
        (here / f"{split}.json").write_text(json.dumps(source))
    return here


CONFIG = """
_base_ = {base!r}
model = dict(roi_head=dict(bbox_head=dict(num_classes=3), mask_head=dict(num_classes=3)))
metainfo = dict(classes={classes!r})
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(
    data_root={root!r}, ann_file={folder!r} + '/train.json', data_prefix=dict(img='train/'),
    metainfo=metainfo))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(
    data_root={root!r}, ann_file={folder!r} + '/val.json', data_prefix=dict(img='val/'),
    metainfo=metainfo))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file={folder!r} + '/val.json')
test_evaluator = val_evaluator
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=3, val_interval=3)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=3), logger=dict(interval=1))
optim_wrapper = dict(optimizer=dict(lr={lr}))
param_scheduler = []
load_from = {load_from!r}
"""


def config(here: Path, shapes_root: Path, **changes: object) -> Path:
    values = dict(
        base=resolve(NAME).config, classes=tuple(NAMES.values()), root=str(shapes_root),
        folder=str(here), lr=1e-4, load_from=f"pretrained://{NAME}",
    )  # fmt: skip
    text = CONFIG.format(**{**values, **changes})
    cfg = here / "mine.py"
    cfg.write_text(text)
    thin_pipeline(cfg)
    return cfg


def thin_pipeline(path: Path) -> None:
    """Images stay small in training, too."""
    step = Config.fromfile(path).train_dataloader.dataset.pipeline[2]
    assert step.type == "RandomChoiceResize"
    with path.open("a") as file:
        file.write(
            "train_pipeline = _base_.train_pipeline\ntrain_pipeline[2]['scales'] = [(128, 96)]\n"
            "train_dataloader['dataset']['pipeline'] = train_pipeline\n"
        )


def test_from_a_name_to_a_detector(data: Path, repo: Path, shapes_root: Path):
    path = config(data, shapes_root)
    code, out = run_tool(repo / "tools" / "train.py", [path, "--work-dir", data / "work"], data)
    assert code == 0, out
    assert "2 of 3 classes start from the checkpoint's weights: ['sports ball', 'kite']" in out
    assert "coco/bbox_mAP" in out
    trained = read_checkpoint(data / "work" / "iter_3.pth")
    assert tuple(trained["meta"]["dataset_meta"]["classes"]) == tuple(NAMES.values())
    before, after = read_checkpoint(resolve(NAME).weights), trained["state_dict"]
    coco = before["meta"]["dataset_meta"]["classes"]
    before = before["state_dict"]
    # three steps of 1e-4 leave the rows where they were, and nothing of what is learned as it was
    for name, rows in (("bbox_head.fc_cls", 1), ("bbox_head.fc_reg", 4),
                       ("mask_head.conv_logits", 1)):  # fmt: skip
        new, old = (state[f"roi_head.{name}.weight"].flatten(1) for state in (after, before))
        for label, known in enumerate(NAMES.values()):
            if known not in coco:
                continue
            mine = new[label * rows : (label + 1) * rows]
            at = coco.index(known)
            theirs = old[at * rows : (at + 1) * rows]
            assert torch.allclose(mine, theirs, atol=0.02) and not torch.equal(mine, theirs), name
            assert not torch.allclose(mine, old[-rows:], atol=0.02)
    assert torch.equal(after["backbone.conv1.weight"], before["backbone.conv1.weight"])  # frozen
    assert not torch.equal(after["neck.fpn_convs.0.conv.weight"],
                           before["neck.fpn_convs.0.conv.weight"])  # fmt: skip
    image = cv2.imread(str(min((shapes_root / "val").glob("*.png"))))
    found = MaskRInferencer(path, data / "work" / "iter_3.pth", device="cpu", show_progress=False)
    assert tuple(found.model.dataset_meta["classes"]) == tuple(NAMES.values())
    assert set(found(image)["predictions"][0]["labels"]) <= {0, 1, 2}


def test_a_config_of_other_pixels_is_refused(data: Path, repo: Path, shapes_root: Path):
    """mmdet's style of the same model: all shapes agree, and it is told what to set."""
    path = config(data, shapes_root)
    with path.open("a") as file:
        file.write(
            "model['data_preprocessor'] = dict(mean=[123.675, 116.28, 103.53], "
            "std=[58.395, 57.12, 57.375], bgr_to_rgb=True)\n"
            "model['backbone'] = dict(style='pytorch')\n"
        )
    for tool, work in (("train.py", data / "work"), ("test.py", data / "tested")):
        command = [path, "--work-dir", work, "--weights", NAME]
        code, out = run_tool(repo / "tools" / tool, command, data)
        assert code == 2, out
        assert "expects pixels as BGR of mean [103.53, 116.28, 123.675]" in out
        assert "bgr_to_rgb=False" in out and "model.backbone.style='caffe'" in out
    with pytest.raises(UserError, match="gives it RGB of mean"):
        MaskRInferencer(path, NAME, device="cpu")
    changed = Config.fromfile(path)
    hooks = [hook for hook in changed.custom_hooks if hook["type"] != "CheckpointFitHook"]
    changed.custom_hooks = [*hooks, dict(type="CheckpointFitHook", same_input=False)]
    changed.dump(data / "all_the_same.py")
    command = [data / "all_the_same.py", "--work-dir", data / "work", "--weights", NAME]
    code, out = run_tool(repo / "tools" / "train.py", command, data)
    assert code == 0, out
