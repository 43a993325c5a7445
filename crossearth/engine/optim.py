# SPDX-License-Identifier: Apache-2.0
"""Optimiser over the trained parameters only, and mixed precision on any device."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import Tensor, nn

from crossearth.errors import ConfigError
from crossearth.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

from .guard import GuardedOptimWrapper

__all__ = ['AutocastOptimWrapper', 'TrainableOptimWrapperConstructor']

DTYPES = {'bfloat16': torch.bfloat16, 'float16': torch.float16}
LOSS_SCALE = ('init_scale', 'growth_interval')


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
                groups.setdefault(self._multipliers(name, parameter), []).append(parameter)
        lr, decay = self.optimizer_cfg['lr'], self.optimizer_cfg.get('weight_decay', 0.0)
        params = [{'params': members, 'lr': lr * lr_mult, 'weight_decay': decay * decay_mult}
                  for (lr_mult, decay_mult), members in groups.items()]
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg, 'params': params})
        return OPTIM_WRAPPERS.build(
            {'type': 'OptimWrapper', **self.wrapper_cfg}, default_args={'optimizer': optimizer})

    def _multipliers(self, name: str, parameter: nn.Parameter) -> tuple[float, float]:
        """What the learning rate and the weight decay of a parameter are multiplied by."""
        key = max((key for key in self.custom_keys if key in name), key=len, default=None)
        options = self.custom_keys[key] if key else {}
        return options.get('lr_mult', 1.0), options.get('decay_mult', 1.0)


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(GuardedOptimWrapper):
    """Forward pass in mixed precision, on CPU and GPU; weights and their updates stay float32.

    Gradients of small losses vanish in the range of float16, so there the loss is multiplied by a
    scale and the gradients are divided by it again, before they are clipped. The scale halves, and
    the update is left out, when a gradient overflows; it doubles after a while without overflow.
    The range of bfloat16 is that of float32 and needs none of this. On a CPU choose bfloat16: many
    CPUs only emulate float16, a hundred times slower.

    Args:
        optimizer: The optimiser.
        dtype: `bfloat16` or `float16`.
        loss_scale: For float16: `init_scale`, the first scale (65536), and `growth_interval`, the
            updates after which it doubles (2000).
        **kwargs: As for mmengine's `OptimWrapper`.

    Raises:
        ConfigError: `dtype` or an entry of `loss_scale` is unknown, or the latter has no use.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        dtype: Literal['bfloat16', 'float16'] = 'bfloat16',
        loss_scale: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(optimizer, **kwargs)
        loss_scale = loss_scale or {}
        if dtype not in DTYPES:
            raise ConfigError(
                f"optim_wrapper.dtype={dtype!r} is unknown. Choose 'bfloat16' or 'float16'.")
        if unknown := sorted(set(loss_scale) - set(LOSS_SCALE if dtype == 'float16' else ())):
            raise ConfigError(
                f'optim_wrapper.loss_scale: {unknown} is not known with dtype={dtype!r}. The loss '
                f"is scaled with 'float16' only, by {' and '.join(LOSS_SCALE)}.")
        self.dtype = DTYPES[dtype]
        device = optimizer.param_groups[0]['params'][0].device.type
        # without float16 it is disabled, and every method passes through
        self.scaler = torch.amp.GradScaler(device, enabled=dtype == 'float16', **loss_scale)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the enclosed forward pass of `model` in autocast."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=self.dtype):
            yield

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Add the gradients of the scaled loss to what is accumulated."""
        super().backward(self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Update the parameters; if a gradient is not finite, halve the scale instead."""
        if self.clip_grad_kwargs:
            self.scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.scaler.step(self.optimizer, **kwargs)
        self.scaler.update()
        if self.scaler.is_enabled():
            self.message_hub.update_scalar('train/amp_scale', self.scaler.get_scale())

    def state_dict(self) -> dict[str, Any]:
        """State of the optimiser and, under mmengine's key for it, of the loss scale."""
        state: dict[str, Any] = super().state_dict()
        if self.scaler.is_enabled():
            state['loss_scaler'] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, also one of another precision."""
        state = dict(state_dict)
        scaler = state.pop('loss_scaler', None)
        super().load_state_dict(state)
        if scaler and self.scaler.is_enabled():
            self.scaler.load_state_dict(scaler)
