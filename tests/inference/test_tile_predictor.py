# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossearth.errors import ConfigError
from crossearth.inference.predictor import OutOfTileMemoryError, Predictor


def pixelwise(images: np.ndarray) -> np.ndarray:
    """A network that looks at one pixel only: three channels are the scores of three classes."""
    assert images.dtype == np.float32
    assert images.shape[-2] % 32 == images.shape[-1] % 32 == 0
    return images


def images(n: int, h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, h, w), np.uint8)


class LimitedMemory:
    """Fails as torch does when a batch holds more than `pixels`, and records what it was given."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self.batches: list[int] = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(len(batch))
        if batch[:, 0].size > self.pixels:
            raise RuntimeError('DefaultCPUAllocator: can\'t allocate memory: you tried 8 bytes')
        return batch


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(1, 70), st.integers(1, 70), st.sampled_from(['none', 'd4']))
def test_a_pixelwise_network_gives_back_the_image_for_any_size(n, h, w, tta):
    batch = images(n, h, w)
    scores = Predictor(pixelwise, 3, tta=tta)(batch)
    np.testing.assert_allclose(scores, batch, rtol=1e-6)


def test_d4_averages_what_the_network_makes_of_all_eight_views():
    batch = images(1, 64, 64)
    ramp = np.linspace(0, 1, 64, dtype=np.float32)  # a network that is no function of the pixel

    def tilted(x: np.ndarray) -> np.ndarray:
        return x * ramp

    scores = Predictor(tilted, 3, tta='d4')(batch)
    weights = np.zeros((64, 64))
    for turned in (np.rot90(np.tile(ramp, (64, 1)), k) for k in range(4)):
        weights += turned + turned[:, ::-1]
    np.testing.assert_allclose(scores[0], batch[0] * (weights / 8), rtol=1e-5)


def test_a_full_memory_halves_the_batch_and_changes_no_score():
    network = LimitedMemory(pixels=2 * 64 * 64)
    predictor = Predictor(network, 3)
    batch = images(7, 64, 64)
    np.testing.assert_array_equal(predictor(batch), batch)
    assert predictor.max_batch == 1  # 7 -> 3 -> 1
    network.batches.clear()
    predictor(batch)
    assert network.batches == [1] * 7  # it does not try again what failed


def test_one_tile_too_large_says_so():
    with pytest.raises(OutOfTileMemoryError):
        Predictor(LimitedMemory(pixels=64), 3)(images(2, 64, 64))


def test_other_errors_of_the_network_pass():
    def broken(_: np.ndarray) -> np.ndarray:
        raise RuntimeError('shapes do not match')

    with pytest.raises(RuntimeError, match='shapes do not match'):
        Predictor(broken, 3)(images(1, 64, 64))


def test_an_unknown_augmentation_is_refused():
    with pytest.raises(ConfigError, match=r"tta='d8'.*none, d4"):
        Predictor(pixelwise, 3, tta='d8')
