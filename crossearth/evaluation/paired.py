# SPDX-License-Identifier: Apache-2.0
"""The difference between two methods over runs that share everything else, and how sure it is.

A pair is two runs of the same source and seed. Pairs of one source have its data in common, so
they are no independent observations: the bootstrap draws sources first and then seeds of each, as
Davison and Hinkley do for nested data (Bootstrap Methods and their Application, 1997, section 3.8).
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

__all__ = ['Difference', 'bootstrap_difference', 'differences']

LEVEL, RESAMPLES = 0.95, 9999
MANY = 2  # fewer pairs have no interval

Group = TypeVar('Group', bound=Hashable)
Member = TypeVar('Member', bound=Hashable)


@dataclass(frozen=True)
class Difference:
    """A mean difference with its interval, in the unit of what was compared.

    Args:
        mean: Mean over the pairs; NaN for none, or if one of them is undefined.
        low: Lower end of the interval; NaN where there is none.
        high: Upper end.
        pairs: How many pairs there are.
    """

    mean: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return 'n/a'
        ends = '' if math.isnan(self.low) else f' [{self.low:+.2f}, {self.high:+.2f}]'
        return f'{self.mean:+.2f}{ends}'


def differences(
    numbers: Mapping[tuple[Group, Member], float], baseline: Mapping[tuple[Group, Member], float]
) -> dict[Group, list[float]]:
    """Subtract the baseline from a method where both have a number.

    Args:
        numbers: The method's by group and member, such as source and seed.
        baseline: The baseline's.

    Returns:
        Differences of each group that has a pair.
    """
    groups: dict[Group, list[float]] = {}
    for key, number in numbers.items():
        if key in baseline:
            groups.setdefault(key[0], []).append(number - baseline[key])
    return groups


def bootstrap_difference(groups: Sequence[Sequence[float]], seed: int = 0) -> Difference:
    """Give the mean of all pairs and its 95 % interval by the percentile bootstrap.

    Each resample draws as many groups as there are, with replacement, and from each drawn one as
    many members as it has. With a single group this is `scipy.stats.bootstrap` of its mean with
    `method='percentile'`, and the interval is about the seeds of this one group. The order of
    groups and members does not matter. Intervals of a handful of pairs are rather too narrow.

    Args:
        groups: Differences of each group.
        seed: Seed of the resampling.
    """
    # sorted: the same numbers in another order are drawn by other random numbers
    parts = [np.asarray(part) for part in sorted(sorted(group) for group in groups if len(group))]
    pairs = sum(map(len, parts))
    mean = float(np.concatenate(parts).mean()) if parts else math.nan
    if pairs < MANY or math.isnan(mean):
        return Difference(mean, math.nan, math.nan, pairs)
    rng = np.random.default_rng(seed)
    totals, counts = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    for drawn in rng.integers(len(parts), size=(len(parts), RESAMPLES)):
        for index, part in enumerate(parts):
            chosen = np.flatnonzero(drawn == index)
            members = rng.integers(len(part), size=(len(chosen), len(part)))
            totals[chosen] += part[members].sum(axis=1)
            counts[chosen] += len(part)
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(totals / counts, [tail, 100 - tail])
    return Difference(mean, float(low), float(high), pairs)
