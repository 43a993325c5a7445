# SPDX-License-Identifier: Apache-2.0
"""HRDA (Hoyer et al., ECCV 2022): large context and fine detail, fused class by class.

One network sees an image twice: the whole at half the resolution, for context, and a part of half
the size at full resolution, for detail. An attention that it learns says for every class and place
which of the two to trust. Here is the form that generalises from one source domain: no images of a
target, no teacher.
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.structures import SegDataSample
from torch import Tensor

from crossearth.errors import ConfigError
from crossearth.registry import MODELS
from crossearth.style.draws import IterationDraws

from .encoder_decoder import PEFTEncoderDecoder, average_windows, prefixed, sliding_windows

__all__ = ['HRDASegmentor', 'fuse_scales']

Box = tuple[slice, slice]

REDUCTION = 2  # of the context view
STRIDE = 4  # px of a view for one cell of its logits
STEP = REDUCTION * STRIDE  # px; corners on this grid are corners of cells in both views


@MODELS.register_module()
class HRDASegmentor(PEFTEncoderDecoder):
    """Segmentor that fuses a context view and detail views of an image.

    In training the detail is one part of the crop, half as high and wide, drawn anew for each
    iteration; elsewhere the context alone counts. At test details cover the window, each
    overlapping the next by half; where they overlap, their logits are averaged.

    Args:
        attention_head: Config of a head of MMSegmentation that makes the attention from the
            features of the context view; its `num_classes` is that of `decode_head`.
        hr_loss_weight: Weight of the loss of the detail alone; that of the fused logits has the
            rest, as both add up to 1.
        **kwargs: As for `PEFTEncoderDecoder`; `decode_head` is one of MMSegmentation's kind, which
            gives logits.

    Raises:
        ConfigError: `decode_head` gives no logits, the weight is none, or there is an auxiliary
            head.
    """

    def __init__(
        self, *, attention_head: dict[str, Any], hr_loss_weight: float = 0.1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        head = self.decode_head
        if not isinstance(head, BaseDecodeHead):
            raise ConfigError(
                f'model.decode_head.type={type(head).__name__} gives no logits, and HRDASegmentor '
                "fuses those of two views. Choose a head such as 'DAFormerHead'.")
        if self.auxiliary_head is not None:
            raise ConfigError('model.auxiliary_head has no place in HRDASegmentor, whose second '
                              'loss is that of the detail. Leave it out.')
        if not 0 <= hr_loss_weight <= 1:
            raise ConfigError(f'model.hr_loss_weight={hr_loss_weight} is no weight of a part. '
                              'Choose one from 0 to 1, e.g. 0.1.')
        self.attention_head = MODELS.build({'num_classes': head.num_classes, **attention_head})
        self.hr_loss_weight = hr_loss_weight
        self.detail_draws = IterationDraws()

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            inputs: Normalised images (B, 3, H, W).
            data_samples: Their labels, `gt_sem_seg.data` (1, H, W).

        Returns:
            `decode.*` of the fused logits and `hr.*` of the logits of the detail, weighted.
        """
        height, width = inputs.shape[-2:]
        rows, columns = self._draw_detail((height, width))
        context, attention = self._view_context(_pad(inputs))
        detail = self._classify(inputs[..., rows, columns])
        fused = fuse_scales(context, attention, detail, (_cells(rows), _cells(columns)))
        whole = _enlarge(fused)[..., :height, :width]
        cut = [_cut(sample, rows, columns) for sample in data_samples]
        weight = self.hr_loss_weight
        return {
            **_weighted('decode', self.decode_head.loss_by_feat(whole, data_samples), 1 - weight),
            **_weighted('hr', self.decode_head.loss_by_feat(detail, cut), weight)}

    def encode_decode(self, inputs: Tensor, batch_data_samples: Any = None) -> Tensor:
        """Give the logits (B, C, h, w) of one window (B, 3, h, w) of any size."""
        height, width = inputs.shape[-2:]
        padded = _pad(inputs)
        context, attention = self._view_context(padded)
        size = (padded.shape[-2], padded.shape[-1])
        crop = [_detail_side(side) for side in size]
        windows = sliding_windows(size, crop, [side // 2 for side in crop])
        detail = average_windows(
            self._classify, padded, self.num_classes, windows, STRIDE, self.window_batch)
        return _enlarge(fuse_scales(context, attention, detail))[..., :height, :width]

    def _forward(self, inputs: Tensor, data_samples: Any = None) -> Tensor:
        """Run the network without post-processing."""
        return self.encode_decode(inputs)

    def _draw_detail(self, size: tuple[int, int]) -> Box:
        """Rows and columns in px of this iteration's detail."""
        self.detail_draws.advance()
        box = []
        for length in size:
            side = _detail_side(length)
            places = (length - side) // STEP + 1
            start = STEP * int(torch.randint(
                places, (), generator=self.detail_draws.generator))
            box.append(slice(start, start + side))
        return box[0], box[1]

    def _view_context(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and attention (B, C, H / 8, W / 8) of images (B, 3, H, W) at half resolution."""
        small = F.interpolate(images, scale_factor=1 / REDUCTION, mode='bilinear')
        features = self.extract_feat(small)
        logits = _to_cells(self.decode_head(features), small)
        return logits, _to_cells(self.attention_head(features), small).sigmoid()

    def _classify(self, images: Tensor) -> Tensor:
        """Logits (B, C, H / 4, W / 4) of images (B, 3, H, W)."""
        return _to_cells(self.decode_head(self.extract_feat(images)), images)


def fuse_scales(
    context: Tensor, attention: Tensor, detail: Tensor, box: Box | None = None
) -> Tensor:
    """Fuse the logits of both views: (1 - a) * context + a * detail, with a = 0 outside the detail.

    Context and attention are enlarged first, each by itself, so that the attention weighs what it
    is multiplied with and ends where the detail does.

    Args:
        context: Logits of the context view (B, C, h, w).
        attention: Trust in the detail, (B, C, h, w) or (B, 1, h, w) in [0, 1].
        detail: Logits of the detail (B, C, y, x), which has twice the resolution.
        box: Rows and columns that the detail covers of (2h, 2w); None if it covers all.

    Returns:
        Logits (B, C, 2h, 2w).
    """
    context, attention = (F.interpolate(view, scale_factor=REDUCTION, mode='bilinear')
                          for view in (context, attention))
    if box is not None:
        rows, columns = box
        height, width = context.shape[-2:]
        margins = (columns.start, width - columns.stop, rows.start, height - rows.stop)
        attention = F.pad(attention[..., rows, columns], margins)
        detail = F.pad(detail, margins)
    return (1 - attention) * context + attention * detail


def _detail_side(length: int) -> int:
    """Side of a detail in px: half of the image's, on the grid of both views."""
    return -(-length // (2 * STEP)) * STEP


def _pad(images: Tensor) -> Tensor:
    """Add rows and columns of zeros at the bottom and right, so that both views are whole cells."""
    return F.pad(images, (0, -images.shape[-1] % STEP, 0, -images.shape[-2] % STEP))


def _cells(pixels: slice) -> slice:
    return slice(pixels.start // STRIDE, pixels.stop // STRIDE)


def _to_cells(logits: Tensor, images: Tensor) -> Tensor:
    """Bring the logits of a head of any stride to a quarter of the images' size."""
    size = [side // STRIDE for side in images.shape[-2:]]
    return F.interpolate(logits, size, mode='bilinear')


def _enlarge(logits: Tensor) -> Tensor:
    return F.interpolate(logits, scale_factor=STRIDE, mode='bilinear')


def _cut(sample: Any, rows: slice, columns: slice) -> SegDataSample:
    """A sample with a part of the label."""
    label = sample.gt_sem_seg.data[..., rows, columns]
    return SegDataSample(gt_sem_seg=PixelData(data=label))


def _weighted(prefix: str, values: dict[str, Tensor], weight: float) -> dict[str, Tensor]:
    """Name what a head returns, and weigh its losses; accuracies stay as they are."""
    return prefixed(prefix, {
        name: weight * value if 'loss' in name else value for name, value in values.items()})
