# SPDX-License-Identifier: Apache-2.0
"""A plain vision transformer with adapters after its blocks, and its four-scale feature pyramid.

The order of one block is fixed by the paper: transformer block, Rein, Injector. What a backbone
must add is how an image becomes tokens and how one block runs; freezing, adapters and padding live
here.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from crossearth.errors import ConfigError
from crossearth.registry import MODELS

from ..adapters.rein import LayerTokens
from ..adapters.within import BlockAdapter
from ..layers.pyramid import Pyramid, cropped
from .pretrained import PretrainedBackbone

__all__ = ['AdaptedViT', 'Features', 'sizes_of']

Features = Sequence[Tensor] | tuple[Sequence[Tensor], Tensor]


class AdaptedViT(PretrainedBackbone, ABC):
    """Base of the vision transformers.

    Subclasses set `embed_dim`, `depth`, `patch_size` and `num_prefix_tokens`, build their modules,
    and then call `_add_adapters`, which also freezes.
    """

    added: tuple[str, ...] = ('reins', 'adapter', 'gse', 'injector')

    embed_dim: int
    depth: int
    patch_size: int
    num_prefix_tokens: int
    blocks: nn.ModuleList

    @abstractmethod
    def tokenize(self, image: Tensor) -> tuple[Tensor, Any]:
        """Make tokens of an image.

        Args:
            image: Normalised image (B, 3, H, W), H and W multiples of the patch size.

        Returns:
            Tokens (B, P + N, C), the P prefix tokens first, and whatever `run_block` needs besides.
        """

    @abstractmethod
    def run_block(self, index: int, tokens: Tensor, context: Any) -> Tensor:
        """Run one transformer block on tokens (B, P + N, C)."""

    def _add_adapters(
        self,
        adapter: dict[str, Any] | None,
        gse: dict[str, Any] | None,
        injector: dict[str, Any] | None,
        out_indices: Sequence[int],
        *,
        frozen: bool,
        weights: str | None,
        checkpointing: bool,
        geospatial_at_test: bool,
    ) -> None:
        """Build the adapters and freeze the rest; the arguments are those of `DINOv2`."""
        if (gse is None) != (injector is None):
            raise ConfigError(
                'backbone: gse and injector work together, but only one of them is set. '
                'Set both, or neither for plain Rein.')
        if bad := [i for i in out_indices if not 0 <= i < self.depth]:
            raise ConfigError(
                f'backbone.out_indices={list(out_indices)}: {bad} is not a block of this backbone. '
                f'Choose four from 0 to {self.depth - 1}.')
        self.out_indices = tuple(out_indices)
        self._begin(weights, frozen=frozen)
        self.checkpointing = checkpointing
        self.geospatial_at_test = geospatial_at_test
        dim = self.embed_dim
        self.reins: Any = None  # Rein's name in published weights
        self.adapter: BlockAdapter | None = None
        built: Any = None if adapter is None else MODELS.build(
            {**adapter, 'embed_dim': dim, 'depth': self.depth, 'patch_size': self.patch_size})
        if isinstance(built, BlockAdapter):
            self.adapter = built
            built.attach(self.blocks)
        else:
            self.reins = built
        self.gse: Any = None if gse is None else MODELS.build(
            {'type': 'GeospatialSemanticExtractor', **gse, 'embed_dim': dim})
        self.injection_sites: tuple[int, ...] = ()
        self.injects_outputs = False
        self.injector: Any = None if injector is None else self._build_injector(**injector)

    def _build_injector(
        self,
        where: Literal['blocks', 'out_indices', 'outputs'] = 'blocks',
        type: str = 'Injector',
        **options: Any,
    ) -> nn.Module:
        if where not in ('blocks', 'out_indices', 'outputs'):
            raise ConfigError(
                f"backbone.injector.where={where!r} is unknown. Choose 'blocks' (after every "
                "block), 'out_indices' (after the four output blocks) or 'outputs' (on the four "
                'features only).')
        self.injects_outputs = where == 'outputs'
        self.injection_sites = tuple(range(self.depth)) if where == 'blocks' else self.out_indices
        return MODELS.build({
            'type': type, **options,
            'embed_dim': self.embed_dim, 'num_sites': len(self.injection_sites)})

    def forward(self, image: Tensor, geospatial: bool | int = True) -> Features:
        """Extract the feature pyramid.

        Args:
            image: Normalised image (B, 3, H, W). H and W that are no multiple of the patch size
                are padded with zeros at the bottom and right, and the features cropped.
            geospatial: Whether GSE and Injector act. A number n: on the first n images only, so
                that segmentation and masked image modelling, where they are off, share one batch.

        Returns:
            Four maps (B, C, ceil(H/s), ceil(W/s)) for s = 4, 8, 16, 32, as a `Pyramid` unless the
            backbone has its own; with an adapter that makes queries the pair of them and the
            queries (Q, D).

        Raises:
            ConfigError: The pre-trained weights were never loaded.
        """
        self._require_weights()
        H, W = image.shape[-2:]
        pad = (-W % self.patch_size, -H % self.patch_size)
        if any(pad):
            image = F.pad(image, (0, pad[0], 0, pad[1]))
        grid = (image.shape[-2] // self.patch_size, image.shape[-1] // self.patch_size)
        tokens = None if self.reins is None else self.reins.tokens()
        on = image.shape[0] if geospatial is True else int(geospatial)
        features = self._run_blocks(image, tokens, on)
        maps = [f.transpose(1, 2).reshape(f.shape[0], -1, *grid) for f in features]
        pyramid = self.pyramid(maps)
        if any(pad):
            pyramid = cropped(pyramid, (H, W))
        queries = None if self.reins is None else self.reins.queries()
        return pyramid if queries is None else (pyramid, queries)

    def pyramid(self, maps: Sequence[Tensor]) -> Sequence[Tensor]:
        """Bring four maps (B, C, h, w) of the patch grid to the strides 4, 8, 16 and 32 px."""
        return Pyramid(maps)

    def _run_blocks(
        self, image: Tensor, rein_tokens: list[LayerTokens] | None, geospatial: int
    ) -> list[Tensor]:
        """Give the patch tokens (B, N, C) after each block of `out_indices`."""
        geo = None
        if self.gse is not None and geospatial and (self.training or self.geospatial_at_test):
            geo = self.gse(image[:geospatial])
        x, context = self.tokenize(image)
        outputs = []
        for index in range(self.depth):
            tokens = None if rein_tokens is None else rein_tokens[index]
            x, refined = self._run_layer(index, x, context, tokens, geo)
            if index in self.out_indices:
                outputs.append(refined)
        return outputs

    def _run_layer(self, index: int, *inputs: Any) -> tuple[Tensor, Tensor]:
        if self.checkpointing and self.training and torch.is_grad_enabled():
            out: tuple[Tensor, Tensor] = checkpoint(
                self._run_adapted, index, *inputs, use_reentrant=False)
            return out
        return self._run_adapted(index, *inputs)

    def _run_adapted(
        self, index: int, x: Tensor, context: Any, rein_tokens: LayerTokens | None,
        geo: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Give all tokens (B, P + N, C) for the next block, and the refined patch tokens."""
        x = self.run_block(index, x, context)
        prefix, patches = x[:, : self.num_prefix_tokens], x[:, self.num_prefix_tokens :]
        if rein_tokens is not None:
            patches = self.reins(patches, rein_tokens)
        refined = patches
        if geo is not None and index in self.injection_sites:
            refined = self._inject(patches, geo, self.injection_sites.index(index))
        if not self.injects_outputs:
            patches = refined
        return torch.cat([prefix, patches], dim=1), refined

    def _inject(self, patches: Tensor, geo: Tensor, site: int) -> Tensor:
        """Refine the first images' patch tokens, as many as there are geospatial tokens of."""
        refined: Tensor = self.injector(patches[: geo.shape[0]], geo, site)
        if geo.shape[0] == patches.shape[0]:
            return refined
        return torch.cat([refined, patches[geo.shape[0] :]])


def sizes_of(
    arch: str | dict[str, Any], known: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """Sizes of an architecture: those of a name, or the dict itself.

    Raises:
        ConfigError: The name is unknown.
    """
    if isinstance(arch, dict):
        return arch
    if arch not in known:
        raise ConfigError(
            f'backbone.arch={arch!r} is unknown. Choose one of {sorted(known)}, or give a '
            f'dict with {", ".join(next(iter(known.values())))}.')
    return known[arch]
