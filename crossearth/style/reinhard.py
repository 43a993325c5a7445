# SPDX-License-Identifier: Apache-2.0
"""Colour transfer in CIELAB as a pair of style nets without weights.

After Reinhard et al., Color Transfer between Images (CG&A 2001): the style of an image is mean and
standard deviation of its three channels, and another style is put on by shifting and scaling them.
"""

import torch
from torch import Tensor

from .frozen import FrozenNet, check_rgb

__all__ = ['LabPredictor', 'LabTransformer', 'lab_to_rgb', 'rgb_to_lab']

# sRGB to XYZ; each row is divided by the white point D65
TO_XYZ = torch.tensor([[0.412453, 0.357580, 0.180423],
                       [0.212671, 0.715160, 0.072169],
                       [0.019334, 0.119193, 0.950227]], dtype=torch.float64
                      ) / torch.tensor([[0.950456], [1.0], [1.088754]])
TO_LAB = torch.tensor([[0., 116., 0.], [500., -500., 0.], [0., 200., -200.]], dtype=torch.float64)
MIN_DEVIATION = 1e-3  # Lab units; the logarithm of a constant channel stays finite


class LabPredictor(FrozenNet):
    """Mean and logarithm of the standard deviation of L, a and b.

    The logarithm lets a sampled deviation never be negative.
    """

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Describe the colours of RGB images (B, 3, H, W) in [0, 1] by (B, 6)."""
        check_rgb(images)
        return torch.cat(_moments(rgb_to_lab(images)), dim=1)


class LabTransformer(FrozenNet):
    """Shift and scale L, a and b to wanted means and deviations."""

    @torch.no_grad()
    def forward(self, images: Tensor, style: Tensor) -> Tensor:
        """Give RGB images (B, 3, H, W) in [0, 1] the colours of (B, 6); of the same shape."""
        check_rgb(images)
        lab = rgb_to_lab(images)
        mean, log_std = _moments(lab)
        wanted_mean, wanted_log_std = style.to(lab.dtype).chunk(2, dim=1)
        scale = (wanted_log_std - log_std).exp()[..., None, None]
        return lab_to_rgb((lab - mean[..., None, None]) * scale + wanted_mean[..., None, None])


def _moments(lab: Tensor) -> tuple[Tensor, Tensor]:
    deviation = lab.std(dim=(2, 3), correction=0)
    return lab.mean(dim=(2, 3)), deviation.clamp(min=MIN_DEVIATION).log()


def rgb_to_lab(images: Tensor) -> Tensor:
    """Convert sRGB (B, 3, H, W) in [0, 1] into CIELAB: L in [0, 100], a and b about +-100."""
    linear = torch.where(images > 0.04045, ((images + 0.055) / 1.055) ** 2.4, images / 12.92)
    xyz = _mix(TO_XYZ, linear)
    f = torch.where(
        xyz > 0.008856, xyz.clamp(min=1e-9) ** (1 / 3), 7.787 * xyz + 16 / 116)
    lab = _mix(TO_LAB, f)
    lab[:, 0] -= 16
    return lab


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Convert CIELAB (B, 3, H, W) into sRGB in [0, 1]; colours outside are cut."""
    lab = torch.cat([lab[:, :1] + 16, lab[:, 1:]], dim=1)
    f = _mix(torch.linalg.inv(TO_LAB), lab)
    xyz = torch.where(f > 0.206893, f ** 3, (f - 16 / 116) / 7.787)
    linear = _mix(torch.linalg.inv(TO_XYZ), xyz).clamp(0, 1)
    return torch.where(
        linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear).clamp(0, 1)


def _mix(matrix: Tensor, images: Tensor) -> Tensor:
    return torch.einsum('ij,bjhw->bihw', matrix.to(images), images)
