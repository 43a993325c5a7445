# SPDX-License-Identifier: Apache-2.0
"""DINOv2 vision transformers S, B, L and g, with and without registers.

Oquab et al. 2023 (arXiv 2304.07193); registers: Darcet et al. 2023 (arXiv 2309.16588). Parameter
names are those of the official files, which load as they are: a 14 px patch kernel and the 37 x 37
position embedding are converted while loading to the patch size and crop of the model.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from crossearth.registry import MODELS

from ..layers.attention import Attention
from ..layers.drop_path import DropPath
from ..layers.layer_scale import LayerScale
from ..layers.mlp import Mlp, SwiGLU
from ..layers.patch_embed import PatchEmbed, resize_patch_kernel
from ..layers.pos_embed import resize_pos_embed
from .adapted import AdaptedViT, sizes_of

__all__ = ['ARCHITECTURES', 'DINOv2']

# arch -> constructor sizes of the official models
ARCHITECTURES: dict[str, dict[str, Any]] = {
    's': {'embed_dim': 384, 'depth': 12, 'num_heads': 6},
    'b': {'embed_dim': 768, 'depth': 12, 'num_heads': 12},
    'l': {'embed_dim': 1024, 'depth': 24, 'num_heads': 16},
    'g': {'embed_dim': 1536, 'depth': 40, 'num_heads': 24, 'swiglu_dim': 4096},
}


@MODELS.register_module()
class DINOv2(AdaptedViT):
    """DINOv2 with adapters.

    Args:
        arch: 's', 'b', 'l', 'g', or a dict with `embed_dim`, `depth`, `num_heads` and, for a SwiGLU
            feed-forward network, `swiglu_dim`.
        img_size: Side of the training crop in px, or (H, W); it fixes the grid of the position
            embedding.
        patch_size: Side of a patch in px.
        num_registers: Register tokens: 0, or 4 for the `reg4` files.
        out_indices: The four blocks whose features form the pyramid.
        adapter: Config of Rein or LoRARein without sizes; None for none.
        gse: Config of the geospatial extractor without sizes; None for none.
        injector: Config of the injector without sizes, plus `where`: 'blocks' (after every block),
            'out_indices' (after the four output blocks) or 'outputs' (on the four features only).
        geospatial_at_test: Whether GSE and Injector act at test too.
        weights: Name or path of the pre-trained weights; 'random' to train without any on purpose.
        frozen: Whether the pre-trained part is frozen.
        drop_path: Stochastic depth of the last block, growing linearly from 0; acts only when not
            frozen.
        checkpointing: Recompute blocks and adapters in the backward pass: less memory, more time.
        pos_interp: At a grid other than the stored one, resize to the `size` itself, or as
            DINOv2's own code does with its offset of 0.1 (`dinov2_offset`; not used with
            registers).
    """

    def __init__(
        self,
        arch: str | dict[str, Any] = 'l',
        img_size: int | tuple[int, int] = 512,
        patch_size: int = 16,
        num_registers: int = 0,
        out_indices: Sequence[int] = (7, 11, 15, 23),
        adapter: dict[str, Any] | None = None,
        gse: dict[str, Any] | None = None,
        injector: dict[str, Any] | None = None,
        geospatial_at_test: bool = True,
        weights: str | None = None,
        frozen: bool = True,
        drop_path: float = 0.0,
        checkpointing: bool = False,
        pos_interp: Literal['size', 'dinov2_offset'] = 'size',
    ) -> None:
        super().__init__()
        sizes = sizes_of(arch, ARCHITECTURES)
        self.embed_dim, self.depth = sizes['embed_dim'], sizes['depth']
        self.patch_size, self.num_registers = patch_size, num_registers
        self.num_prefix_tokens = 1 + num_registers
        self.pos_offset = 0.1 if pos_interp == 'dinov2_offset' and not num_registers else 0.0
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.grid = (-(-height // patch_size), -(-width // patch_size))

        self.patch_embed = PatchEmbed(patch_size, self.embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dim))
        self.pos_embed = nn.Parameter(
            torch.zeros(1, 1 + self.grid[0] * self.grid[1], self.embed_dim))
        if num_registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, num_registers, self.embed_dim))
        last = max(self.depth - 1, 1)
        self.blocks = nn.ModuleList(
            Block(self.embed_dim, sizes['num_heads'], sizes.get('swiglu_dim'), drop_path * i / last)
            for i in range(self.depth))
        self.norm = nn.LayerNorm(self.embed_dim, eps=1e-6)
        self.norm.requires_grad_(False)  # the pyramid takes features before it
        for tensor in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(tensor, std=0.02)
        self._add_adapters(
            adapter, gse, injector, out_indices, frozen=frozen, weights=weights,
            checkpointing=checkpointing, geospatial_at_test=geospatial_at_test)

    def tokenize(self, image: Tensor) -> tuple[Tensor, None]:
        """Make tokens (B, 1 + R + N, C): class token, registers, patches row by row."""
        B, _, H, W = image.shape
        grid = (H // self.patch_size, W // self.patch_size)
        pos = resize_pos_embed(
            self.pos_embed, grid, self.grid,
            offset=self.pos_offset, antialias=self.num_registers > 0)
        patches = self.patch_embed(image) + pos[:, 1:]
        prefix = self.cls_token + pos[:, :1]
        if self.num_registers:  # registers have no position
            prefix = torch.cat([prefix, self.register_tokens], dim=1)
        return torch.cat([prefix.expand(B, -1, -1), patches], dim=1), None

    def run_block(self, index: int, tokens: Tensor, context: None) -> Tensor:
        """Run one block on tokens (B, 1 + R + N, C)."""
        out: Tensor = self.blocks[index](tokens)
        return out

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        state_dict.pop(prefix + 'mask_token', None)  # of DINOv2's pre-training; unused
        kernel, pos = prefix + 'patch_embed.proj.weight', prefix + 'pos_embed'
        if kernel in state_dict:
            state_dict[kernel] = resize_patch_kernel(state_dict[kernel], self.patch_size)
        if pos in state_dict and state_dict[pos].shape != self.pos_embed.shape:
            state_dict[pos] = resize_pos_embed(
                state_dict[pos], self.grid, antialias=self.num_registers > 0)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Block(nn.Module):
    """Pre-norm transformer block: x += ls1(attn(norm1 x)), x += ls2(mlp(norm2 x)).

    Args:
        dim: Channels of a token.
        num_heads: Heads of the attention.
        swiglu_dim: Hidden channels of a SwiGLU network; None for a GELU network of 4 * dim.
        drop_path: Probability of dropping each residual branch.
    """

    def __init__(
        self, dim: int, num_heads: int, swiglu_dim: int | None = None, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = SwiGLU(dim, swiglu_dim) if swiglu_dim else Mlp(dim, 4 * dim)
        self.ls2 = LayerScale(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) to tokens (B, N, C)."""
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))
