# SPDX-License-Identifier: Apache-2.0
"""The vision transformer of MTP, with rotated varied-size windows (RVSA).

Wang et al., MTP, arXiv 2403.13430; windows: Wang et al., arXiv 2208.03987; pyramid: as in BEiT's
and ViTDet's first versions. Parameter names are those of the published files. It is fine-tuned as a
whole, so it is not frozen unless asked for; adapters, GSE and Injector work on it as on DINOv2.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossearth.registry import MODELS

from ..layers.drop_path import DropPath
from ..layers.mlp import Mlp
from ..layers.patch_embed import PatchEmbed, resize_patch_kernel
from ..layers.pos_embed import resize_pos_embed
from ..layers.relative_attention import RelativeAttention
from ..layers.relative_position import resize_distances
from ..layers.rotated_window_attention import RotatedWindowAttention
from .adapted import AdaptedViT, sizes_of

__all__ = ['ARCHITECTURES', 'RVSA']

# arch -> sizes; B and L are MTP's, S is ours. Every `interval`-th block attends to the whole grid.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    's': {'embed_dim': 384, 'depth': 12, 'num_heads': 6, 'interval': 3},
    'b': {'embed_dim': 768, 'depth': 12, 'num_heads': 12, 'interval': 3},
    'l': {'embed_dim': 1024, 'depth': 24, 'num_heads': 16, 'interval': 6},
}
# what a plain vision transformer lacks
OWN = re.compile(r'blocks\.\d+\.attn\.(sampling_|rel_pos_|full_attn_|relative_position_bias).*')
# its layer scale -> the matrices that take it in
SCALED = {'ls1.gamma': 'attn.proj', 'gamma_1': 'attn.proj', 'ls2.gamma': 'mlp.fc2',
          'gamma_2': 'mlp.fc2'}


@MODELS.register_module()
class RVSA(AdaptedViT):
    """Vision transformer with rotated varied-size windows, and MTP's pyramid of deconvolutions.

    A file of a plain vision transformer or of DINOv2 fills it too: windows then start as plain
    ones, and the class token and the pyramid's weights, which it does not have, are left out.

    Args:
        arch: 's', 'b', 'l', or a dict with `embed_dim`, `depth`, `num_heads` and `interval`.
        img_size: Side of the training crop in px, or (H, W); it fixes the grid of the positions.
        out_indices: The four blocks whose features form the pyramid.
        adapter: Config of an adapter without sizes; None for none.
        gse: Config of the geospatial extractor without sizes; None for none.
        injector: Config of the injector without sizes, plus `where`, as for `DINOv2`.
        geospatial_at_test: Whether GSE and Injector act at test too.
        weights: Name or path of the pre-trained weights; 'random' to train without any on purpose.
        frozen: Whether the pre-trained part is frozen; the pyramid is trained all the same.
        drop_path: Stochastic depth of the last block, growing linearly from 0; acts only when not
            frozen.
        checkpointing: Recompute blocks and adapters in the backward pass: less memory, more time.
    """

    patch_size = 16
    num_prefix_tokens = 0
    added = (*AdaptedViT.added, 'fpn1', 'fpn2')

    def __init__(
        self,
        arch: str | dict[str, Any] = 'l',
        img_size: int | tuple[int, int] = 512,
        out_indices: Sequence[int] = (7, 11, 15, 23),
        adapter: dict[str, Any] | None = None,
        gse: dict[str, Any] | None = None,
        injector: dict[str, Any] | None = None,
        geospatial_at_test: bool = True,
        weights: str | None = None,
        frozen: bool = False,
        drop_path: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        sizes = sizes_of(arch, ARCHITECTURES)
        self.embed_dim, self.depth = sizes['embed_dim'], sizes['depth']
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.grid = (-(-height // self.patch_size), -(-width // self.patch_size))
        self.patch_embed = PatchEmbed(self.patch_size, self.embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, math.prod(self.grid), self.embed_dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        last = max(self.depth - 1, 1)
        self.blocks = nn.ModuleList(
            Block(self.embed_dim, self._attention(i, sizes), drop_path * i / last)
            for i in range(self.depth))
        self._add_adapters(
            adapter, gse, injector, out_indices, frozen=frozen, weights=weights,
            checkpointing=checkpointing, geospatial_at_test=geospatial_at_test)
        # after the freezing, which spares what is added
        self.fpn1 = nn.Sequential(
            self._enlarge(), ChannelNorm(self.embed_dim), nn.GELU(), self._enlarge())
        self.fpn2 = nn.Sequential(self._enlarge())

    def _attention(self, index: int, sizes: Mapping[str, int]) -> nn.Module:
        if (index + 1) % sizes['interval'] == 0:
            return RelativeAttention(self.embed_dim, sizes['num_heads'], self.grid)
        return RotatedWindowAttention(self.embed_dim, sizes['num_heads'])

    def _enlarge(self) -> nn.Module:
        return nn.ConvTranspose2d(self.embed_dim, self.embed_dim, 2, stride=2)

    def tokenize(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Make tokens (B, N, C), row by row, and the grid that they form."""
        grid = (image.shape[-2] // self.patch_size, image.shape[-1] // self.patch_size)
        pos = resize_pos_embed(self.pos_embed, grid, self.grid, num_prefix=0)
        return self.patch_embed(image) + pos, grid

    def run_block(self, index: int, tokens: Tensor, context: tuple[int, int]) -> Tensor:
        """Run one block on tokens (B, N, C) of a grid."""
        out: Tensor = self.blocks[index](tokens, context)
        return out

    def pyramid(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Bring four maps (B, C, h, w) of stride 16 to the strides 4, 8, 16 and 32."""
        first, second, third, fourth = maps
        halved = [min(2, side) for side in fourth.shape[-2:]]  # a side of 1 is not halved
        return [self.fpn1(first), self.fpn2(second), third, F.max_pool2d(fourth, halved)]

    def optional_names(self) -> list[str]:
        """Names of the pyramid's tensors, which published files hold."""
        return [name for name in self.state_dict() if name.startswith('fpn')]

    def adopt(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Make the tensors of MTP, of a plain vision transformer or of DINOv2 into this one's.

        There is no class token here, and a layer scale goes into the matrix before it.

        Args:
            state: Tensors by name.

        Returns:
            Tensors by name, and what was done.
        """
        notes = []
        state = {name: tensor for name, tensor in state.items()
                 if not name.endswith('relative_position_index')}  # we compute it
        if self._has_class_slot(state.get('pos_embed')):
            state['pos_embed'] = state['pos_embed'][:, 1:]
            notes.append('class token left out')
        if scales := [name for name in state if name.split('.', 2)[-1] in SCALED]:
            state = _take_in(state, scales)
            notes.append('layer scale taken into the projections')
        if not any(OWN.fullmatch(name) for name in state):
            own = self.state_dict()
            state |= {name: own[name] for name in own if OWN.fullmatch(name)}
            notes.append('sampling of windows and relative positions start at zero')
        if not any(name.startswith('fpn') for name in state):
            notes.append('fpn1 and fpn2 start at random')
        return state, tuple(notes)

    def _has_class_slot(self, pos: Tensor | None) -> bool:
        """Whether one position more than a square is given, and not as many as here."""
        if pos is None or pos.ndim != 3 or pos.shape[1] == self.pos_embed.shape[1]:
            return False
        return math.isqrt(pos.shape[1] - 1) ** 2 == pos.shape[1] - 1

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        kernel, pos = prefix + 'patch_embed.proj.weight', prefix + 'pos_embed'
        if kernel in state_dict:
            state_dict[kernel] = resize_patch_kernel(state_dict[kernel], self.patch_size)
        if pos in state_dict and state_dict[pos].shape != self.pos_embed.shape:
            state_dict[pos] = resize_pos_embed(state_dict[pos], self.grid, num_prefix=0)
        for axis, side in zip('hw', self.grid, strict=True):
            for name in state_dict:
                if name.startswith(prefix) and name.endswith(f'.full_attn_rel_pos_{axis}'):
                    state_dict[name] = resize_distances(state_dict[name], side)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Block(nn.Module):
    """Pre-norm transformer block: x += attn(norm1 x), x += mlp(norm2 x).

    Args:
        dim: Channels of a token.
        attention: Its attention.
        drop_path: Probability of dropping each residual branch.
    """

    def __init__(self, dim: int, attention: nn.Module, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (B, N, C) of a grid to tokens (B, N, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x), grid))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel.

    Args:
        channels: Channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a map (B, C, h, w)."""
        out: Tensor = self.ln(x.movedim(1, -1)).movedim(-1, 1)
        return out


def _take_in(state: Mapping[str, Tensor], scales: Sequence[str]) -> dict[str, Tensor]:
    """Multiply the rows of the matrices by the layer scales that follow them."""
    folded = {name: tensor for name, tensor in state.items() if name not in scales}
    for name in scales:
        block, _, kind = name.partition('.')[2].partition('.')
        for part in ('weight', 'bias'):
            matrix = f'blocks.{block}.{SCALED[kind]}.{part}'
            if matrix in folded:
                folded[matrix] = torch.einsum('o...,o->o...', folded[matrix], state[name])
    return folded
