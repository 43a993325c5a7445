# SPDX-License-Identifier: Apache-2.0
"""Adapters inside the blocks of a frozen vision transformer, beside one of their modules."""

from abc import ABC, abstractmethod
from functools import partial
from typing import Any

from torch import Tensor, nn

__all__ = ['BlockAdapter']


class BlockAdapter(nn.Module, ABC):
    """Base of the adapters that add something to the output of one module of every block.

    They reach it by forward hooks: the blocks, and the names of their parameters, stay as they are.
    They make no queries: the head is the plain `Mask2FormerHead`.
    """

    place: str
    """Name of the module within a block."""

    @abstractmethod
    def forward(self, x: Tensor, index: int) -> Tensor:
        """Give what is added to the output of the module of block `index` for its input x."""

    def attach(self, blocks: nn.ModuleList) -> None:
        """Act on blocks from now on."""
        for index, block in enumerate(blocks):
            block.get_submodule(self.place).register_forward_hook(partial(self._add, index))

    def _add(
        self, index: int, module: nn.Module, inputs: tuple[Any, ...], output: Tensor
    ) -> Tensor:
        return output + self(inputs[0], index)
