# SPDX-License-Identifier: Apache-2.0
"""Style predictors p_s: an image -> the 100 numbers that describe its style.

`JacksonPredictor` is the network of Jackson et al., Style Augmentation (CVPRW 2019): Inception-v3
(Szegedy et al., arXiv 1512.00567) up to Mixed_6e, with the parameter names of its published file.
`MagentaPredictor` is the small one of Magenta's mobile models: MobileNetV2 (Sandler et al., arXiv
1801.04381) with the batch norms folded into the convolutions. Their embeddings are unrelated: each
belongs to the transformer of its own pair.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .frozen import EMBEDDING_DIM, FrozenNet, check_rgb

__all__ = ['JacksonPredictor', 'MagentaPredictor']

Kernel = int | tuple[int, int]
Branches = dict[str, list[tuple[int, Kernel]]]  # name -> (channels, kernel) of its convolutions

MEAN = (0.485, 0.456, 0.406)
# The published network scales by one and shifts by the other; their blue values differ, by a slip
# that its weights were trained with.
STD_IN, STD_OUT = (0.229, 0.224, 0.255), (0.229, 0.224, 0.225)
MIN_SIDE = 43  # px; the convolutions without padding leave nothing of a smaller image

MAGENTA_SIDE = 256  # px
# expansion, channels, repeats, stride of the first
MOBILENET = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1))


class JacksonPredictor(FrozenNet):
    """Inception-v3 up to Mixed_6e, mean over the image, linear layer."""

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean, std_in, std_out = torch.tensor([MEAN, STD_IN, STD_OUT]).view(3, 3, 1, 1)
        # (x - mean) / std_in, then y * std_out / 0.5 + (mean - 0.5) / 0.5
        scale = 2 * std_out / std_in
        self.register_buffer('scale', scale, persistent=False)
        self.register_buffer('shift', 2 * mean - 1 - mean * scale, persistent=False)
        self.Conv2d_1a_3x3 = _conv_bn(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _conv_bn(32, 32, 3)
        self.Conv2d_2b_3x3 = _conv_bn(32, 64, 3, padding='same')
        self.Conv2d_3b_1x1 = _conv_bn(64, 80, 1)
        self.Conv2d_4a_3x3 = _conv_bn(80, 192, 3)
        self.Mixed_5b = _Mixed(192, _branches_5(32))
        self.Mixed_5c = _Mixed(256, _branches_5(64))
        self.Mixed_5d = _Mixed(288, _branches_5(64))
        self.Mixed_6a = _Mixed(288, BRANCHES_6A, stride=2)
        self.Mixed_6b = _Mixed(768, _branches_6(128))
        self.Mixed_6c = _Mixed(768, _branches_6(160))
        self.Mixed_6d = _Mixed(768, _branches_6(160))
        self.Mixed_6e = _Mixed(768, _branches_6(192))
        self.fc = nn.Linear(768, EMBEDDING_DIM)
        self.freeze()

    def normalise(self, images: Tensor) -> Tensor:
        """Scale images as the published network does: red and green to 2 x - 1, blue a bit less.

        Args:
            images: RGB (B, 3, H, W) in [0, 1].
        """
        return images * self.scale + self.shift

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Describe the style of images.

        Args:
            images: RGB (B, 3, H, W) in [0, 1]; sides below 43 px are enlarged to that.

        Returns:
            Embeddings (B, 100).

        Raises:
            DataError: The images have not three bands.
        """
        check_rgb(images)
        height, width = (max(side, MIN_SIDE) for side in images.shape[-2:])
        x = self.normalise(_resize(images, height, width))
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return self.fc(x.mean((2, 3)))


def _conv_bn(
    in_channels: int, channels: int, kernel: Kernel, stride: int = 1, padding: str = 'valid'
) -> nn.Sequential:
    return nn.Sequential(OrderedDict(
        conv=nn.Conv2d(in_channels, channels, kernel, stride, padding, bias=False),
        bn=nn.BatchNorm2d(channels, eps=1e-3),
        relu=nn.ReLU()))


def _branches_5(pool_channels: int) -> Branches:
    return {
        'branch1x1': [(64, 1)],
        'branch5x5': [(48, 1), (64, 5)],
        'branch3x3dbl': [(64, 1), (96, 3), (96, 3)],
        'branch_pool': [(pool_channels, 1)],
    }


BRANCHES_6A: Branches = {
    'branch3x3': [(384, 3)],
    'branch3x3dbl': [(64, 1), (96, 3), (96, 3)],
    'branch_pool': [],
}


def _branches_6(width: int) -> Branches:
    row, column = (1, 7), (7, 1)
    return {
        'branch1x1': [(192, 1)],
        'branch7x7': [(width, 1), (width, row), (192, column)],
        'branch7x7dbl': [(width, 1), (width, column), (width, row), (width, column), (192, row)],
        'branch_pool': [(192, 1)],
    }


class _Mixed(nn.Module):
    """Chains of convolutions side by side, one of them after a pooling; joined by channel."""

    def __init__(self, in_channels: int, branches: Branches, stride: int = 1) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(3, 1, 1) if stride == 1 else nn.MaxPool2d(3, stride)
        self.chains: dict[str, list[str]] = {}
        for branch, convs in branches.items():
            names = [f'{branch}_{i}' for i in range(1, len(convs) + 1)]
            names = [branch] if len(names) == 1 else names
            channels = in_channels
            for name, (width, kernel) in zip(names, convs, strict=True):
                # the last convolution of a chain takes the stride, and then no padding
                strided = stride > 1 and name == names[-1]
                step, padding = (stride, 'valid') if strided else (1, 'same')
                self.add_module(name, _conv_bn(channels, width, kernel, step, padding))
                channels = width
            self.chains[branch] = names

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        results = []
        for branch, names in self.chains.items():
            y = self.pool(x) if branch == 'branch_pool' else x
            for name in names:
                y = self.get_submodule(name)(y)
            results.append(y)
        return torch.cat(results, dim=1)


class MagentaPredictor(FrozenNet):
    """MobileNetV2 without batch norms, mean over the image, linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, stride=2)
        blocks, channels = [], 32
        for expansion, width, repeats, stride in MOBILENET:
            for index in range(repeats):
                step = stride if index == 0 else 1
                blocks.append(_InvertedResidual(channels, width, step, expansion))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Conv2d(channels, 1280, 1)
        self.fc = nn.Linear(1280, EMBEDDING_DIM)
        self.freeze()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Describe the style of images.

        Args:
            images: RGB (B, 3, H, W) in [0, 1]; resized to 256 px, for which the network was made.

        Returns:
            Embeddings (B, 100).

        Raises:
            DataError: The images have not three bands.
        """
        check_rgb(images)
        x = _resize(images, MAGENTA_SIDE, MAGENTA_SIDE)
        x = self.blocks(F.relu6(self.stem(_pad_end(x))))
        return self.fc(F.relu6(self.last(x)).mean((2, 3)))


class _InvertedResidual(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expand = nn.Conv2d(in_channels, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = nn.Conv2d(
            hidden, hidden, 3, stride, padding=1 if stride == 1 else 0, groups=hidden)
        self.project = nn.Conv2d(hidden, channels, 1)
        self.strided = stride > 1
        self.residual = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        y = F.relu6(self.expand(x))  # without expansion x has gone through this already
        y = F.relu6(self.depthwise(_pad_end(y) if self.strided else y))
        y = self.project(y)
        return x + y if self.residual else y


def _pad_end(x: Tensor) -> Tensor:
    # what TensorFlow's SAME padding does at stride 2 and even size
    return F.pad(x, (0, 1, 0, 1))


def _resize(images: Tensor, height: int, width: int) -> Tensor:
    if images.shape[-2:] == (height, width):
        return images
    return F.interpolate(images, (height, width), mode='bilinear', antialias=True)
