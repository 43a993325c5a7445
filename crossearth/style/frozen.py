# SPDX-License-Identifier: Apache-2.0
"""What the style networks have in common: they are applied and never trained."""

from torch import Tensor, nn

from crossearth.errors import DataError

__all__ = ['EMBEDDING_DIM', 'FrozenNet', 'check_rgb']

EMBEDDING_DIM = 100


class FrozenNet(nn.Module):
    """A network without gradients that stays in evaluation mode for ever.

    Batch statistics that drift during training are a fault of the published code. A subclass calls
    `freeze()` at the end of its `__init__`, and wraps its `forward` in `torch.no_grad()`.
    """

    def freeze(self) -> None:
        """Take the parameters out of training."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> 'FrozenNet':
        """Stay in evaluation mode, whatever the model around does."""
        super().train(False)
        return self


def check_rgb(images: Tensor) -> None:
    """Check that images have the three bands that the style networks know.

    Args:
        images: Should be (B, 3, H, W).

    Raises:
        DataError: They have another shape.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise DataError(
            f'the style networks take RGB images (B, 3, H, W), and these are '
            f'{tuple(images.shape)}. Choose three bands when the images are loaded, or set '
            'style=none to train without Earth-Style Injection.')
