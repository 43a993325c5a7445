# SPDX-License-Identifier: Apache-2.0
"""ResNet-18, -34, -50 and -101 with dilated late stages, of MMSegmentation.

He et al. 2015 (arXiv 1512.03385), in the variant V1c: three 3x3 convolutions in place of the 7x7
one. Late stages dilate instead of striding, as DeepLab does (arXiv 1606.00915).
"""

from mmseg.models.backbones import ResNetV1c
from torch import Tensor, nn

from crossearth.errors import ConfigError
from crossearth.registry import MODELS

from .pretrained import PretrainedBackbone

__all__ = ['ResNet']

DEPTHS = {18: 512, 34: 512, 50: 2048, 101: 2048}  # depth -> channels of the last map
# output stride -> strides and dilations of the four stages
STAGES = {
    8: ((1, 2, 1, 1), (1, 1, 2, 4)),
    16: ((1, 2, 2, 1), (1, 1, 1, 2)),
    32: ((1, 2, 2, 2), (1, 1, 1, 1)),
}


@MODELS.register_module()
class ResNet(PretrainedBackbone, ResNetV1c):
    """ResNet V1c; takes the place of MMSegmentation's `ResNet` in configs.

    Args:
        depth: 18, 34, 50 or 101.
        output_stride: Stride of the last map in px: 8, 16 or 32.
        contract_dilation: Whether the first block of a dilated stage dilates by half as much.
        norm_eval: Whether batch normalisation keeps its statistics in training, as batches of one
            or two images ask for.
        weights: Name or path of the pre-trained weights; 'random' to train without any on purpose.
        frozen: Whether all of it is frozen.

    Raises:
        ConfigError: There is no such depth or output stride.
    """

    embed_dim: int
    stem: nn.Module
    stem_channels: int

    def __init__(
        self,
        depth: int = 101,
        output_stride: int = 8,
        contract_dilation: bool = True,
        norm_eval: bool = False,
        weights: str | None = None,
        frozen: bool = False,
    ) -> None:
        if depth not in DEPTHS or output_stride not in STAGES:
            raise ConfigError(
                f'backbone.depth={depth} with output_stride={output_stride}: there is no such '
                f'ResNet here. Choose a depth of {tuple(DEPTHS)} and an output stride of '
                f'{tuple(STAGES)}.')
        strides, dilations = STAGES[output_stride]
        super().__init__(
            depth=depth, strides=strides, dilations=dilations, norm_eval=norm_eval,
            contract_dilation=contract_dilation)
        self.embed_dim = DEPTHS[depth]
        self._begin(weights, frozen=frozen)

    def first_map(self) -> tuple[nn.Module, int]:
        """The layer that makes the first map, where styles may be changed, and its channels."""
        return self.stem, self.stem_channels

    def forward(self, image: Tensor) -> list[Tensor]:
        """Extract the maps of the four stages.

        Args:
            image: Normalised image (B, 3, H, W).

        Returns:
            Four maps (B, C_i, ceil(H/s), ceil(W/s)), s from 4 to the output stride; C_i is
            (64, 128, 256, 512), four times that for ResNet-50 and -101.

        Raises:
            ConfigError: The pre-trained weights were never loaded.
        """
        self._require_weights()
        return list(super().forward(image))
