# SPDX-License-Identifier: Apache-2.0
"""Style transformers p_t: an image and a style embedding -> the image in that style.

Ghiasi et al., Exploring the Structure of a Real-time, Arbitrary Neural Artistic Stylization Network
(arXiv 1705.06830). The embedding acts only through the scales and offsets that follow each instance
norm. `JacksonTransformer` has the parameter names of Jackson's published file, and
`MagentaTransformer`, a quarter as wide, the same ones.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .frozen import EMBEDDING_DIM, FrozenNet, check_rgb

__all__ = ['JacksonTransformer', 'MagentaTransformer']

STRIDE = 4    # px of a pixel of the smallest map
MIN_SIDE = 8  # px; reflection at the edges of the smallest map needs two pixels


class _Transformer(FrozenNet):
    """Three convolutions down to a quarter of the size, five residual blocks, three back up.

    Args:
        widths: Channels at full, half and quarter size.
        contract_norm: Whether the way down has instance norms.
    """

    def __init__(self, widths: tuple[int, int, int], contract_norm: bool) -> None:
        super().__init__()
        full, half, quarter = widths
        self.layers = nn.ModuleList([
            _Contract(3, full, 9, 1, contract_norm),
            _Contract(full, half, 3, 2, contract_norm),
            _Contract(half, quarter, 3, 2, contract_norm),
            *(_Residual(quarter) for _ in range(5)),
            _Expand(quarter, half, 3, scale=2),
            _Expand(half, full, 3, scale=2),
            _Expand(full, 3, 9, scale=1),
        ])
        self.freeze()

    @torch.no_grad()
    def forward(self, images: Tensor, embeddings: Tensor) -> Tensor:
        """Restyle images.

        Args:
            images: RGB (B, 3, H, W) in [0, 1]; where H or W is no multiple of 4 px, the edge is
                repeated for the computation and cut off again.
            embeddings: Style of each image (B, 100).

        Returns:
            RGB (B, 3, H, W) in [0, 1].

        Raises:
            DataError: The images have not three bands.
        """
        check_rgb(images)
        height, width = images.shape[-2:]
        x = F.pad(images, (0, _excess(width), 0, _excess(height)), mode='replicate')
        for layer in self.layers:
            x = layer(x, embeddings)
        return x.sigmoid()[..., :height, :width]


class JacksonTransformer(_Transformer):
    """The transformer of Jackson et al. (CVPRW 2019): 1,954,593 parameters."""

    def __init__(self) -> None:
        super().__init__((32, 64, 128), contract_norm=True)


class MagentaTransformer(_Transformer):
    """The transformer of Magenta's mobile models; batch norms of the way down are folded."""

    def __init__(self) -> None:
        super().__init__((8, 16, 32), contract_norm=False)


class _Contract(nn.Module):
    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int, norm: bool
    ) -> None:
        super().__init__()
        self.conv = _conv(in_channels, channels, kernel, stride)
        self.norm = norm

    def forward(self, x: Tensor, embeddings: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride), whatever the style."""
        x = self.conv(x)
        return F.relu(F.instance_norm(x) if self.norm else x)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels, 3)
        self.fc_beta1, self.fc_gamma1 = _linear(channels), _linear(channels)
        self.conv2 = _conv(channels, channels, 3)
        self.fc_beta2, self.fc_gamma2 = _linear(channels), _linear(channels)

    def forward(self, x: Tensor, embeddings: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = _style_norm(self.conv1(x), self.fc_gamma1(embeddings), self.fc_beta1(embeddings))
        y = self.conv2(F.relu(y))
        return x + _style_norm(y, self.fc_gamma2(embeddings), self.fc_beta2(embeddings))


class _Expand(nn.Module):
    def __init__(self, in_channels: int, channels: int, kernel: int, scale: int) -> None:
        super().__init__()
        self.conv = _conv(in_channels, channels, kernel)
        self.fc_beta, self.fc_gamma = _linear(channels), _linear(channels)
        self.scale = scale

    def forward(self, x: Tensor, embeddings: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', scale * H, scale * W); at scale 1, the image before sigmoid."""
        if self.scale > 1:
            x = F.interpolate(x, scale_factor=self.scale, mode='nearest')
        y = _style_norm(self.conv(x), self.fc_gamma(embeddings), self.fc_beta(embeddings))
        return F.relu(y) if self.scale > 1 else y


def _conv(in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels, channels, kernel, stride, padding=kernel // 2, padding_mode='reflect')


def _linear(channels: int) -> nn.Linear:
    return nn.Linear(EMBEDDING_DIM, channels)


def _style_norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Conditional instance norm of maps (B, C, H, W) by gamma and beta (B, C)."""
    return gamma[..., None, None] * F.instance_norm(x) + beta[..., None, None]


def _excess(side: int) -> int:
    return max(MIN_SIDE, -(-side // STRIDE) * STRIDE) - side
