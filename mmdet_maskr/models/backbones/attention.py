"""Attention between image patches with relative positions, in windows or global.

Li et al. 2022, Exploring Plain Vision Transformer Backbones for Object Detection (ViTDet),
section 3. Symbols: B images (or windows), H x W patches, C channels, h heads, S side of a window.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WindowAttention(nn.Module):
    """Multi-head self-attention with decomposed relative positions (Li et al. 2022, MViTv2).

    Two tables, for the vertical and horizontal distance of two patches, are added to the logits:
    ``q . k / sqrt(C / h) + q . rel_pos_h[dy] + q . rel_pos_w[dx]``.

    Args:
        channels: C.
        num_heads: h.
        table_size: side in patches for which the tables are made: 2 * side - 1 distances. For other
            sizes, they are interpolated.
    """

    def __init__(self, channels: int, num_heads: int, table_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        head_channels = channels // num_heads
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * table_size - 1, head_channels))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * table_size - 1, head_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        batch, height, width, channels = x.shape
        qkv = self.qkv(x).view(batch, height * width, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, h, H W, C / h)
        bias = position_bias(
            query.unflatten(2, (height, width)),
            distances(self.rel_pos_h, height),
            distances(self.rel_pos_w, width),
        )
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(out.transpose(1, 2).reshape(batch, height, width, channels))


def position_bias(query: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """The bias of relative positions for the logits.

    Args:
        query: (B, h, H, W, C / h).
        vertical: (H, H, C / h) by row of query and key.
        horizontal: (W, W, C / h) by column of query and key.

    Returns:
        (B, h, H W, H W).
    """
    rows = torch.einsum("bnhwc,hkc->bnhwk", query, vertical.to(query.dtype))
    columns = torch.einsum("bnhwc,wkc->bnhwk", query, horizontal.to(query.dtype))
    return (rows[..., :, None] + columns[..., None, :]).flatten(4).flatten(2, 3)


def distances(table: Tensor, side: int) -> Tensor:
    """(side, side, C): the table's entry for each pair of positions, query first.

    Args:
        table: (D, C), from distance -(D - 1) / 2 to (D - 1) / 2.
        side: positions; the table is interpolated linearly to 2 * side - 1 where it differs.
    """
    length = 2 * side - 1
    if len(table) != length:
        table = F.interpolate(table.float().T[None], size=length, mode="linear")[0].T
    positions = torch.arange(side, device=table.device)
    return table[positions[:, None] - positions[None, :] + side - 1]


def into_windows(x: Tensor, side: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut into windows, padded with zeros at the right and at the bottom.

    Args:
        x: (B, H, W, C).
        side: S.

    Returns:
        (B * windows, S, S, C) and the padded height and width.
    """
    batch, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
    padded = x.shape[1], x.shape[2]
    x = x.view(batch, padded[0] // side, side, padded[1] // side, side, channels)
    return x.transpose(2, 3).reshape(-1, side, side, channels), padded


def from_windows(windows: Tensor, padded: tuple[int, int], height: int, width: int) -> Tensor:
    """The reverse of :func:`into_windows`: (B, height, width, C)."""
    side, channels = windows.shape[1], windows.shape[3]
    x = windows.view(-1, padded[0] // side, padded[1] // side, side, side, channels)
    x = x.transpose(2, 3).reshape(-1, *padded, channels)
    return x[:, :height, :width]
