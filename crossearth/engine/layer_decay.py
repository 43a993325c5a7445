# SPDX-License-Identifier: Apache-2.0
"""Learning rates that fall with the depth of a fine-tuned vision transformer.

Layer-wise decay: Bao et al., BEiT, 2022, section 3.2, with the rules of MTP: blocks near the image,
whose features are the most general, change the least.
"""

from typing import Any

from mmengine.optim import OptimWrapper
from torch import nn

from crossearth.errors import ConfigError
from crossearth.models.backbones import AdaptedViT
from crossearth.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .optim import TrainableOptimWrapperConstructor

__all__ = ['LayerDecayOptimWrapperConstructor']

STEM = ('patch_embed', 'pos_embed', 'cls_token', 'reg_token', 'register_tokens')
UNDECAYED = ('pos_embed', 'cls_token', 'reg_token', 'register_tokens', 'rel_pos_h', 'rel_pos_w',
             'relative_position_bias_table')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(TrainableOptimWrapperConstructor):
    """Multiply the learning rate by rate^(depth - i) in block i of a vision transformer.

    The embeddings before the blocks get rate^(depth + 1); what comes after them, and adapters, the
    full rate. Norms, biases and (relative) positions have no weight decay.

    Args:
        optim_wrapper_cfg: As for `TrainableOptimWrapperConstructor`.
        paramwise_cfg: `layer_decay_rate`, in (0, 1], and `custom_keys`, which multiply on top.

    Raises:
        ConfigError: The rate is missing or out of range, or the backbone has no blocks.
    """

    def __init__(
        self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None
    ) -> None:
        paramwise_cfg = dict(paramwise_cfg or {})
        self.rate = paramwise_cfg.pop('layer_decay_rate', None)
        if not isinstance(self.rate, int | float) or not 0 < self.rate <= 1:
            raise ConfigError(
                f'optim_wrapper.paramwise_cfg.layer_decay_rate is {self.rate!r}. Give the factor '
                'from one block to the one before it, in (0, 1], e.g. 0.9.')
        super().__init__(optim_wrapper_cfg, paramwise_cfg)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimiser wrapper of a segmentor, wrapped for several processes or not."""
        backbone = getattr(getattr(model, 'module', model), 'backbone', None)
        if not isinstance(backbone, AdaptedViT):
            raise ConfigError(
                f'optim_wrapper.constructor: the backbone {type(backbone).__name__} has no blocks '
                "to decay over. Use a vision transformer, or 'TrainableOptimWrapperConstructor'.")
        self.depth = backbone.depth
        return super().__call__(model)

    def _multipliers(self, name: str, parameter: nn.Parameter) -> tuple[float, float]:
        lr_mult, decay_mult = super()._multipliers(name, parameter)
        if parameter.ndim <= 1 or name.endswith(UNDECAYED):
            decay_mult = 0.0
        return lr_mult * self.rate ** (self.depth + 1 - self._layer(name)), decay_mult

    def _layer(self, name: str) -> int:
        """0 for the embeddings, 1 + i for block i, 1 + depth for all that is not the backbone's."""
        part, _, rest = name.removeprefix('backbone.').partition('.')
        if name.startswith('backbone.blocks.'):
            return 1 + int(rest.partition('.')[0])
        return 0 if name.startswith('backbone.') and part in STEM else 1 + self.depth
