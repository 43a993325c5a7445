# SPDX-License-Identifier: Apache-2.0
"""Numbers behind feature maps, confusion, attention and errors, against short formulas."""

import csv

import numpy as np
import pytest
from fake_runs import fake_report
from hypothesis import given, settings
from hypothesis import strategies as st
from tilesets import FakeSubject, tile_set

from crossearth.visualization.attention_maps import Query, attention_numbers
from crossearth.visualization.confusion_chart import row_shares, write_confusion
from crossearth.visualization.errors import Reliability, rank_errors, write_errors
from crossearth.visualization.feature_maps import fit_axes, write_features
from crossearth.visualization.map_grid import write_maps


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


# ------------------------------------------------------------------------------------ features

def test_axes_are_the_known_ones():
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    own = rng.normal(size=(2, 30, 30, 6)) * [9, 5, 3, 0.1, 0.1, 0.1]
    axes = fit_axes(list(own @ rotation.T + 7))
    np.testing.assert_allclose(np.abs(axes.axes @ rotation[:, :3]), np.eye(3), atol=0.05)
    np.testing.assert_allclose(axes.explained, np.array([81, 25, 9]) / 115.03, atol=0.02)
    assert (axes.axes[np.arange(3), np.abs(axes.axes).argmax(1)] > 0).all()


def test_colours_mean_the_same_in_all_images():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 8, 8, 5))
    other[0, 0] = one[3, 4]
    axes = fit_axes([one, other])
    np.testing.assert_array_equal(axes.paint(other)[0, 0], axes.paint(one)[3, 4])
    share = np.concatenate([axes.paint(one), axes.paint(other)]).reshape(-1, 3)
    assert (share.min(0) == 0).all()
    assert (share.max(0) == 255).all()


def test_norms_are_written(tmp_path):
    tiles = tile_set(1)
    picture, table = write_features([FakeSubject()], tiles, tmp_path, layer='out2')
    assert picture.is_file()
    cells = FakeSubject().features(tiles.tiles[0].image, 'out2')
    assert float(rows_of(table)[0]['mean_norm']) == pytest.approx(
        np.sqrt((cells ** 2).sum(-1)).mean(), rel=1e-4)


# ------------------------------------------------------------------------------------ confusion

def test_rows_add_up_to_hundred_and_absent_classes_are_unknown():
    shares = row_shares(np.array([[3, 1], [0, 0]]))
    assert shares[0].tolist() == [75, 25]
    assert np.isnan(shares[1]).all()


def test_confusion_files(tmp_path):
    report = fake_report('dry', {'dry': 50, 'wet': 20, 'cold': 10})
    *pictures, table = write_confusion(report, tmp_path)
    assert all(path.is_file() for path in pictures)
    row = next(row for row in rows_of(table)
               if (row['domain'], row['truth'], row['prediction']) == ('wet', 'low', 'high'))
    matrix = report.domains['wet'].matrix
    assert int(row['pixels']) == matrix[0, 1]
    assert float(row['percent']) == pytest.approx(100 * matrix[0, 1] / matrix[0].sum(), rel=1e-4)
    assert row['unseen'] == '1'


# ------------------------------------------------------------------------------------ attention

def test_uniform_attention_spreads_over_all_and_prefers_nothing():
    label = np.zeros((8, 8), np.uint8)
    label[:, 6:] = 1
    label[0] = 255
    found = attention_numbers(np.full((4, 4), 1 / 16), Query(1, 3, 3, 7), label)
    assert found['patches'] == pytest.approx(16)
    assert found['same_class'] == pytest.approx(found['same_class_chance']) == 0.25


def test_attention_on_one_patch():
    label = np.zeros((8, 8), np.uint8)
    label[:, 4:] = 1
    shares = np.zeros((4, 4))
    shares[3, 0] = 1
    found = attention_numbers(shares, Query(0, 0, 1, 1), label)
    assert found == {'patches': 1, 'distance_px': 6, 'same_class': 1, 'same_class_chance': 0.5}
    label[1, 1] = 255
    assert np.isnan(attention_numbers(shares, Query(0, 0, 1, 1), label)['same_class'])


# ------------------------------------------------------------------------------------ errors

@given(st.integers(1, 300), st.integers(0, 10**6))
@settings(deadline=None, max_examples=30)
def test_ece_is_the_formula_in_any_number_of_parts(number, seed):
    rng = np.random.default_rng(seed)
    confidence, right = rng.random(number).astype(np.float32), rng.random(number) < 0.6
    curve, cut = Reliability(), number // 2
    for part in (slice(None, cut), slice(cut, None)):
        curve.add(confidence[part], right[part])
    expected = 0.0
    for index in range(15):
        inside = (confidence * 15 >= index) & (confidence * 15 < index + 1)
        if inside.any():
            gap = right[inside].mean() - confidence[inside].mean(dtype=np.float64)
            expected += inside.mean() * abs(gap)
    assert curve.ece == pytest.approx(expected, abs=1e-9)
    assert curve.pixels.sum() == number


def test_full_confidence_is_in_the_last_bin_and_nothing_has_no_error():
    curve = Reliability()
    assert np.isnan(curve.ece)
    curve.add(np.ones(4), np.array([True, True, True, False]))
    assert curve.pixels[-1] == 4
    assert curve.ece == 0.25


def test_errors_count_by_confidence_and_ignore_what_has_no_label():
    label = np.array([[0, 0, 1, 255]])
    told, sure = np.array([[0, 1, 0, 1]]), np.array([[0.9, 0.6, 0.8, 1.0]])
    found = rank_errors(label, told, sure)
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.sure_errors == pytest.approx((0.6 + 0.8) / 3)
    assert (found.truth, found.prediction) in ((0, 1), (1, 0))
    assert rank_errors(np.full((1, 2), 255), told[:, :2], sure[:, :2]).truth == -1


def test_errors_are_ranked(tmp_path):
    _, table, _, bins = write_errors(FakeSubject(), tile_set(), tmp_path, worst=2)
    ranked = [float(row['sure_errors']) for row in rows_of(table)]
    assert ranked == sorted(ranked, reverse=True)
    assert len(ranked) == 6
    assert sum(int(row['pixels']) for row in rows_of(bins)) == 6 * 14 * 16


# ------------------------------------------------------------------------------------ maps

def test_maps_are_scored_on_labelled_pixels(tmp_path):
    tiles = tile_set(1)
    _, table = write_maps([FakeSubject()], tiles, tmp_path)
    tile = tiles.tiles[0]
    right = ((tile.image[..., 0] > 127) == tile.label)[2:]
    assert float(rows_of(table)[0]['aAcc']) == pytest.approx(100 * right.mean(), rel=1e-4)
