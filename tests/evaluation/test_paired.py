# SPDX-License-Identifier: Apache-2.0
"""Paired differences and their intervals: against scipy, by formulas and by laws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from crossearth.evaluation.paired import Difference, bootstrap_difference, differences

percents = st.floats(-50, 50).map(lambda value: round(value, 2))
groups_of = st.lists(st.lists(percents, min_size=1, max_size=4), min_size=1, max_size=4)
laws = settings(max_examples=25, deadline=None)


# ------------------------------------------------------------------------------------ pairs

def test_only_what_both_have_is_a_pair():
    ours = {('dry', 0): 5.0, ('dry', 1): 7.0, ('wet', 0): 1.0, ('high', 0): 2.0}
    theirs = {('dry', 1): 4.0, ('dry', 0): 4.5, ('wet', 0): 3.0, ('wet', 1): 9.0}
    assert differences(ours, theirs) == {'dry': [0.5, 3.0], 'wet': [-2.0]}
    assert differences({}, theirs) == {}


# ------------------------------------------------------------------------------------ intervals

@pytest.mark.parametrize('seed', [0, 7])
def test_a_single_source_is_scipys_percentile_bootstrap(seed):
    values = np.sort(np.random.default_rng(3).normal(2, 3, 6))
    found = bootstrap_difference([values], seed)
    theirs = bootstrap((values,), np.mean, method='percentile', n_resamples=9999,
                       rng=np.random.default_rng(seed), vectorized=True).confidence_interval
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_sources_with_one_seed_are_the_bootstrap_of_the_sources():
    values = np.random.default_rng(3).normal(2, 3, 8)
    found = bootstrap_difference(values[:, None])
    theirs = bootstrap((values,), np.mean, method='percentile', n_resamples=50_000,
                       rng=np.random.default_rng(0)).confidence_interval
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.1)


def test_sources_that_differ_widen_the_interval():
    """The variance of nested data: that of the sources' means, and that of seeds within them."""
    rng = np.random.default_rng(0)
    groups = rng.normal(0, 1, (12, 1)) + rng.normal(0, 0.5, (12, 5))
    found = bootstrap_difference(groups)
    variance = groups.mean(1).var() / 12 + groups.var(1).mean() / groups.size
    width = 2 * 1.96 * math.sqrt(variance)
    assert found.high - found.low == pytest.approx(width, rel=0.05)
    alone = bootstrap_difference([groups.ravel()])
    assert alone.high - alone.low < 0.7 * width


def test_every_pair_weighs_the_same():
    assert bootstrap_difference([[1.0, 2.0, 3.0], [10.0]]).mean == 4.0


@pytest.mark.parametrize(('groups', 'mean', 'pairs', 'text'), [
    ([], math.nan, 0, 'n/a'), ([[]], math.nan, 0, 'n/a'), ([[1.5]], 1.5, 1, '+1.50'),
    ([[math.nan, 1.0]], math.nan, 2, 'n/a')])
def test_too_little_has_no_interval(groups, mean, pairs, text):
    found = bootstrap_difference(groups)
    assert (found.mean, found.pairs) == (pytest.approx(mean, nan_ok=True), pairs)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert str(found) == text


def test_signs_are_shown():
    assert str(Difference(0.5, -0.25, 1, 3)) == '+0.50 [-0.25, +1.00]'


# ------------------------------------------------------------------------------------ laws

@laws
@given(groups_of, percents)
def test_a_shift_shifts_all(groups, shift):
    one = bootstrap_difference(groups)
    other = bootstrap_difference([[value + shift for value in group] for group in groups])
    for name in ('mean', 'low', 'high'):
        assert getattr(other, name) == pytest.approx(
            getattr(one, name) + shift, abs=1e-8, nan_ok=True)


@laws
@given(groups_of)
def test_equal_methods_do_not_differ(groups):
    numbers = {(source, seed): value for source, group in enumerate(groups)
               for seed, value in enumerate(group)}
    found = bootstrap_difference([*differences(numbers, numbers).values()])
    assert found.mean == 0
    assert found.pairs == len(numbers)
    if found.pairs > 1:
        assert found.low == found.high == 0


@laws
@given(groups_of, st.randoms(use_true_random=False))
def test_order_does_not_matter(groups, random):
    shuffled = [random.sample(group, len(group)) for group in random.sample(groups, len(groups))]
    one, other = bootstrap_difference(groups), bootstrap_difference(shuffled)
    assert vars(other) == pytest.approx(vars(one), abs=1e-9, nan_ok=True)


@laws
@given(groups_of)
def test_the_interval_lies_within_the_numbers(groups):
    found = bootstrap_difference(groups)
    values = np.concatenate(groups)
    if found.pairs > 1:
        assert values.min() - 1e-9 <= found.low <= found.high <= values.max() + 1e-9
