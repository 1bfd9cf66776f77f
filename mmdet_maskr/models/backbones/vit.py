"""The plain vision transformer as a detection backbone (Li et al. 2022, ViTDet, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from mmcv.cnn.bricks import DropPath
from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmdet_maskr.errors import UserError
from mmdet_maskr.models.backbones.attention import WindowAttention, from_windows, into_windows

Norm = partial(nn.LayerNorm, eps=1e-6)


@MODELS.register_module()
class PlainViT(BaseModule):
    """ViT for images of any size: windowed attention, and global attention in a few blocks.

    Returns one feature map with stride ``patch_size``, without a final normalization. The class
    token of a pretrained file is not used. Parameter names are those of Detectron2's ``ViT`` (its
    ``backbone.net.*`` is ``backbone.*`` here) and, except for ``rel_pos_*``, those of MAE's files.

    Symbols: B images, C channels, H x W patches.

    Args:
        embed_dim: C.
        depth: number of blocks.
        num_heads: heads of the attention; divides C.
        mlp_ratio: width of the MLP in a block, relative to C.
        patch_size: side of a patch in pixels.
        img_size: side of the images for which the relative positions of global blocks are made.
        pretrain_img_size: side of the pretraining images, which sets the size of the position
            table.
        window_size: side of a window in patches.
        global_blocks: indices of the blocks that attend over the whole image.
        drop_path_rate: rate of the last block; it grows linearly from 0.
        with_cp: save memory by computing blocks twice.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)``: a file of MAE or of this class.

    Raises:
        UserError: the heads do not divide the channels, or a global block does not exist.
    """

    def __init__(
        self,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4,
        patch_size: int = 16,
        img_size: int = 1024,
        pretrain_img_size: int = 224,
        window_size: int = 14,
        global_blocks: Sequence[int] = (2, 5, 8, 11),
        drop_path_rate: float = 0.1,
        with_cp: bool = False,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg)
        if embed_dim % num_heads:
            raise UserError(
                f"backbone.embed_dim={embed_dim} cannot be divided by num_heads={num_heads}."
            )
        if not all(0 <= block < depth for block in global_blocks):
            raise UserError(
                f"backbone.global_blocks={list(global_blocks)} must be in [0, depth={depth})."
            )
        self.with_cp = with_cp
        self.patch_embed = PatchEmbed(embed_dim, patch_size)
        positions = (pretrain_img_size // patch_size) ** 2 + 1  # the class token has one too
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, embed_dim))
        self.blocks = nn.ModuleList(
            Block(
                embed_dim,
                num_heads,
                round(embed_dim * mlp_ratio),
                window_size=0 if i in global_blocks else window_size,
                table_size=img_size // patch_size if i in global_blocks else window_size,
                drop_path_rate=drop_path_rate * i / max(depth - 1, 1),
            )
            for i in range(depth)
        )

    def init_weights(self) -> None:
        """Initialize with truncated normal weights, or load a pretrained file.

        Raises:
            UserError: a weight is missing in the file or has another shape.
        """
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        if self.init_cfg is not None:
            self._load_pretrained(self.init_cfg["checkpoint"])
        self._is_init = True

    def _load_pretrained(self, checkpoint: str) -> None:
        content = CheckpointLoader.load_checkpoint(checkpoint, map_location="cpu")
        weights = content.get("state_dict", content.get("model", content))
        wanted = self.state_dict()
        found = {name: weights[name] for name in wanted if name in weights}
        missing = [n for n in wanted if n not in found and ".rel_pos_" not in n]
        other = [n for n, value in found.items() if value.shape != wanted[n].shape]
        if missing or other:
            problem = f"lacks {missing[0]}" if missing else f"has another shape of {other[0]}"
            raise UserError(
                f"model.backbone.init_cfg.checkpoint={checkpoint} is not a ViT of this size: it "
                f"{problem}. Expected: weight names as in MAE's files, depth {len(self.blocks)} "
                f"and embed_dim {self.pos_embed.shape[2]}."
            )
        self.load_state_dict(found, strict=False)  # what may lack is checked above

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Images (B, 3, height, width) -> one map (B, C, H, W), each side rounded down."""
        x = self.patch_embed(x)
        x = x + positions_for(self.pos_embed, x.shape[1], x.shape[2])
        for block in self.blocks:
            if self.with_cp and x.requires_grad:
                x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return (x.permute(0, 3, 1, 2).contiguous(),)


class PatchEmbed(nn.Module):
    """Non-overlapping patches: (B, 3, height, width) -> (B, H, W, C)."""

    def __init__(self, channels: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Patches (B, H, W, C) of images (B, 3, height, width)."""
        return self.proj(x).permute(0, 2, 3, 1)


class Block(nn.Module):
    """Attention and MLP, each after a normalization and with a shortcut.

    Args:
        channels: C.
        num_heads: of the attention.
        mlp_channels: width of the MLP.
        window_size: side in patches; 0 for attention over the whole image.
        table_size: see WindowAttention.
        drop_path_rate: probability to drop a branch in training.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        mlp_channels: int,
        window_size: int,
        table_size: int,
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = Norm(channels)
        self.attn = WindowAttention(channels, num_heads, table_size)
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = Norm(channels)
        self.mlp = MLP(channels, mlp_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        height, width = x.shape[1:3]
        attended = self.norm1(x)
        if self.window_size:
            # padding comes after the normalization, so padded patches are zero, and attended to
            attended, padded = into_windows(attended, self.window_size)
            attended = from_windows(self.attn(attended), padded, height, width)
        else:
            attended = self.attn(attended)
        x = x + self.drop_path(attended)
        return x + self.drop_path(self.mlp(self.norm2(x)))


class MLP(nn.Module):
    """Two fully connected layers with GELU between."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, width)
        self.fc2 = nn.Linear(width, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        return self.fc2(F.gelu(self.fc1(x)))


def positions_for(table: Tensor, height: int, width: int) -> Tensor:
    """Resize the pretrained positions to another grid, by bicubic interpolation.

    Args:
        table: (1, 1 + n * n, C); the first entry is the class token's and is left out.
        height: H.
        width: W.

    Returns:
        (1, H, W, C).
    """
    side = round((table.shape[1] - 1) ** 0.5)
    grid = table[:, 1:].unflatten(1, (side, side))
    if (side, side) == (height, width):
        return grid
    grid = F.interpolate(
        grid.permute(0, 3, 1, 2), size=(height, width), mode="bicubic", align_corners=False
    )
    return grid.permute(0, 2, 3, 1)
