# SPDX-License-Identifier: Apache-2.0
"""Mix Transformers B0 to B5, the backbones of SegFormer, of MMSegmentation.

Xie et al. 2021 (arXiv 2105.15203): four stages of overlapping patches at strides 4, 8, 16 and 32,
attention with keys and values on a coarser grid, no position embedding.
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmseg.models.backbones import MixVisionTransformer
from torch import Tensor, nn

from crossearth.errors import ConfigError
from crossearth.registry import MODELS

from .pretrained import PretrainedBackbone

__all__ = ['MiT']

HEADS = (1, 2, 5, 8)
SMALLEST = 32  # px: attention of the first stage reduces its map by 8; smaller images are padded
# arch -> channels of one head, and blocks of the four stages
ARCHITECTURES = {
    'b0': (32, (2, 2, 2, 2)),
    'b1': (64, (2, 2, 2, 2)),
    'b2': (64, (3, 4, 6, 3)),
    'b3': (64, (3, 4, 18, 3)),
    'b4': (64, (3, 8, 27, 3)),
    'b5': (64, (3, 6, 40, 3)),
}


@MODELS.register_module()
class MiT(PretrainedBackbone, MixVisionTransformer):
    """Mix Transformer.

    Args:
        arch: 'b0' to 'b5'.
        drop_path: Stochastic depth of the last block, growing linearly from 0.
        weights: Name or path of the pre-trained weights; 'random' to train without any on purpose.
        frozen: Whether all of it is frozen.

    Raises:
        ConfigError: There is no such architecture.
    """

    layers: Any
    embed_dims: int

    def __init__(
        self,
        arch: str = 'b5',
        drop_path: float = 0.1,
        weights: str | None = None,
        frozen: bool = False,
    ) -> None:
        if arch not in ARCHITECTURES:
            raise ConfigError(
                f'backbone.arch={arch!r} is unknown. Choose one of {sorted(ARCHITECTURES)}.')
        channels, blocks = ARCHITECTURES[arch]
        with torch.device('cpu'):  # also where models are built on 'meta': it reads a tensor
            super().__init__(
                embed_dims=channels, num_layers=blocks, num_heads=HEADS, drop_path_rate=drop_path)
        for module in self.modules():
            if isinstance(module, nn.MultiheadAttention):
                module.register_forward_pre_hook(_without_weights, with_kwargs=True)
        self.embed_dim = channels * HEADS[-1]
        self._begin(weights, frozen=frozen)

    def first_map(self) -> tuple[nn.Module, int]:
        """The layer that makes the first map, where styles may be changed, and its channels."""
        return self.layers[0][0].projection, self.embed_dims

    def forward(self, image: Tensor) -> list[Tensor]:
        """Extract the maps of the four stages.

        Args:
            image: Normalised image (B, 3, H, W).

        Returns:
            Four maps (B, C_i, ceil(H/s), ceil(W/s)) for s = 4, 8, 16, 32; C_i is (1, 2, 5, 8) times
            the channels of a head.

        Raises:
            ConfigError: The pre-trained weights were never loaded.
        """
        self._require_weights()
        height, width = image.shape[-2:]
        missing = (max(SMALLEST - width, 0), max(SMALLEST - height, 0))
        if any(missing):
            image = F.pad(image, (0, missing[0], 0, missing[1]))
        maps: list[Tensor] = super().forward(image)
        return [m[..., : -(-height // stride), : -(-width // stride)]
                for m, stride in zip(maps, (4, 8, 16, 32), strict=True)]


def _without_weights(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Keep attention from giving its weights, which nobody reads, so that it need not hold them."""
    return args, {**kwargs, 'need_weights': False}
