# SPDX-License-Identifier: Apache-2.0
"""Mask2Former decode heads (Cheng et al., 2022), with learned queries or with Rein's queries.

The queries of Rein (Wei et al., 2024) are made from its tokens, so that what refines the features
also says what to look for. Parameter names are those of published checkpoints (mmdet's).
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossearth.errors import ConfigError
from crossearth.models.layers.pyramid import Pyramid
from crossearth.registry import MODELS

from .decoder import DecoderLevel, MaskedTransformerDecoder, Predictions
from .loss import Mask2FormerLoss
from .matcher import LossWeights
from .pixel_decoder import NUM_LEVELS, MSDeformAttnPixelDecoder
from .targets import make_targets

__all__ = ['Mask2FormerHead', 'ReinMask2FormerHead']


class _BaseHead(nn.Module):
    """All of Mask2Former but the origin of the queries (see `Mask2FormerHead`)."""

    align_corners = False

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        feat_channels: int = 256,
        pixel_decoder: dict[str, int] | None = None,
        transformer_decoder: dict[str, int] | None = None,
        loss_weights: dict[str, float] | None = None,
        num_points: int = 12544,
        oversample_ratio: float = 3.0,
        importance_sample_ratio: float = 0.75,
        ignore_index: int = 255,
        ignore_mask: Literal['negative', 'exclude'] = 'negative',
    ) -> None:
        super().__init__()
        _check(in_channels, oversample_ratio, importance_sample_ratio, ignore_mask)
        self.num_classes = self.out_channels = num_classes
        self.feat_channels = feat_channels
        self.ignore_index = ignore_index
        self.exclude_ignored = ignore_mask == 'exclude'
        try:
            self.pixel_decoder = MSDeformAttnPixelDecoder(
                in_channels, feat_channels, **pixel_decoder or {})
            self.transformer_decoder = MaskedTransformerDecoder(
                feat_channels, **transformer_decoder or {})
        except ValueError as error:
            raise ConfigError(
                f'{type(self).__name__} cannot be built with feat_channels={feat_channels}: '
                f'{error}. Choose feat_channels as a multiple of the heads and groups.') from error
        self.level_embed = nn.Embedding(NUM_LEVELS, feat_channels)
        self.cls_embed = nn.Linear(feat_channels, num_classes + 1)
        self.mask_embed = nn.Sequential(
            nn.Linear(feat_channels, feat_channels), nn.ReLU(),
            nn.Linear(feat_channels, feat_channels), nn.ReLU(),
            nn.Linear(feat_channels, feat_channels))
        self.criterion = Mask2FormerLoss(
            num_classes, LossWeights(**loss_weights or {}), num_points, oversample_ratio,
            importance_sample_ratio, self.exclude_ignored)

    def _queries(self, inputs: Any) -> tuple[Sequence[Tensor], Tensor, Tensor]:
        """Feature maps, content (Q, C) and position (Q, C) of the queries."""
        raise NotImplementedError

    def forward(self, inputs: Any) -> Predictions:
        """Predict classes and masks of all queries after every decoder layer.

        Args:
            inputs: What the backbone returns.

        Returns:
            The predictions; masks at stride 4.
        """
        states, mask_features = self._decode(inputs)
        return Predictions(self.cls_embed(states), self.mask_embed(states), mask_features)

    def _decode(self, inputs: Any) -> tuple[Tensor, Tensor]:
        """Queries (1 + layers, N, Q, C) before the first and after each layer; mask features."""
        features, content, position = self._queries(inputs)
        mask_features, memories = self.pixel_decoder(features)
        levels = [
            DecoderLevel.build(memory, embed, mask_features)
            for memory, embed in zip(memories, self.level_embed.weight, strict=True)]
        states = self.transformer_decoder(
            content.expand(mask_features.shape[0], -1, -1), position, levels, self.mask_embed)
        return states, mask_features

    def loss(
        self, inputs: Any, batch_data_samples: Sequence[Any], train_cfg: Any = None
    ) -> dict[str, Tensor]:
        """Compute the training losses.

        Args:
            inputs: What the backbone returns.
            batch_data_samples: Samples with `gt_sem_seg.data` (1, H, W) class ids.
            train_cfg: Unused; part of MMSegmentation's interface.

        Returns:
            `loss_cls`, `loss_mask`, `loss_dice`, and the same of earlier layers as `d0.loss_cls`...

        Raises:
            DataError: A label map holds an id that is no class.
        """
        targets = make_targets(
            [sample.gt_sem_seg.data[0] for sample in batch_data_samples],
            self.num_classes, self.ignore_index, self.exclude_ignored,
            [sample.metainfo.get('img_path', 'an unnamed image') for sample in batch_data_samples])
        losses: dict[str, Tensor] = self.criterion(self(inputs), targets)
        return losses

    def predict(
        self, inputs: Any, batch_img_metas: Sequence[dict[str, Any]], test_cfg: Any = None
    ) -> Tensor:
        """Score every pixel: class probabilities of the queries, weighted by their masks.

        Args:
            inputs: What the backbone returns.
            batch_img_metas: The first one's `img_shape` is the size of the window in px.
            test_cfg: Unused; part of MMSegmentation's interface.

        Returns:
            (N, num_classes, h, w) scores >= 0.
        """
        states, mask_features = self._decode(inputs)
        last = states[-1:]
        predictions = Predictions(self.cls_embed(last), self.mask_embed(last), mask_features)
        h, w = batch_img_metas[0]['img_shape'][:2]
        with torch.autocast(mask_features.device.type, enabled=False):
            predictions = predictions.widened()
            masks = F.interpolate(predictions.mask_logits(-1), (h, w), mode='bilinear').sigmoid_()
            classes = predictions.cls_logits[-1].softmax(-1)[..., :-1]
            return torch.einsum('nqk,nqhw->nkhw', classes, masks)


@MODELS.register_module()
class Mask2FormerHead(_BaseHead):
    """Mask2Former with learned queries. The defaults are the published model.

    Args:
        in_channels: Channels of the four feature maps, strides 4, 8, 16, 32.
        num_classes: Classes, without "no object".
        feat_channels: Channels inside the head.
        num_queries: Queries.
        pixel_decoder: `num_layers` 6, `num_heads` 8, `num_points` 4, `ffn_channels` 1024,
            `num_groups` 32.
        transformer_decoder: `num_layers` 9, `num_heads` 8, `ffn_channels` 2048.
        loss_weights: `cls` 2, `mask` 5, `dice` 5, and `no_object` 0.1, the weight of that class.
        num_points: Points per mask at which costs and losses are computed.
        oversample_ratio: Candidates per point, >= 1.
        importance_sample_ratio: Fraction of the points that are chosen by uncertainty, in [0, 1].
        ignore_index: Label id of pixels without a class.
        ignore_mask: Pixels without a class lie outside of every mask (`negative`, as published), or
            do not count (`exclude`).

    Raises:
        ConfigError: An argument contradicts another or its range.
    """

    def __init__(
        self, in_channels: Sequence[int], num_classes: int, feat_channels: int = 256,
        num_queries: int = 100, **kwargs: Any,
    ) -> None:
        super().__init__(in_channels, num_classes, feat_channels, **kwargs)
        self.query_embed = nn.Embedding(num_queries, feat_channels)
        self.query_feat = nn.Embedding(num_queries, feat_channels)

    def _queries(self, inputs: Any) -> tuple[Sequence[Tensor], Tensor, Tensor]:
        if not _is_pyramid(inputs):
            raise ConfigError(
                'Mask2FormerHead needs a list of four feature maps, but the backbone returned '
                'something else. If its adapter makes queries, use ReinMask2FormerHead.')
        return inputs, self.query_feat.weight, self.query_embed.weight


@MODELS.register_module()
class ReinMask2FormerHead(_BaseHead):
    """Mask2Former with the queries that Rein makes from its tokens.

    The queries are the position; `querys2feat` turns them into the content.

    Args:
        in_channels: Channels of the four feature maps, strides 4, 8, 16, 32.
        num_classes: Classes, without "no object".
        feat_channels: Channels inside the head and of the queries.
        **kwargs: The other arguments of `Mask2FormerHead`, without `num_queries`.

    Raises:
        ConfigError: An argument contradicts another or its range.
    """

    def __init__(
        self, in_channels: Sequence[int], num_classes: int, feat_channels: int = 256,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_channels, num_classes, feat_channels, **kwargs)
        self.querys2feat = nn.Linear(feat_channels, feat_channels)

    def _queries(self, inputs: Any) -> tuple[Sequence[Tensor], Tensor, Tensor]:
        if not (len(inputs) == 2 and _is_pyramid(inputs[0]) and inputs[1].ndim == 2):
            raise ConfigError(
                'ReinMask2FormerHead needs a pair (four feature maps, queries), but the backbone '
                'returned something else. Let its adapter make queries '
                '(link_token_to_query=True), or use Mask2FormerHead.')
        features, queries = inputs
        if queries.shape[1] != self.feat_channels:
            raise ConfigError(
                f'The adapter makes queries of {queries.shape[1]} channels, but '
                f'ReinMask2FormerHead has feat_channels={self.feat_channels}. Make them equal.')
        return features, self.querys2feat(queries), queries


def _is_pyramid(features: Any) -> bool:
    """Whether these are four maps (N, C, h, w)."""
    if isinstance(features, Pyramid):  # to look at its maps would resize them
        return len(features) == 4
    return len(features) == 4 and all(isinstance(x, Tensor) and x.ndim == 4 for x in features)


def _check(
    in_channels: Sequence[int], oversample_ratio: float, importance_sample_ratio: float,
    ignore_mask: str,
) -> None:
    """Raise `ConfigError` for arguments that no module below would refuse."""
    if len(in_channels) != 4:
        raise ConfigError(
            f'in_channels of a Mask2Former head has {len(in_channels)} entries: {in_channels}. '
            'Give the channels of four feature maps, strides 4, 8, 16 and 32.')
    if oversample_ratio < 1 or not 0 <= importance_sample_ratio <= 1:
        raise ConfigError(
            f'Point sampling of a Mask2Former head has oversample_ratio={oversample_ratio} and '
            f'importance_sample_ratio={importance_sample_ratio}. The first must be at least 1, the '
            'second lie between 0 and 1.')
    if ignore_mask not in ('negative', 'exclude'):
        raise ConfigError(
            f"ignore_mask of a Mask2Former head is '{ignore_mask}'. Use 'negative' (pixels without "
            "a class lie outside of every mask) or 'exclude' (they do not count).")
