# SPDX-License-Identifier: Apache-2.0
"""Reinhard and Fourier transfer against their definitions: OpenCV's Lab, NumPy's FFT."""

import cv2
import numpy as np
import pytest
import torch

from crossearth.errors import ConfigError, DataError
from crossearth.style.fourier import RADIUS
from crossearth.style.kinds import build_kind
from crossearth.style.reinhard import lab_to_rgb, rgb_to_lab


def images(*shape):
    """Smooth pictures with values that a transfer does not push out of [0, 1]."""
    noise = torch.nn.functional.interpolate(torch.randn(shape[0], 3, 5, 5), shape[-2:],
                                            mode='bicubic')
    return (0.5 + 0.06 * noise + 0.01 * torch.randn(shape)).clamp(0.1, 0.9)


@pytest.mark.parametrize('kind', ['reinhard_lab', 'fourier_amplitude'])
def test_own_style_changes_nothing(kind):
    nets, x = build_kind(kind), images(3, 3, 21, 34)
    torch.testing.assert_close(nets.transformer(x, nets.predictor(x)), x, atol=1e-4, rtol=0)


@pytest.mark.parametrize('kind', ['reinhard_lab', 'fourier_amplitude'])
def test_result_has_the_wanted_style_for_each_sample(kind):
    nets, x = build_kind(kind), images(2, 3, 40, 30)
    wanted = nets.predictor(images(2, 3, 64, 64))  # styles do not depend on the size
    styled = nets.transformer(x, wanted)
    torch.testing.assert_close(nets.predictor(styled), wanted, atol=0.02, rtol=0.02)
    assert not torch.allclose(wanted[0], wanted[1], atol=0.1)


@pytest.mark.parametrize('kind', ['reinhard_lab', 'fourier_amplitude'])
@pytest.mark.parametrize('value', [0.0, 0.4, 1.0])
def test_constant_images_stay_finite(kind, value):
    nets, x = build_kind(kind), torch.full((1, 3, 16, 16), value)
    style = nets.predictor(images(1, 3, 32, 32))
    styled = nets.transformer(x, style)
    assert nets.predictor(x).isfinite().all()
    assert styled.isfinite().all()
    assert 0 <= styled.min() <= styled.max() <= 1


def test_every_kind_has_its_own_fingerprint():
    prints = {build_kind(kind).sha256 for kind in ('reinhard_lab', 'fourier_amplitude')}
    assert len(prints) == 2


def test_unknown_kind():
    with pytest.raises(ConfigError, match=r"kind='reinhardt_lab' is .* mean 'reinhard_lab'"):
        build_kind('reinhardt_lab')


# ------------------------------------------------------------------------------------- reinhard

@pytest.mark.parametrize(('rgb', 'lab'), [  # published values of sRGB under D65
    ((0, 0, 0), (0, 0, 0)), ((1, 1, 1), (100, 0, 0)), ((1, 0, 0), (53.24, 80.09, 67.20)),
    ((0, 1, 0), (87.73, -86.18, 83.18)), ((0, 0, 1), (32.30, 79.19, -107.86))])
def test_lab_of_the_primaries(rgb, lab):
    x = torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1)
    np.testing.assert_allclose(rgb_to_lab(x).flatten(), lab, atol=0.02)


def test_lab_equals_opencv_and_goes_back():
    rgb = np.random.default_rng(0).random((16, 16, 3), np.float32) ** 2
    x = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    lab = rgb_to_lab(x)
    expected = cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab)
    np.testing.assert_allclose(lab[0].permute(1, 2, 0), expected, atol=0.5)  # OpenCV interpolates
    torch.testing.assert_close(lab_to_rgb(lab), x, atol=2e-5, rtol=0)


def test_reinhard_shifts_and_scales_each_channel_of_lab():
    nets = build_kind('reinhard_lab')
    x, target = images(1, 3, 24, 24), images(1, 3, 24, 24)
    lab, wanted = (cv2.cvtColor(i[0].permute(1, 2, 0).numpy(), cv2.COLOR_RGB2Lab)
                   for i in (x, target))
    expected = ((lab - lab.mean((0, 1))) / lab.std((0, 1)) * wanted.std((0, 1))
                + wanted.mean((0, 1)))
    styled = rgb_to_lab(nets.transformer(x, nets.predictor(target)))
    np.testing.assert_allclose(styled[0].permute(1, 2, 0), expected, atol=0.5)


# -------------------------------------------------------------------------------------- fourier

@pytest.mark.parametrize(('height', 'width'), [(24, 24), (17, 30), (8, 8)])
def test_fourier_sets_low_amplitudes_and_keeps_phase_and_the_rest(height, width):
    nets = build_kind('fourier_amplitude')
    x, target = images(1, 3, height, width), images(1, 3, height, width)
    own, wanted, styled = (np.fft.fft2(i[0].double().numpy()) for i in (
        x, target, nets.transformer(x, nets.predictor(target))))
    rows = np.abs(np.fft.fftfreq(height, 1 / height)) <= RADIUS
    columns = np.abs(np.fft.fftfreq(width, 1 / width)) <= RADIUS
    low = rows[:, None] & columns
    amplitude = np.where(low, np.abs(wanted), np.abs(own))
    floor = 2e-4 * height * width  # amplitudes below are not told apart
    np.testing.assert_allclose(np.abs(styled), amplitude, atol=floor)
    clear = np.minimum(amplitude, np.abs(own)) > 5 * floor
    assert clear.sum() > 3
    np.testing.assert_allclose((styled * own.conj() / np.abs(styled * own))[clear], 1, atol=0.2)


def test_fourier_refuses_images_without_these_frequencies():
    with pytest.raises(DataError, match=r'7 x 20 px have no 3 cycles.*needs 8 px or more'):
        build_kind('fourier_amplitude').predictor(torch.zeros(1, 3, 7, 20))
