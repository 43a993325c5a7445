# SPDX-License-Identifier: Apache-2.0
"""Attention of a whole grid: plain without relative positions, and its formula with them."""

import torch

from crossearth.models.layers.attention import Attention
from crossearth.models.layers.relative_attention import RelativeAttention
from crossearth.models.layers.relative_position import decomposed_bias


def test_without_relative_positions_it_is_plain_attention():
    plain = Attention(8, 2)
    ours = RelativeAttention(8, 2, (2, 3))
    ours.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, 6, 8)
    torch.testing.assert_close(ours(x, (2, 3)), plain(x))
    other = torch.randn(1, 20, 8)  # another grid: zeros stay zeros
    torch.testing.assert_close(ours(other, (5, 4)), plain(other))


def test_the_scaled_query_asks_for_relative_positions():
    ours = RelativeAttention(8, 2, (2, 3)).double()
    torch.nn.init.normal_(ours.full_attn_rel_pos_h)
    torch.nn.init.normal_(ours.full_attn_rel_pos_w)
    x = torch.randn(1, 6, 8, dtype=torch.float64)
    q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in ours.qkv(x).chunk(3, -1))
    q = q / 2  # sqrt of 4 channels a head
    bias = decomposed_bias(q, ours.full_attn_rel_pos_h, ours.full_attn_rel_pos_w, (2, 3))
    out = (q @ k.mT + bias).softmax(-1) @ v
    torch.testing.assert_close(ours(x, (2, 3)), ours.proj(out.transpose(1, 2).flatten(2)))
