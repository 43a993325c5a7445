# SPDX-License-Identifier: Apache-2.0
"""DINOv3 vision transformers S, B and L, built by timm (extra `backbones`).

Siméoni et al. 2025 (arXiv 2508.10104). Positions are rotary: nothing depends on the crop, and an
image may have any size. Modules and parameter names are timm's, so that its files load as they are:
`model.safetensors` of `timm/vit_large_patch16_dinov3.lvd1689m` and its siblings on Hugging Face.

The weights are Meta's, under the DINOv3 licence. Those learnt from satellite images (SAT-493M)
expect another normalisation than those learnt from the web (LVD-1689M).
"""

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from crossearth.errors import ConfigError, MissingDependencyError
from crossearth.registry import MODELS

from .adapted import AdaptedViT

__all__ = ['ARCHITECTURES', 'DINOv3']

# arch -> timm's model; its projections of q, k and v lack the biases, all of which are zero in the
# published weights
ARCHITECTURES = {
    's': 'vit_small_patch16_dinov3',
    'b': 'vit_base_patch16_dinov3',
    'l': 'vit_large_patch16_dinov3',
}


@MODELS.register_module()
class DINOv3(AdaptedViT):
    """DINOv3 with adapters; its 4 register tokens are no patches and never adapted.

    Args:
        arch: 's', 'b', 'l', or a dict with `embed_dim`, `depth` and `num_heads`.
        out_indices: The four blocks whose features form the pyramid.
        adapter: Config of Rein or LoRARein without sizes; None for none.
        gse: Config of the geospatial extractor without sizes; None for none.
        injector: Config of the injector without sizes, plus `where`, as for `DINOv2`.
        geospatial_at_test: Whether GSE and Injector act at test too.
        weights: Name or path of the pre-trained weights; 'random' to train without any on purpose.
        frozen: Whether the pre-trained part is frozen.
        drop_path: Stochastic depth of the last block, growing linearly from 0; acts only when not
            frozen.
        checkpointing: Recompute blocks and adapters in the backward pass: less memory, more time.

    Raises:
        ConfigError: An argument is unknown or contradicts another.
        MissingDependencyError: timm is missing, too old, or cannot be imported.
    """

    patch_size = 16

    def __init__(
        self,
        arch: str | dict[str, Any] = 'l',
        out_indices: Sequence[int] = (7, 11, 15, 23),
        adapter: dict[str, Any] | None = None,
        gse: dict[str, Any] | None = None,
        injector: dict[str, Any] | None = None,
        geospatial_at_test: bool = True,
        weights: str | None = None,
        frozen: bool = True,
        drop_path: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        vit = _build(arch, drop_path)
        self.embed_dim, self.depth = vit.embed_dim, len(vit.blocks)
        self.num_prefix_tokens = vit.num_prefix_tokens
        # its parts rather than itself, which would put a prefix before every name of its files
        self.cls_token, self.reg_token = vit.cls_token, vit.reg_token
        self.patch_embed, self.rope = vit.patch_embed, vit.rope
        self.blocks, self.norm = vit.blocks, vit.norm
        self.norm.requires_grad_(False)  # the pyramid takes features before it
        self._add_adapters(
            adapter, gse, injector, out_indices, frozen=frozen, weights=weights,
            checkpointing=checkpointing, geospatial_at_test=geospatial_at_test)

    def tokenize(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Make tokens (B, 1 + R + N, C), and the rotary embedding (N, 2 * C / heads) of a grid."""
        patches = self.patch_embed(image)  # (B, h, w, C)
        B, h, w, _ = patches.shape
        prefix = torch.cat([self.cls_token, self.reg_token], dim=1).expand(B, -1, -1)
        return torch.cat([prefix, patches.flatten(1, 2)], dim=1), self.rope.get_embed(shape=(h, w))

    def run_block(self, index: int, tokens: Tensor, context: Tensor) -> Tensor:
        """Run one block on tokens (B, 1 + R + N, C) with the rotary embedding of their grid."""
        out: Tensor = self.blocks[index](tokens, rope=context)
        return out


def _build(arch: str | dict[str, Any], drop_path: float) -> Any:
    """Build timm's model with random values; it downloads nothing unless `pretrained` is set."""
    sizes = arch if isinstance(arch, dict) else {}
    size = 's' if isinstance(arch, dict) else arch
    if size not in ARCHITECTURES:
        raise ConfigError(
            f'backbone.arch={arch!r} is unknown. Choose one of {sorted(ARCHITECTURES)}, or give a '
            'dict with embed_dim, depth and num_heads.')
    name = ARCHITECTURES[size]
    return _import_timm(name).create_model(
        name, pretrained=False, num_classes=0, drop_path_rate=drop_path, **sizes)


def _import_timm(model: str) -> Any:
    try:
        timm = importlib.import_module('timm')
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision of another torch
        raise MissingDependencyError(
            'the backbone DINOv3 is built by the package timm, which cannot be imported '
            f"({error}). Run: pip install 'crossearth[backbones]'. It needs torchvision, in the "
            f'release that belongs to torch {torch.__version__}.') from error
    if not timm.is_model(model):
        raise MissingDependencyError(
            f'timm {timm.__version__} does not know DINOv3 yet. '
            "Run: pip install --upgrade 'timm>=1.0.23'.")
    return timm
