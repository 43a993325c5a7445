# SPDX-License-Identifier: Apache-2.0
"""Transfer of low-frequency amplitudes as a pair of style nets without weights.

After Yang and Soatto, FDA: Fourier Domain Adaptation (CVPR 2020): the amplitudes of the lowest
spatial frequencies are the style of an image, the phase and the rest its content.
"""

import torch
from torch import Tensor

from crossearth.errors import DataError

from .frozen import FrozenNet, check_rgb

__all__ = ['RADIUS', 'FourierPredictor', 'FourierTransformer']

RADIUS = 3  # cycles per image; FDA's beta = 0.01 at 256 to 512 px
MIN_AMPLITUDE = 1e-4  # in [0, 1] brightness; the logarithm of an absent frequency stays finite


class FourierPredictor(FrozenNet):
    """Logarithms of the amplitudes of the low frequencies.

    Logarithms, since sampled amplitudes must not be negative; and divided by the number of pixels,
    so that they do not depend on the size of the image.
    """

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Describe RGB images (B, 3, H, W) in [0, 1] by (B, D), D = 3 (2 RADIUS + 1) (RADIUS + 1).

        Raises:
            DataError: The images are smaller than 2 RADIUS + 2 px, or have not three bands.
        """
        return _log_amplitude(_spectrum(images)).flatten(1)


class FourierTransformer(FrozenNet):
    """Set the amplitudes of the low frequencies, and keep all phases."""

    @torch.no_grad()
    def forward(self, images: Tensor, style: Tensor) -> Tensor:
        """Give RGB images (B, 3, H, W) in [0, 1] the amplitudes of (B, D); of the same shape.

        Raises:
            DataError: As of `FourierPredictor`.
        """
        spectrum = _spectrum(images)
        own = _log_amplitude(spectrum)
        gain = (style.to(own.dtype).view_as(own) - own).exp()
        rows, columns = _low(spectrum)
        spectrum[:, :, rows[:, None], columns] *= gain
        styled: Tensor = torch.fft.irfft2(spectrum, s=images.shape[-2:], norm='forward')
        return styled.clamp(0, 1)


def _spectrum(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 3, H, W // 2 + 1); `forward` divides by the number of pixels."""
    check_rgb(images)
    if min(images.shape[-2:]) < 2 * RADIUS + 2:
        raise DataError(f'images of {images.shape[-2]} x {images.shape[-1]} px have no '
                        f'{RADIUS} cycles to either side. fourier_amplitude needs '
                        f'{2 * RADIUS + 2} px or more: use larger crops.')
    return torch.fft.rfft2(images, norm='forward')


def _low(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the low frequencies; negative rows are those from the end."""
    rows = torch.arange(-RADIUS, RADIUS + 1, device=spectrum.device)
    return rows, torch.arange(RADIUS + 1, device=spectrum.device)


def _log_amplitude(spectrum: Tensor) -> Tensor:
    rows, columns = _low(spectrum)
    return spectrum[:, :, rows[:, None], columns].abs().clamp(min=MIN_AMPLITUDE).log()
