# SPDX-License-Identifier: Apache-2.0
"""Optimiser over the trained parameters only, and mixed precision on any device."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import nn

from crossearth.errors import ConfigError
from crossearth.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

from .guard import GuardedOptimWrapper

__all__ = ['BF16OptimWrapper', 'TrainableOptimWrapperConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainableOptimWrapperConstructor:
    """Build an optimiser for the parameters that are trained, with options by name.

    Unlike mmengine's default it holds no frozen parameter, and parameters of equal options share
    one group, so that the optimiser can update many tensors at once.

    Args:
        optim_wrapper_cfg: `optimizer` with its `lr` and `weight_decay`, and the wrapper's `type`.
        paramwise_cfg: `custom_keys`: part of a parameter's name -> `lr_mult` and `decay_mult`. Of
            several parts that a name contains, the longest counts.

    Raises:
        ConfigError: `paramwise_cfg` holds something else.
    """

    def __init__(
        self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None
    ) -> None:
        paramwise_cfg = paramwise_cfg or {}
        self.custom_keys: Mapping[str, Mapping[str, float]] = paramwise_cfg.get('custom_keys', {})
        self.wrapper_cfg = dict(optim_wrapper_cfg)
        self.optimizer_cfg = dict(self.wrapper_cfg.pop('optimizer'))
        unknown = set(paramwise_cfg) - {'custom_keys'}
        unknown |= {key for options in self.custom_keys.values() for key in options}
        if unknown := unknown - {'custom_keys', 'lr_mult', 'decay_mult'}:
            raise ConfigError(
                f'optim_wrapper.paramwise_cfg: {sorted(unknown)} is not known here. Give '
                "custom_keys={'part of a name': dict(lr_mult=..., decay_mult=...)}.")

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimiser wrapper of a model, wrapped for several processes or not."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        module: Any = getattr(model, 'module', model)
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                groups.setdefault(self._multipliers(name), []).append(parameter)
        lr, decay = self.optimizer_cfg['lr'], self.optimizer_cfg.get('weight_decay', 0.0)
        params = [{'params': members, 'lr': lr * lr_mult, 'weight_decay': decay * decay_mult}
                  for (lr_mult, decay_mult), members in groups.items()]
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg, 'params': params})
        return OPTIM_WRAPPERS.build(
            {'type': 'OptimWrapper', **self.wrapper_cfg}, default_args={'optimizer': optimizer})

    def _multipliers(self, name: str) -> tuple[float, float]:
        key = max((key for key in self.custom_keys if key in name), key=len, default=None)
        options = self.custom_keys[key] if key else {}
        return options.get('lr_mult', 1.0), options.get('decay_mult', 1.0)


@OPTIM_WRAPPERS.register_module()
class BF16OptimWrapper(GuardedOptimWrapper):
    """Forward pass in bfloat16 autocast on CPU and GPU; its range needs no loss scaling.

    Args:
        **kwargs: As for mmengine's `OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the enclosed forward pass of `model` in autocast."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield
