# SPDX-License-Identifier: Apache-2.0
"""What DAFormer adds to a segmentor when it has to generalise: two losses, each by config.

Hoyer et al., DAFormer (arXiv 2111.14887) and its form for domain generalisation (arXiv 2304.13615):
the features stay close to those of pre-training, and predictions do not depend on style. The third
of its parts, `RareClassSampler`, belongs to the loader.
"""

from typing import Any

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor

from crossearth.errors import ConfigError
from crossearth.registry import MODELS
from crossearth.style.hallucination import StyleHallucination

from ..backbones.adapted import Features
from ..losses.feature_distance import FeatureDistance
from .encoder_decoder import PEFTEncoderDecoder, prefixed

__all__ = ['DAFormerSegmentor']


@MODELS.register_module()
class DAFormerSegmentor(PEFTEncoderDecoder):
    """Segmentor with the feature distance and the style hallucination of DAFormer.

    Both serve training only, and the pre-trained copy of the backbone is not saved.

    Args:
        feature_distance: Options of `FeatureDistance`: `weight`, `classes`, `min_ratio`; None for
            none.
        hallucination: Options of `StyleHallucination`: `styles`, `interval`, `memory`, `weight`;
            None for none.
        **kwargs: As for `PEFTEncoderDecoder`.

    Raises:
        ConfigError: There are no pre-trained features to be close to, the backbone has no place for
            new styles, or the head no logits to compare.
    """

    def __init__(
        self,
        *,
        feature_distance: dict[str, Any] | None = None,
        hallucination: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.feature_distance: Any = None if feature_distance is None else FeatureDistance(
            _reference(kwargs['backbone']), self.num_classes, **feature_distance)
        self.hallucination: Any = None
        if hallucination is not None:
            self._add_hallucination(hallucination)

    def _add_hallucination(self, options: dict[str, Any]) -> None:
        if not hasattr(self.backbone, 'first_map'):
            raise ConfigError(
                'model.hallucination mixes the styles of a convolutional first map, which the '
                f"backbone {type(self.backbone).__name__} has not. Choose 'MiT' or 'ResNet', or "
                'set model.hallucination=None.')
        if not isinstance(self.decode_head, BaseDecodeHead):
            raise ConfigError(
                'model.hallucination compares logits, and the head '
                f'{type(self.decode_head).__name__} gives none. Choose a head of the kind of '
                "MMSegmentation's, such as 'DAFormerHead', or set model.hallucination=None.")
        layer, channels = self.backbone.first_map()
        self.hallucination = StyleHallucination(channels, **options)
        layer.register_forward_hook(self.hallucination.hook)

    def frozen_names(self) -> set[str]:
        """Names of the tensors that checkpoints leave out."""
        names = super().frozen_names()
        if self.feature_distance is not None:
            names |= {f'feature_distance.{name}' for name in self.feature_distance.state_dict()}
        return names

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            inputs: Normalised images (B, 3, H, W).
            data_samples: Their labels, `gt_sem_seg.data` (1, H, W).

        Returns:
            Those of `segmentation_losses`, `style.loss_consistency` in iterations that hallucinate,
            and `distance.loss_feature`.
        """
        restyled = self.hallucination is not None and self.hallucination.begin()
        features = self.extract_feat(inputs)  # of twice as many images if they are restyled
        if restyled:
            losses = self._losses_in_both_styles(features, data_samples * 2)
        else:
            losses = self.segmentation_losses(features, data_samples)
        if self.feature_distance is not None:
            labels = torch.cat([sample.gt_sem_seg.data for sample in data_samples])
            maps = features[0] if isinstance(features, tuple) else features
            losses['distance.loss_feature'] = self.feature_distance(
                inputs, maps[-1][:len(inputs)], labels)
        return losses

    def _losses_in_both_styles(
        self, features: Features, data_samples: list[Any]
    ) -> dict[str, Tensor]:
        logits = self.decode_head.forward(features)
        return {
            **prefixed('decode', self.decode_head.loss_by_feat(logits, data_samples)),
            **self.auxiliary_losses(features, data_samples),
            'style.loss_consistency': self.hallucination.consistency(logits)}


def _reference(config: dict[str, Any]) -> Any:
    """A frozen backbone of the same config; `crossearth.weights` fills both from one file."""
    if config.get('weights') in (None, 'random'):
        raise ConfigError(
            'model.feature_distance keeps features close to those of pre-training, but '
            f"backbone.weights={config.get('weights')!r} names none. Name pre-trained weights, or "
            'set model.feature_distance=None.')
    return MODELS.build({**config, 'frozen': True})
