# SPDX-License-Identifier: Apache-2.0
"""What every backbone with weights of its own has in common, whatever its architecture.

Its weights are named in the config, loaded by `crossearth.weights` and never in secret; until they
are, it refuses to run. If it is frozen, it stays as it was pre-trained.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from crossearth.errors import ConfigError

__all__ = ['PretrainedBackbone']


class PretrainedBackbone(nn.Module):
    """Base of the backbones.

    Frozen means: eval mode at all times, no gradient, and (through the segmentor) not saved.

    Attributes:
        weights: Name or path of the pre-trained weights; 'random' for none on purpose.
        frozen: Whether the pre-trained part is frozen.
        weights_loaded: Whether a file has filled the pre-trained part.
    """

    added: tuple[str, ...] = ()
    """Children that are ours, and not part of the pre-trained weights."""

    weights: str | None
    frozen: bool
    weights_loaded: bool

    def _begin(self, weights: str | None, *, frozen: bool) -> None:
        """Note how the weights come, and freeze all that exists so far."""
        self.weights, self.frozen, self.weights_loaded = weights, frozen, False
        if frozen:
            self.requires_grad_(False)  # before DDP counts parameters, hence not in train()

    def pretrained_names(self) -> list[str]:
        """Names of the tensors that come with the pre-trained weights: all but the added parts'."""
        return [name for name in self.state_dict() if name.split('.')[0] not in self.added]

    def needed_names(self) -> list[str]:
        """Those that a file must hold: the batches that a norm has seen matter to nothing."""
        return [name for name in self.pretrained_names()
                if not name.endswith('num_batches_tracked')]

    def optional_names(self) -> list[str]:
        """Names of added tensors that a file of weights may hold, and then fills."""
        return []

    def adopt(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Make the tensors of a file of a kindred architecture into this one's.

        Args:
            state: Tensors by name.

        Returns:
            Tensors by name, and what was done, for the report.
        """
        return dict(state), ()

    def train(self, mode: bool = True) -> 'PretrainedBackbone':
        """Switch the mode; frozen modules stay in eval mode."""
        super().train(mode)
        if self.frozen:
            for name, child in self.named_children():
                if name not in self.added:
                    child.eval()
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        if all(prefix + name in state_dict for name in self.needed_names()):
            self.weights_loaded = True

    def _require_weights(self) -> None:
        if not self.weights_loaded and self.weights != 'random':
            raise ConfigError(
                f'the backbone {type(self).__name__} (weights={self.weights!r}) still has random '
                'values: no pre-trained weights were loaded, and a frozen random backbone learns '
                'nothing. Build through crossearth.engine.build_runner or call '
                "crossearth.weights.load_backbone; set backbone.weights='random' if random values "
                'are what you want.')
