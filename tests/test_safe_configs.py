"""Configs that are data run nothing: of checkpoints, of YAML, of the command line."""

from __future__ import annotations

import json
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.registry import TASK_UTILS as TASKS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmdet_maskr import adjustments
from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.engine.config_reading import read_config
from mmdet_maskr.errors import UserError
from mmdet_maskr.safe_configs import MAX_TEXT, read_literals

CODE = [
    "import os\nos.mkdir({witness!r})",
    "model = __import__('os').mkdir({witness!r})",
    "model = dict(type=open({witness!r}, 'w'))",
    "model = [x for x in [__import__('os').mkdir({witness!r})]]",
    "model = f'{{open({witness!r}, \"w\")}}'",
    "model = (lambda: open({witness!r}, 'w'))()",
    "def model(): pass\nmodel()",
    "class A: open({witness!r}, 'w')",
    "model = 1 if open({witness!r}, 'w') else 2",
    "@open({witness!r}, 'w')\ndef f(): pass",
    "model: open({witness!r}, 'w') = 1",
    "model = other = open",
    "model, b = 1, 2",
    "model = dict(**open({witness!r}, 'w'))",
    "model = dict([open({witness!r}, 'w')])",
    "model = {{**open({witness!r}, 'w')}}",
    "dict = open\nmodel = dict({witness!r}, 'w')",
    "float = open\nmodel = float({witness!r})",
    "model = '{{{{$NO:\\\"}}}}' , \"+__import__('os').mkdir({witness!r})+\"",
    "_base_ = {base!r}\nmodel = dict()",
    "custom_imports = dict(imports=['witness_module'])\nmodel = dict()",
    "custom_imports = dict(imports='unittest.__main__')\nmodel = dict()",
    "del model",
    "model = 2 ** 99999999",
    "model = 'a' * 10**10",
    "model = " + "-" * 5000 + "1",
    "model = " + "[" * 150 + "]" * 150,
    "model = {{[1]: 2}}",
    "model = " + "9" * 5000,
    "a\0b = 1",
    "x" * (MAX_TEXT + 1),
    "model =",
]


@pytest.fixture(autouse=True)
def own_calls() -> Iterator[None]:
    """As within this package's tools, runner and inferencer."""
    with adjustments.own_calls():
        yield


@pytest.fixture
def witness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the code of these tests would make; a module witness_module would make it, too."""
    path = tmp_path / "witness"
    code = f"open({str(path)!r}, 'w')\n"
    (tmp_path / "witness_module").mkdir()
    for name in ("witness_module/__init__.py", "witness_module/registry.py", "base.py"):
        (tmp_path / name).write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    return path


@pytest.mark.parametrize("code", CODE, ids=range(len(CODE)))
@pytest.mark.parametrize("where", ["meta", "message_hub"])
def test_the_config_in_a_checkpoint_is_not_executed(
    tmp_path: Path, witness: Path, code: str, where: str
):
    text = code.format(witness=str(witness), base=str(tmp_path / "base.py"))
    content: dict = dict(state_dict=dict(a=torch.ones(1)), meta={})
    if where == "meta":
        content["meta"]["cfg"] = text
    else:
        content["message_hub"] = dict(runtime_info=dict(cfg=text))
    path = tmp_path / "epoch_1.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match=r"epoch_1\.pth"):
        MaskRInferencer(str(path), device="cpu")
    assert not witness.exists()


@pytest.mark.parametrize("part", [None, [], 3, "x", dict(runtime_info=3), dict(runtime_info={})])
@pytest.mark.parametrize("key", ["meta", "message_hub"])
def test_checkpoints_whose_config_is_none(tmp_path: Path, key: str, part: object):
    path = tmp_path / "epoch_1.pth"
    torch.save(dict(state_dict=dict(a=torch.ones(1)), **{key: part}), path)
    with pytest.raises(UserError, match=r"epoch_1\.pth"):
        MaskRInferencer(str(path), device="cpu")


def test_resuming_does_not_execute_either(tmp_path: Path, witness: Path):
    """mmengine's Runner reads meta['config'] of what it resumes."""
    loop = SimpleNamespace()
    checkpoint = dict(meta=dict(epoch=0, iter=0, config=f"open({str(witness)!r}, 'w')"))
    runner = SimpleNamespace(
        load_checkpoint=lambda *args, **options: checkpoint, train_loop=loop, _world_size=1
    )
    with pytest.raises(UserError):
        Runner.resume(runner, "x.pth", map_location="cpu")  # type: ignore[arg-type]
    assert not witness.exists()


def test_what_mmengine_writes_is_read(repo: Path):
    for path in ("maskr_keypoint_mask_r50_fpn_90k.py", "maskr_r50_c4_1x.py"):
        cfg = Config.fromfile(next((repo / "configs").rglob(path)))
        found = Config.fromstring(cfg.pretty_text, ".py")
        assert found._cfg_dict.to_dict() == cfg._cfg_dict.to_dict()
    values = read_literals("a = dict(b=(1,), **{'x y': {1, 2}})\nc = [-1, inf, -nan, set()]", "it")
    assert values["a"] == {"b": (1,), "x y": {1, 2}} and values["c"][1] == float("inf")


def test_a_long_config_takes_little_memory():
    tracemalloc.start()
    read_literals("a = [" + "[]," * 80_000 + "]", "it")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 << 20


NAMES = [
    "subprocess.call", "os.system", "builtins.exec", "torch.load", "torch.hub.load",
    "witness_module.x", "witness_module.registry.x", "unittest.__main__.main", "antigravity.x",
    "mmengine.fileio.dump", "mmengine.utils.call_command", "numpy.save",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("registry", [MODELS, TRANSFORMS, TASKS], ids=lambda r: r.name)
def test_only_registered_parts_have_names(witness: Path, registry, name: str):
    assert registry.get(name) is None
    with pytest.raises(KeyError):
        registry.build(dict(type=name))
    assert not witness.exists() and not set(sys.modules) & {"antigravity", "unittest.__main__"}


def test_registered_parts_have_full_names():
    assert MODELS.get("mmdet.models.detectors.MaskRCNN") is MODELS.get("MaskRCNN")
    assert MODELS.get("torch.nn.ReLU") is torch.nn.ReLU
    assert MODELS.get("mmdet_maskr.models.roi_heads.ParallelRoIHead") is MODELS.get(
        "ParallelRoIHead"
    )


@pytest.mark.parametrize("scope", ["witness_module", "unittest.__main__", "antigravity"])
def test_scopes_import_nothing(witness: Path, scope: str):
    with DefaultScope.overwrite_default_scope(scope), MODELS.switch_scope_and_registry(scope):
        MODELS.get(f"{scope}.x")
    with pytest.raises(KeyError):
        MODELS.build(dict(type="x", _scope_=scope))
    assert not witness.exists() and scope not in sys.modules


YAML = [
    "custom_imports: {{imports: [witness_module]}}",
    "custom_imports: {{imports: witness_module}}",
    "custom_imports: {{imports: [unittest.__main__]}}",
    "custom_imports: [witness_module]",
    "cus{{{{$NO:tom}}}}_imports: {{imports: [witness_module]}}",
    "_base_: {base}",
    "_base_: ['{base}']",
    "_base_: 'mmdet::../../../../../../../../../../../../../{base}'",
    "_base_: ./inner.json",
    "default_scope: witness_module",
]


@pytest.mark.parametrize("text", YAML)
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_data_files_import_nothing(tmp_path: Path, witness: Path, text: str, suffix: str):
    path = tmp_path / f"config{suffix}"
    base = tmp_path / "base.py"
    (tmp_path / "inner.json").write_text('{"custom_imports": {"imports": ["witness_module"]}}')
    text = text.format(base=base)
    path.write_text(json.dumps(yaml.safe_load(text)) if suffix == ".json" else text)
    with pytest.raises(UserError):
        MaskRInferencer(str(path), device="cpu")
    if "scope" not in text:  # that is for building
        with pytest.raises(UserError):
            read_config(str(path))
    assert not witness.exists()


def test_data_files_may_name_our_configs(tmp_path: Path, repo: Path):
    base = next((repo / "configs").rglob("maskr_r50_fpn_1x.py"))
    (tmp_path / "c.yaml").write_text(f"_base_: {base}\nmodel: {{backbone: {{depth: 101}}}}\n")
    cfg = read_config(str(tmp_path / "c.yaml"))
    assert cfg.model.backbone.depth == 101 and cfg.custom_imports.imports == ["mmdet_maskr"]


@pytest.mark.parametrize("given", ["path", "dict"])
def test_a_function_is_no_model(tmp_path: Path, witness: Path, given: str):
    model = dict(type="subprocess.call", args=["touch", str(witness)])
    (tmp_path / "c.yaml").write_text(json.dumps(dict(model=model)))
    with pytest.raises(UserError):
        MaskRInferencer(
            str(tmp_path / "c.yaml") if given == "path" else dict(model=model), device="cpu"
        )
    assert not witness.exists()


@pytest.mark.parametrize("kind", ["__import__('os').abort()", "os.abort", "exec", "torch.load"])
def test_kinds_of_nms_are_names(kind: str):
    """mmcv and mmdet evaluate them."""
    from mmcv.cnn.rfsearch.search import RFSearchHook
    from mmcv.ops import batched_nms

    boxes, scores, labels = torch.rand(2, 4), torch.rand(2), torch.zeros(2, dtype=torch.long)
    with pytest.raises(UserError):
        batched_nms(boxes, scores, labels, dict(type=kind, iou_threshold=0.5))
    batched_nms(boxes, scores, labels, dict(type="soft_nms", iou_threshold=0.5))
    with pytest.raises(UserError):
        TASKS.build(dict(type="CameraMotionCompensation", warp_mode=kind))
    TASKS.build(dict(type="CameraMotionCompensation"))
    hook = RFSearchHook.__new__(RFSearchHook)
    hook.config = dict(search=dict(skip_layer=None))
    with pytest.raises(UserError):
        hook.wrap_model(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3)), kind)


@pytest.mark.parametrize(
    "name", ["o'brien", 'a"b', "x\nimport os\nos.abort()\n", "b\\n", "'+open('w','w')+'"]
)
def test_names_of_folders_are_texts(tmp_path: Path, name: str):
    """mmengine puts them into the config's text."""
    folder = tmp_path / name.replace("/", "")
    folder.mkdir()
    text = "a = '{{ fileDirname }}/x'\nb = \"{{fileDirname}}\"\nc = '{{ fileBasename }}'\n"
    (folder / "c.py").write_text(text + "d = '{{ fileBasenameNoExtension }}{{ fileExtname }}'\n")
    cfg = Config.fromfile(folder / "c.py")
    assert (cfg.a, cfg.b, cfg.c, cfg.d) == (f"{folder}/x", str(folder), "c.py", "c.py")


def test_bombs_of_aliases(tmp_path: Path):
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    merges = ["m0: &m0 {k: 1}"]
    merges += [f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}" for i in range(1, 12)]
    for name, text in dict(
        aliases="\n".join(lines), merges="\n".join(merges), itself="a: &a [*a]",
        itself_deeper="a: &a {b: {c: *a}}", sexagesimal="a: " + "1:" * 200_000 + "1",
        digits="a: " + "9" * 10_000, hexadecimal="a: 0x" + "f" * 10_000,
        many="[" + "1," * 1_000_000 + "]", deep="[" * 900 + "]" * 900,
    ).items():  # fmt: skip
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        started = time.monotonic()
        with pytest.raises(UserError):
            read_config(str(path))
        assert time.monotonic() - started < 5, name
