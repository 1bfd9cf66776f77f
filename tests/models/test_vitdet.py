"""ViTDet: attention against a direct loop, names of Detectron2, the recipe's layer decay."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

import mmdet_maskr  # noqa: F401  (registers its parts)
from mmdet_maskr.models import ChannelLayerNorm, PlainViT, SimpleFeaturePyramid
from mmdet_maskr.models.backbones.attention import (
    WindowAttention,
    distances,
    from_windows,
    into_windows,
)
from mmdet_maskr.models.backbones.vit import positions_for

SMALL = dict(embed_dim=16, depth=3, num_heads=2, img_size=64, window_size=3, global_blocks=(2,))


def randomised(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The module with random values in all parameters, also those that start at zero or one."""
    generator = torch.Generator().manual_seed(seed)
    for value in module.parameters():
        value.data = torch.randn(value.shape, generator=generator) * 0.3
    return module.eval()


@pytest.mark.parametrize(("height", "width"), [(3, 3), (2, 3)])
def test_attention_is_the_papers_sum(height: int, width: int):
    """softmax(q k / sqrt(c) + q R_h[dy] + q R_w[dx]) v, one query, head and key at a time."""
    side = 3 if height == width else max(height, width)
    attention = randomised(WindowAttention(channels=8, num_heads=2, table_size=side)).double()
    if height != width:  # tables for each side: interpolation has a test of its own
        attention.rel_pos_h.data = attention.rel_pos_h.data[: 2 * height - 1]
    x = torch.randn(1, height, width, 8, dtype=torch.float64)
    q, k, v = attention.qkv(x).view(height, width, 3, 2, 4).unbind(2)  # (H, W, heads, 4)
    cells = [(i, j) for i in range(height) for j in range(width)]
    out = torch.zeros(height, width, 2, 4, dtype=torch.float64)
    for i, j in cells:
        for head in range(2):
            logits = [
                q[i, j, head] @ k[r, c, head] / math.sqrt(4)
                + q[i, j, head] @ attention.rel_pos_h[i - r + height - 1]
                + q[i, j, head] @ attention.rel_pos_w[j - c + width - 1]
                for r, c in cells
            ]
            weights = torch.stack(logits).softmax(0)
            out[i, j, head] = sum(
                w * v[r, c, head] for w, (r, c) in zip(weights, cells, strict=True)
            )
    expected = attention.proj(out.view(1, height, width, 8))
    assert torch.allclose(attention(x), expected, atol=1e-10)


def test_tables_are_interpolated():
    """A table whose entries are their distance stays so, up to the ends, on another size."""
    attention = WindowAttention(channels=4, num_heads=1, table_size=4)
    attention.rel_pos_h.data = torch.arange(-3.0, 4.0)[:, None].repeat(1, 4)
    assert attention(torch.zeros(1, 6, 2, 4)).shape == (1, 6, 2, 4)
    table = distances(attention.rel_pos_h, 6)[:, :, 0]
    assert table.shape == (6, 6) and torch.allclose(table, -table.T, atol=1e-6)
    assert table[5, 0] == 3 and (table.diff(dim=0) > 0).all()


@pytest.mark.parametrize(("height", "width"), [(6, 6), (5, 7), (2, 1)])
def test_windows_and_back(height: int, width: int):
    x = torch.randn(2, height, width, 4)
    windows, padded = into_windows(x, 3)
    assert padded == (-(-height // 3) * 3, -(-width // 3) * 3)
    assert torch.equal(windows[0, : min(3, height), : min(3, width)], x[0, :3, :3])
    assert torch.equal(from_windows(windows, padded, height, width), x)
    assert windows.abs().sum() == pytest.approx(x.abs().sum().item(), rel=1e-5)  # zeros added


@pytest.mark.parametrize(("blocks", "seen"), [((), False), ((1,), True)])
def test_only_global_blocks_look_beyond_the_window(blocks: tuple[int, ...], seen: bool):
    """A pixel of the last window reaches the first one through a global block alone."""
    vit = randomised(PlainViT(**{**SMALL, "global_blocks": blocks}))
    image = torch.zeros(1, 3, 96, 96)
    changed = image.clone()
    changed[..., -1, -1] = 5
    with torch.no_grad():
        difference = (vit(image)[0] - vit(changed)[0]).abs()[0].sum(0)
    assert difference[3:, 3:].min() > 0
    assert bool(difference[0, 0] > 1e-6) == seen


def test_positions_of_the_pretraining():
    """Without the class token's; on the pretraining's grid nothing changes; a ramp stays one."""
    table = torch.randn(1, 1 + 4 * 4, 5)
    assert torch.equal(positions_for(table, 4, 4), table[:, 1:].view(1, 4, 4, 5))
    table[0, 1:, 0] = torch.arange(4.0).repeat(4)
    ramp = positions_for(table, 8, 8)[0, :, :, 0]
    assert torch.allclose(ramp[:, 3:5].mean(1), torch.full((8,), 1.5), atol=1e-5)
    assert (ramp.diff(dim=1) > 0).all()


def test_any_image_size_and_checkpointing():
    """One map of stride 16; computing blocks twice gives the same gradients."""
    image = torch.randn(2, 3, 50, 80)
    grads = []
    for with_cp in (False, True):
        vit = randomised(PlainViT(**SMALL, with_cp=with_cp))
        (out,) = vit(image)
        assert out.shape == (2, 16, 3, 5)
        out.square().mean().backward()
        grads.append([p.grad for p in vit.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*grads, strict=True))


def test_names_of_detectron2():
    """What is left after 'backbone.net.' and 'backbone.' of Detectron2's ViTDet checkpoints."""
    vit = PlainViT(**SMALL)
    block = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    expected = {"pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    for i in range(3):
        expected |= {f"blocks.{i}.{part}.{kind}" for part in block for kind in ("weight", "bias")}
        expected |= {f"blocks.{i}.attn.rel_pos_{axis}" for axis in "hw"}
    assert set(vit.state_dict()) == expected
    assert vit.blocks[0].attn.rel_pos_h.shape == (2 * 3 - 1, 8)
    assert vit.blocks[2].attn.rel_pos_w.shape == (2 * 4 - 1, 8)
    neck = SimpleFeaturePyramid(16, 8)
    first = {"simfp_2": (4, 5), "simfp_3": (1, 2), "simfp_4": (0, 1), "simfp_5": (1, 2)}
    expected = {f"simfp_{k}.0.{kind}" for k in (2, 3) for kind in ("weight", "bias")}
    expected |= {f"simfp_2.{k}.{kind}" for k in (1, 3) for kind in ("weight", "bias")}
    for level, convs in first.items():
        for conv in convs:
            expected |= {f"{level}.{conv}.{p}" for p in ("weight", "norm.weight", "norm.bias")}
    assert set(neck.state_dict()) == expected


def test_pyramid():
    """Strides 4 to 64 from one map; a norm at each pixel; P6 is every second pixel of P5."""
    neck = SimpleFeaturePyramid(16, 8).eval()
    x = torch.randn(2, 16, 4, 6)
    outs = neck([x])
    assert [tuple(o.shape[1:]) for o in outs] == [
        (8, 16, 24), (8, 8, 12), (8, 4, 6), (8, 2, 3), (8, 1, 2),
    ]  # fmt: skip
    assert torch.equal(outs[4], outs[3][..., ::2, ::2])
    assert outs[0].mean(1).abs().max() < 1e-5  # the last layer of a level is a norm
    with pytest.raises(ValueError, match="takes one feature map, but the backbone returns 2"):
        neck([x, x])


def test_channel_norm():
    norm = randomised(ChannelLayerNorm(6, eps=1e-6)).double()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    centered = x - x.mean(1, keepdim=True)
    expected = centered / (centered.square().mean(1, keepdim=True) + 1e-6).sqrt()
    expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
    assert torch.allclose(norm(x), expected)


def test_starts_from_a_file_of_mae(tmp_path: Path):
    """All but relative positions, which start at zero; the class token and the decoder are left."""
    source = randomised(PlainViT(**SMALL))
    weights = {k: v for k, v in source.state_dict().items() if "rel_pos" not in k}
    extra = {"cls_token": torch.zeros(1, 1, 16), "norm.weight": torch.ones(16)}
    torch.save({"model": {**weights, **extra}}, tmp_path / "mae.pth")
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "mae.pth"))
    vit = PlainViT(**SMALL, init_cfg=init_cfg)
    vit.init_weights()
    for name, value in vit.state_dict().items():
        expected = torch.zeros_like(value) if "rel_pos" in name else weights[name]
        assert torch.equal(value, expected), name
    deeper = PlainViT(**{**SMALL, "depth": 4}, init_cfg=init_cfg)
    with pytest.raises(ValueError, match=r"mae\.pth is not a ViT of this size.*lacks blocks\.3"):
        deeper.init_weights()
    wider = PlainViT(**{**SMALL, "embed_dim": 32}, init_cfg=init_cfg)
    with pytest.raises(ValueError, match=r"has another shape of pos_embed.*embed_dim 32"):
        wider.init_weights()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PlainViT(embed_dim=10, num_heads=4), "embed_dim=10 cannot be divided by num_hea"),
        (lambda: PlainViT(**{**SMALL, "global_blocks": (3,)}), r"global_blocks=\[3\].*depth=3"),
        (lambda: SimpleFeaturePyramid(16, num_outs=3), "num_outs must be at least 4, not 3"),
        (lambda: SimpleFeaturePyramid(16, stride=12), "stride must be a power of two.*12"),
    ],
)
def test_bad_options(build, message: str):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_recipes_rates_and_decays(repo: Path):
    """Rate 0.7 ** (13 - layer) with layer 0 before block 0; no decay for positions and norms."""
    cfg = Config.fromfile(repo / "configs" / "maskr_vit-b_sfp_lsj-100e.py")
    cfg.model.backbone.update(embed_dim=24, init_cfg=None)
    cfg.model.neck.in_channels = 24
    model = MODELS.build(cfg.model)
    cfg.optim_wrapper.update(type="OptimWrapper")
    cfg.optim_wrapper.pop("loss_scale")
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    names = {id(p): name for name, p in model.named_parameters()}
    groups = {names[id(g["params"][0])]: g for g in optimizer.param_groups}
    assert len(groups) == len(names)
    for name, group in groups.items():
        layer = 13
        if name.startswith("backbone."):
            layer = int(name.split(".")[2]) + 1 if ".blocks." in name else 0
        assert group["lr"] == pytest.approx(1e-4 * 0.7 ** (13 - layer)), name
        undecayed = "norm" in name or ".ln" in name or "pos_embed" in name
        undecayed |= name in ("neck.simfp_2.1.weight", "neck.simfp_2.1.bias")
        assert group["weight_decay"] == (0 if undecayed else 0.1), name
