# SPDX-License-Identifier: Apache-2.0
"""Confusion matrices: scikit-learn as oracle, laws, exact counts, bad input."""

from itertools import pairwise

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossearth.evaluation.confusion import confusion, scores

C = 4


def maps(seed, size=300, classes=C, ignored=0.2):
    """A random prediction and label map, some pixels ignored."""
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(classes, (size,), generator=g)
    wrong = torch.rand(size, generator=g) < 0.4
    prediction = torch.where(wrong, torch.randint(classes, (size,), generator=g), label)
    label[torch.rand(size, generator=g) < ignored] = 255
    return prediction, label


@pytest.mark.parametrize('seed', range(5))
def test_equals_sklearn(seed):
    prediction, label = maps(seed)
    keep = label != 255
    truth, predicted = label[keep].numpy(), prediction[keep].numpy()
    matrix = confusion(prediction, label, C)
    found = scores(matrix)

    np.testing.assert_array_equal(matrix, sk.confusion_matrix(truth, predicted, labels=range(C)))
    each = {'labels': range(C), 'average': None}
    np.testing.assert_allclose(found.iou, sk.jaccard_score(truth, predicted, **each))
    np.testing.assert_allclose(found.precision, sk.precision_score(truth, predicted, **each))
    np.testing.assert_allclose(found.recall, sk.recall_score(truth, predicted, **each))
    np.testing.assert_allclose(found.f1, sk.f1_score(truth, predicted, **each))
    assert found.overall_accuracy == pytest.approx(sk.accuracy_score(truth, predicted))
    assert found.mean_accuracy == pytest.approx(sk.balanced_accuracy_score(truth, predicted))
    assert found.mean_iou == pytest.approx(sk.jaccard_score(truth, predicted, average='macro'))
    assert found.mean_f1 == pytest.approx(sk.f1_score(truth, predicted, average='macro'))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), cuts=st.lists(st.integers(0, 300), max_size=6))
def test_sum_over_any_partition(seed, cuts):
    prediction, label = maps(seed)
    bounds = [0, *sorted(cuts), 300]
    parts = [confusion(prediction[a:b], label[a:b], C) for a, b in pairwise(bounds)]
    np.testing.assert_array_equal(sum(parts), confusion(prediction, label, C))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_order_of_pixels_and_names_of_classes_do_not_matter(seed):
    prediction, label = maps(seed)
    matrix = confusion(prediction, label, C)
    shuffle = torch.from_numpy(np.random.default_rng(seed).permutation(300))
    np.testing.assert_array_equal(matrix, confusion(prediction[shuffle], label[shuffle], C))

    rename = np.random.default_rng(seed).permutation(C)
    table = torch.full((256,), 255)
    table[:C] = torch.from_numpy(rename)
    renamed = confusion(table[prediction], table[label], C)
    np.testing.assert_array_equal(renamed[np.ix_(rename, rename)], matrix)
    assert scores(renamed).mean_iou == pytest.approx(scores(matrix).mean_iou)


def test_forty_million_pixels_are_exact():
    label = torch.zeros(8000, 5000, dtype=torch.uint8)  # one class alone is beyond 2^24
    prediction = torch.zeros_like(label)
    prediction[0, :3] = 1
    label[1, :2], label[2, :5] = 1, 255
    assert confusion(prediction, label, 2).tolist() == [[39_999_990, 3], [2, 0]]


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_small_types_do_not_wrap(dtype):
    label = torch.full((10,), 99, dtype=dtype)  # the cell 99 * 100 + 99 does not fit a byte
    assert confusion(label, label, 100)[99, 99] == 10


def test_inputs_stay_as_they_are():
    prediction, label = maps(0, ignored=0.0)
    before = label.clone()
    confusion(prediction, label, C)
    assert torch.equal(label, before)


def test_prediction_is_free_where_the_label_is_ignored():
    matrix = confusion(torch.tensor([255, 1]), torch.tensor([255, 1]), 2)
    assert matrix.tolist() == [[0, 0], [0, 1]]


def test_absent_class_is_nan_and_in_no_mean():
    # class 2 is absent from the truth; one pixel of class 0 is wrongly given to it
    found = scores(np.array([[7, 2, 1], [0, 10, 0], [0, 0, 0]]))
    assert found.present.tolist() == [True, True, False]
    for values in (found.iou, found.precision, found.recall, found.f1):
        assert np.isnan(values).tolist() == [False, False, True]
    assert found.mean_iou == pytest.approx((7 / 10 + 10 / 12) / 2)
    assert found.overall_accuracy == pytest.approx(17 / 20)  # the wrong pixel still counts


def test_present_class_that_was_never_predicted():
    found = scores(np.array([[5, 0], [3, 0]]))
    assert found.iou[1] == 0
    assert found.recall[1] == 0
    assert found.f1[1] == 0
    assert np.isnan(found.precision[1])
    assert found.mean_iou == pytest.approx(5 / 8 / 2)


def test_nothing_labelled():
    nothing = torch.full((3, 3), 255)
    matrix = confusion(torch.zeros_like(nothing), nothing, 2)
    assert not matrix.any()
    assert np.isnan([scores(matrix).mean_iou, scores(matrix).overall_accuracy]).all()


@pytest.mark.parametrize(('prediction', 'label', 'message'), [
    ([0, 2], [0, 1], r'prediction holds the value 2, but classes run from 0 to 1'),
    ([0, -1], [0, 1], r'prediction holds the value -1'),
    ([0, 1], [0, 7], r'label \(ignore_index is 255\) holds the value 7'),
    ([0, 1, 1], [0, 1], r'prediction \(3,\) and label \(2,\) differ in shape'),
    ([0.0, 1.0], [0, 1], r'prediction holds torch.float32, not class numbers'),
])
def test_bad_input(prediction, label, message):
    with pytest.raises(ValueError, match=message):
        confusion(torch.tensor(prediction), torch.tensor(label), 2)
