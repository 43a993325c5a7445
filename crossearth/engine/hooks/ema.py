# SPDX-License-Identifier: Apache-2.0
"""Exponential moving average of the trained parameters (Polyak & Juditsky 1992)."""

from typing import Any

import torch
from mmengine.hooks import Hook
from torch import Tensor, nn

from crossearth.registry import HOOKS

__all__ = ['TrainedEMAHook']


@HOOKS.register_module()
class TrainedEMAHook(Hook):
    """Average the trained parameters; the frozen backbone is neither copied nor touched.

    One line of a config turns it on: `default_hooks = dict(ema=dict(type='TrainedEMAHook'))`.

    A checkpoint's `state_dict` holds the averages, so that whatever loads it tests these; what the
    training goes on with is in `raw_state_dict`. Validation during the training uses the averages.

    Args:
        decay: Weight of the old average in each iteration. In the first iterations it is less,
            (1 + n) / (10 + n), or the average would stay near the random start.
    """

    priority = 'NORMAL'

    def __init__(self, decay: float = 0.999) -> None:
        self.decay = decay
        self.averages: dict[str, Tensor] = {}

    def before_train(self, runner: Any) -> None:
        """Begin with the parameters as they are, unless averages have been resumed."""
        trained = _trained(runner.model)
        if self.averages.keys() != trained.keys():
            self.averages = {name: p.detach().clone() for name, p in trained.items()}

    @torch.no_grad()
    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Update the averages."""
        decay = min(self.decay, (1 + runner.iter) / (10 + runner.iter))
        new = _trained(runner.model)
        torch._foreach_lerp_(
            list(self.averages.values()), [new[name] for name in self.averages], 1 - decay)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Put the averages where a test looks for weights."""
        state = checkpoint['state_dict']
        checkpoint['raw_state_dict'] = {name: state[name] for name in self.averages}
        checkpoint['state_dict'] = {**state, **self.averages}

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Go on with the averages of a resumed run."""
        names = checkpoint.get('raw_state_dict', {})
        self.averages = {
            name: checkpoint['state_dict'][name].to(p.device, p.dtype, copy=True)
            for name, p in _trained(runner.model).items() if name in names}

    def before_val_epoch(self, runner: Any) -> None:
        """Use the averages."""
        self._swap(runner.model)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Go back to the trained parameters."""
        self._swap(runner.model)

    def before_test_epoch(self, runner: Any) -> None:
        """Use the averages after a training; loaded checkpoints hold them in the model already."""
        self._swap(runner.model)

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Go back to the trained parameters."""
        self._swap(runner.model)

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        trained = _trained(model)
        for name, average in self.averages.items():
            other = trained[name].clone()
            trained[name].copy_(average)
            average.copy_(other)


def _trained(model: Any) -> dict[str, nn.Parameter]:
    module = getattr(model, 'module', model)
    return {name: p for name, p in module.named_parameters() if p.requires_grad}
