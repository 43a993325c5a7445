# SPDX-License-Identifier: Apache-2.0
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossearth.inference.predictor import Predictor
from crossearth.inference.stream import Rows, Tile, _best, predict_rows
from crossearth.inference.tiling import Window, tile_starts

law = settings(deadline=None, max_examples=40)


class ArrayReader:
    """A raster in memory: image (3, H, W) and its valid pixels."""

    def __init__(self, image: np.ndarray, valid: np.ndarray | None = None) -> None:
        self.image = image
        self.height, self.width = image.shape[1:]
        self.valid = np.ones(image.shape[1:], bool) if valid is None else valid
        self.lock = threading.Lock()
        self.open = self.most_open = 0

    def read(self, window: Window) -> Tile:
        with self.lock:
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        rows = slice(window.row, window.row + window.height)
        columns = slice(window.col, window.col + window.width)
        return Tile(self.image[:, rows, columns], self.valid[rows, columns])


def identity(images: np.ndarray) -> np.ndarray:
    return images


def random_image(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, height, width), np.uint8)


@law
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 24), st.integers(1, 5),
       st.integers(0, 2**32 - 1), st.data())
def test_a_pixelwise_model_maps_every_pixel_to_its_class(
    height, width, tile, batch, seed, data
):
    overlap = data.draw(st.integers(0, tile - 1))
    image = random_image(height, width, seed)
    valid = np.random.default_rng(seed + 1).random((height, width)) < data.draw(
        st.sampled_from([0, 0.02, 0.5, 1]))
    rows = list(predict_rows(ArrayReader(image, valid), Predictor(identity, 3), tile, overlap,
                             batch=batch))
    label = np.concatenate([part.label for part in rows])
    assert [part.first for part in rows] == list(
        np.cumsum([0, *(len(part.label) for part in rows)])[:-1])
    # ties are broken by rounding: where two channels are equal both are right
    scores = np.take_along_axis(image, np.where(valid, label, 0)[None], 0)[0]
    np.testing.assert_array_equal(scores[valid], image.max(0)[valid])
    assert (label[~valid] == 255).all()
    confidence = np.concatenate([part.confidence() for part in rows])
    expected = np.where(valid, image.max(0) / np.maximum(image.sum(0, dtype=float), 1e-12), 0)
    np.testing.assert_allclose(confidence, expected, atol=1e-5)


@law
@given(st.integers(1, 90), st.integers(1, 24), st.integers(0, 2**32 - 1), st.data())
def test_rows_between_two_starts_of_tiles_are_those_of_the_whole(height, tile, seed, data):
    overlap = data.draw(st.integers(0, tile - 1))
    starts = [*tile_starts(height, tile, overlap), height]
    first, end = sorted(data.draw(st.lists(
        st.sampled_from(starts), min_size=2, max_size=2, unique=True)))

    def scorer(images: np.ndarray) -> np.ndarray:
        return images + images.mean((2, 3), keepdims=True)

    def rows(**limits: int) -> list[Rows]:
        reader = ArrayReader(random_image(height, 2 * tile, seed))
        return list(predict_rows(reader, Predictor(scorer, 3), tile, overlap, **limits))

    wanted = [part for part in rows() if first <= part.first < end]
    found = rows(first_row=first, end_row=end)
    assert [part.first for part in found] == [part.first for part in wanted]
    for part, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(part.scores, other.scores)
        np.testing.assert_array_equal(part.label, other.label)


@law
@given(st.integers(1, 254), st.integers(0, 2**32 - 1))
def test_the_best_class_is_that_of_argmax_ties_included(classes, seed):
    scores = np.random.default_rng(seed).integers(0, 4, (classes, 3, 5)).astype(np.float32)
    np.testing.assert_array_equal(_best(scores), scores.argmax(0))


def test_tiles_without_data_never_reach_the_network():
    valid = np.zeros((64, 96), bool)
    valid[40, 70] = True
    seen = []

    def scorer(images: np.ndarray) -> np.ndarray:
        seen.append(len(images))
        return images

    rows = list(predict_rows(ArrayReader(random_image(64, 96, 0), valid), Predictor(scorer, 3),
                             32, 0, batch=2))
    assert sum(seen) == 1
    assert sum((part.label != 255).sum() for part in rows) == 1


def test_a_long_run_of_tiles_without_data_is_not_held():
    read, done = [], []

    class Empty(ArrayReader):
        def read(self, window: Window) -> Tile:
            read.append(window)
            return super().read(window)

    reader = Empty(random_image(8, 1600, 0), np.zeros((8, 1600), bool))
    for _ in predict_rows(reader, Predictor(identity, 3), 8, 0, batch=2,
                          progress=lambda n, _: done.append(len(read) - n)):
        pass
    assert max(done) <= 4 * 2 + 2 * 2 + 2


def test_reading_runs_ahead_by_a_bounded_number_of_tiles():
    reader = ArrayReader(random_image(8, 800, 0))

    def scorer(images: np.ndarray) -> np.ndarray:
        with reader.lock:
            reader.open -= len(images)
        return images

    list(predict_rows(reader, Predictor(scorer, 3), 8, 0, batch=2, workers=3))
    assert reader.most_open <= 2 * 2 + 3 + 2  # read ahead, and the batch being collected


def test_an_error_of_a_reading_thread_arrives_and_ends_the_run():
    class Broken(ArrayReader):
        def read(self, window: Window) -> Tile:
            if window.col >= 16:
                raise OSError('block 3 is damaged')
            return super().read(window)

    with pytest.raises(OSError, match='block 3'):
        list(predict_rows(Broken(random_image(8, 64, 0)), Predictor(identity, 3), 8, 0))


def test_progress_counts_every_tile():
    counts = []
    list(predict_rows(ArrayReader(random_image(20, 20, 0)), Predictor(identity, 3), 8, 0,
                      progress=lambda done, total: counts.append((done, total))))
    assert counts == [(n, 9) for n in range(1, 10)]
