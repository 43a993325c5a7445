# SPDX-License-Identifier: Apache-2.0
"""Masked image modelling: the decoder that restores the image, and its losses.

arXiv 2410.22629, section 3.4, Eq. 8 and 9; atrous spatial pyramid pooling: Chen et al., 2018. The
equation gives each stage of the pyramid one dilated convolution; what was trained shares a whole
ASPP among the stages. Both are here, and the paper's plain decoder of Table 9.
"""

from collections.abc import Sequence
from itertools import cycle
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossearth.errors import ConfigError
from crossearth.registry import MODELS

from ..layers.pyramid import project

__all__ = ['Corrupted', 'MIMHead']

DILATIONS = (1, 6, 12, 18)  # px of the feature map
STRIDE = 4  # of the finest feature map
CHOICES = {
    'decoder': ('aspp_shared', 'aspp_per_stage', 'linear'), 'loss': ('l1', 'mse'),
    'target': ('original', 'self'), 'loss_on': ('all', 'masked')}


class Corrupted(NamedTuple):
    """Images as the backbone saw them, and where they still are the original.

    Attributes:
        image: Normalised images (B, 3, H, W), masked or restyled.
        keep: (B, 1, H, W), 1 = original pixel, 0 = masked or restyled.
    """

    image: Tensor
    keep: Tensor


@MODELS.register_module()
class MIMHead(nn.Module):
    """Restore the image from the four feature maps of its masked or restyled version.

    The maps of all stages are brought to one size and mixed to `channels`, then made an image by
    two 1x1 convolutions.

    Args:
        in_channels: Channels C of each of the four feature maps.
        channels: Channels inside the head.
        decoder: How a stage's map is read: `aspp_shared`, one ASPP for all stages; `linear`, one
            3x3 convolution for all stages; `aspp_per_stage` (Eq. 8), a 3x3 convolution for each
            stage, with a dilation of its own.
        size: Side of the restored image in px, whatever the crop; or `stride4`: mixed at stride 4,
            and the result enlarged to the crop, which takes a fraction of the memory.
        loss: `l1` or `mse`, between the restored image and its target.
        target: `original`, the image as it was, or `self`, the image that the backbone saw.
        loss_on: `all` pixels, or only the `masked` (for restyled images, the restyled) ones.
        loss_weight: Weight of all losses of this head beside those of the segmentation.

    Raises:
        ConfigError: An argument is none of its choices, or the weight is negative.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 256,
        decoder: Literal['aspp_shared', 'aspp_per_stage', 'linear'] = 'aspp_shared',
        size: int | Literal['stride4'] = 512,
        loss: Literal['l1', 'mse'] = 'l1',
        target: Literal['original', 'self'] = 'original',
        loss_on: Literal['all', 'masked'] = 'all',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        _check(size, decoder=decoder, loss=loss, target=target, loss_on=loss_on)
        if not 0 <= loss_weight < float('inf'):
            raise ConfigError(f'model.mim_head.loss_weight={loss_weight} is no weight. '
                              'Set a number of 0 or more.')
        self.loss_weight = loss_weight
        self.size, self.target, self.loss_on = size, target, loss_on
        self.distance = F.l1_loss if loss == 'l1' else F.mse_loss
        if decoder == 'aspp_shared':
            stages: list[nn.Module] = [_ASPP(in_channels, channels)]
        elif decoder == 'linear':
            stages = [_dilated(in_channels, channels, 1)]
        else:
            stages = [_dilated(in_channels, channels, d) for d in DILATIONS]
        self.stages = nn.ModuleList(stages)
        self.refine = nn.Conv2d(4 * channels, channels, 1)
        self.restore = nn.Conv2d(channels, 3, 1)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Restore images.

        Args:
            features: Four maps (B, C, h, w), strides 4, 8, 16, 32.
            size: (H, W) of the images in px.

        Returns:
            Normalised images (B, 3, `size`, `size`); with `size='stride4'` (B, 3, H, W).
        """
        # The published order, resize, concatenate, 1x1 convolution, would hold four times the
        # channels at full size. A 1x1 convolution commutes with a bilinear resize.
        weights = self.refine.weight.chunk(4, dim=1)
        biases = (self.refine.bias, None, None, None)
        # Channels last: so torch enlarges maps faster, ten times on the way back.
        parts = (
            F.conv2d(_read(stage, features, index), weight, bias).contiguous(
                memory_format=torch.channels_last)
            for index, stage, weight, bias in zip(
                range(4), cycle(self.stages), weights, biases))
        finest = next(parts)
        mixed_size = finest.shape[-2:] if self.size == 'stride4' else (self.size, self.size)
        mixed = _resize(finest, mixed_size)
        for part in parts:
            mixed += _resize(part, mixed_size)
        image = _pointwise(self.restore, mixed.relu_())
        return _resize(image, size) if self.size == 'stride4' else image

    def loss(
        self, features: Sequence[Tensor], original: Tensor, corrupted: Sequence[Corrupted]
    ) -> dict[str, Tensor]:
        """Compute the losses of one batch in its corrupted versions.

        Args:
            features: Four maps (k * B, C, h, w) of the k corrupted versions, one after the other.
            original: Normalised images (B, 3, H, W).
            corrupted: The masked images and, in a styled iteration, the restyled ones.

        Returns:
            `loss_m` of the masked images; in a styled iteration also `loss_s` of the restyled ones
            and `loss_delta`, the mean absolute difference of the two restorations. All of them
            weighted.
        """
        restored = self(features, original.shape[-2:]).float().split(len(original))
        losses = {
            name: self._distance(image, original, version)
            for name, image, version in zip(
                ('loss_m', 'loss_s'), restored, corrupted, strict=False)}
        if len(restored) == 2:
            losses['loss_delta'] = F.l1_loss(restored[1], restored[0])
        return {name: self.loss_weight * value for name, value in losses.items()}

    def _distance(self, restored: Tensor, original: Tensor, version: Corrupted) -> Tensor:
        """Mean distance between restored images and their target."""
        target = original if self.target == 'original' else version.image.detach()
        target = _resize(target, restored.shape[-2:]).float()
        if self.loss_on == 'all':
            return self.distance(restored, target)
        masked = 1 - F.interpolate(version.keep.float(), restored.shape[-2:])
        masked = masked.expand_as(restored)
        distance = self.distance(restored, target, reduction='none')
        return (distance * masked).sum() / masked.sum().clamp(min=1)


class _ASPP(nn.Module):
    """A 1x1 convolution, four dilated 3x3 ones side by side on its result, and a 1x1 to mix."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, channels, 1)
        self.branches = nn.ModuleList(_dilated(channels, channels, d) for d in DILATIONS)
        self.mix = nn.Conv2d(len(DILATIONS) * channels, channels, 1)

    def forward(self, reduced: Tensor) -> Tensor:
        """Mix what `reduce` made of a map."""
        return _pointwise(
            self.mix, torch.cat([branch(reduced) for branch in self.branches], dim=1)).relu()


def _read(stage: nn.Module, features: Sequence[Tensor], index: int) -> Tensor:
    """Read one map of a pyramid."""
    first = project(features, index, stage.reduce) if isinstance(stage, _ASPP) else features[index]
    out: Tensor = stage(first)
    return out


def _pointwise(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1x1 convolution whose weights get contiguous gradients, which DDP warns without."""
    return F.conv2d(x, convolution.weight.flatten(1)[..., None, None], convolution.bias)


def _dilated(in_channels: int, channels: int, dilation: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size."""
    return nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation)


def _resize(image: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B, C, h, w) bilinearly; the same size is left as it is."""
    if image.shape[-2:] == tuple(size):
        return image
    return F.interpolate(image, tuple(size), mode='bilinear', align_corners=False)


def _check(size: int | str, **arguments: str) -> None:
    for name, value in arguments.items():
        if value not in CHOICES[name]:
            raise ConfigError(f'mim_head.{name}={value!r} is unknown. Choose one of '
                              f"{', '.join(map(repr, CHOICES[name]))}.")
    if size != 'stride4' and not (isinstance(size, int) and size > 0):
        raise ConfigError(f"mim_head.size={size!r} is unknown. Give the side of the restored image "
                          "in px, e.g. 512, or 'stride4'.")
