# SPDX-License-Identifier: Apache-2.0
"""The multi-task segmentor of CrossEarth: segmentation and masked image modelling in one batch.

arXiv 2410.22629, sections 3.2 to 3.4. Equation 6 is read as X * M + v * (1 - M): taken literally it
would be zero wherever M or the learnable prompt v is.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossearth.errors import ConfigError
from crossearth.registry import MODELS
from crossearth.style.draws import IterationDraws
from crossearth.style.injection import StyleInjection
from crossearth.style.masks import BlockMaskGenerator

from ..backbones.adapted import Features
from ..heads.mim import Corrupted
from ..layers.pyramid import select_images
from .encoder_decoder import PEFTEncoderDecoder, prefixed

__all__ = ['CrossEarthSegmentor']


@MODELS.register_module()
class CrossEarthSegmentor(PEFTEncoderDecoder):
    """Segmentor that also learns to restore masked and restyled images.

    In each iteration the images X, or with a small probability their restyled version X_S, are
    segmented with GSE and Injector; the masked images X_M, and X_S again if there is one, are
    restored without them. All of them pass the frozen blocks as one batch.

    Both tasks can be switched off. At test neither is used: checkpoints of the whole model load
    into one that has no `mim_head` and no `style`, and into a `PEFTEncoderDecoder`.

    Args:
        mim_head: Config of the `MIMHead` without `in_channels`; None for no masked image modelling.
        mask: `mask_ratio` and `block` (px) of the masks of X_M; 0.7 and 64 if not given.
        prompt: What masked pixels hold: a `learnable` image, a learnable value `per_channel`, or
            `none`, that is, zeros: the mean of the normalisation.
        style: Config of the style injection that makes X_S; None for none.
        **kwargs: As for `PEFTEncoderDecoder`. `data_preprocessor.size` is the prompt's.

    Raises:
        ConfigError: An argument is unknown, or the prompt has no size.
    """

    def __init__(
        self,
        *,
        mim_head: dict[str, Any] | None = None,
        mask: dict[str, Any] | None = None,
        prompt: Literal['learnable', 'per_channel', 'none'] = 'learnable',
        style: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mim_head: Any = None
        self.prompt: nn.Parameter | None = None
        if mim_head is not None:
            self.mim_head = MODELS.build(
                {'type': 'MIMHead', 'in_channels': self.backbone.embed_dim, **mim_head})
            self.mask_generator = BlockMaskGenerator(
                **{'mask_ratio': 0.7, 'block': 64, **(mask or {})})
            self.mask_draws = IterationDraws()
            # another seed than the style's: the masks of X_M and X_S are independent
            self.mask_draws.state[0] ^= 1
            self.prompt = self._build_prompt(prompt)
        preprocessor = kwargs.get('data_preprocessor') or {}
        normalisation = {key: preprocessor[key] for key in ('mean', 'std') if key in preprocessor}
        self.style: Any = None if style is None else MODELS.build(
            {'type': StyleInjection, **normalisation, **style})

    def _build_prompt(self, kind: str) -> nn.Parameter | None:
        if kind not in ('learnable', 'per_channel', 'none'):
            raise ConfigError(f"model.prompt={kind!r} is unknown. Choose 'learnable', "
                              "'per_channel' or 'none'.")
        if kind == 'none':
            return None
        size = (1, 1) if kind == 'per_channel' else getattr(self.data_preprocessor, 'size', None)
        if size is None:
            raise ConfigError(
                "model.prompt='learnable' is an image of the training crop's size, which is not "
                "given. Set crop_size in the config, or prompt='per_channel'.")
        return nn.Parameter(torch.zeros(1, 3, *size))

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            inputs: Normalised images (B, 3, H, W).
            data_samples: Their labels, `gt_sem_seg.data` (1, H, W).

        Returns:
            `decode.*` and `aux*` of the segmentation, `mim.*` of masked image modelling, and
            `styled`, 1 in iterations with X_S, otherwise 0.
        """
        restyled = None
        if self.style is not None and self.style.draw():
            restyled = Corrupted(*self.style(inputs))
        segmented = inputs if restyled is None else restyled.image
        corrupted = []
        if self.mim_head is not None:
            self.mask_draws.advance()
            corrupted = [self._mask(inputs), *([] if restyled is None else [restyled])]
        batch = torch.cat([segmented, *(version.image for version in corrupted)])
        ours, theirs = _split(self.backbone(batch, geospatial=len(inputs)), len(inputs))
        losses = self.segmentation_losses(ours, data_samples)
        if self.mim_head is not None:
            losses |= prefixed('mim', self.mim_head.loss(theirs, inputs, corrupted))
        if self.style is not None:
            losses['styled'] = inputs.new_tensor(float(restyled is not None))
        return losses

    @torch.no_grad()
    def pictures(self, inputs: Tensor) -> dict[str, Tensor]:
        """Show what the tasks make of images, without a trace in later iterations.

        Args:
            inputs: Normalised images (B, 3, H, W).

        Returns:
            Normalised images by name: `X_S`, `X_M` and its restoration, as far as they exist.
        """
        shown = {}
        if self.style is not None:
            shown['X_S'] = self.style(inputs)[0]
        if self.mim_head is not None:
            shown['X_M'] = self._mask(inputs).image
            _, maps = _split(self.backbone(shown['X_M'], geospatial=False), 0)
            shown['X_M restored'] = self.mim_head(maps, inputs.shape[-2:])
        return shown

    def _mask(self, inputs: Tensor) -> Corrupted:
        """Mask blocks of the images: X_M."""
        size = (inputs.shape[-2], inputs.shape[-1])
        keep = self.mask_generator(
            len(inputs), size, inputs.device, self.mask_draws.generator).to(inputs.dtype)
        image = inputs * keep
        if self.prompt is not None:
            prompt: Tensor = self.prompt
            if prompt.shape[-2:] not in (size, (1, 1)):
                prompt = F.interpolate(prompt, size, mode='bilinear', align_corners=False)
            image = image + prompt * (1 - keep)
        return Corrupted(image, keep)


def _split(features: Features, count: int) -> tuple[Features, Sequence[Tensor]]:
    """Part what the backbone gives: for the first `count` images, and the maps of the others."""
    maps = features[0] if isinstance(features, tuple) else features
    first, rest = (select_images(maps, part) for part in (slice(count), slice(count, None)))
    return (first, features[1]) if isinstance(features, tuple) else first, rest
