# SPDX-License-Identifier: Apache-2.0
"""How label files may store classes, and which of these ways a set of files follows.

The same folders circulate with ids from 0, with ids from 1 and with 0/255 masks. A wrong guess
shifts every class without any other sign, so a way is taken only if all values that were read fit
it, and if no other way that the layout allows would read them differently.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from crossearth.datasets.labels import IGNORE_INDEX, LabelRule, StoredLabel, colour_codes
from crossearth.errors import DataError

__all__ = ['BLURRED_MASK', 'MASKS', 'Colours', 'Ids', 'detect_ids', 'from_one', 'from_zero']


@dataclass(frozen=True)
class Ids:
    """One way to store classes.

    Args:
        text: What it is, in words.
        argument: What a user writes to have labels read this way.
        values: Stored ids that may occur.
        rule: Arguments of `LabelRule` that turn them into train ids.
        evidence: Where not empty, ids of which at least one must occur.
        refusal: Where not empty, why labels of this kind are not read.
    """

    text: str
    argument: str
    values: AbstractSet[int]
    rule: Mapping[str, Any] = field(default_factory=dict)
    evidence: AbstractSet[int] = frozenset()
    refusal: str = ''

    def fits(self, ids: AbstractSet[int] | None, colours: AbstractSet[int],
             mapped: AbstractSet[int] = frozenset()) -> bool:
        """Whether labels may be stored this way.

        Args:
            ids: All ids of the files; None if a file stores colours only.
            colours: All colour codes of the files that are not plain grey images.
            mapped: Ids that the user's `label_map` names, which may occur as well.
        """
        if ids is None:
            return False
        known = self.values | {old + int('reduce_zero_label' in self.rule) for old in mapped}
        return ids <= known and (not self.evidence or bool(ids & self.evidence))


@dataclass(frozen=True)
class _Mask(Ids):
    def fits(self, ids: AbstractSet[int] | None, colours: AbstractSet[int],
             mapped: AbstractSet[int] = frozenset()) -> bool:
        # 0, 1 and 255 without any other value is 0/1 with ignored pixels, not compression noise
        return (ids is not None and ids <= self.values and max(ids) >= MASK_THRESHOLD
                and not (1 in ids and ids <= {0, 1, 255}))


@dataclass(frozen=True)
class _BlurredMask(_Mask):
    """A mask in a place where ids are expected: a stray id must not make it one."""

    def fits(self, ids: AbstractSet[int] | None, colours: AbstractSet[int],
             mapped: AbstractSet[int] = frozenset()) -> bool:
        # compression blurs both sides, so noise beside 0 comes with noise beside 255
        noise = (ids or frozenset()) - {0, 255}
        return super().fits(ids, colours, mapped) and (not noise or max(noise) >= MASK_THRESHOLD)


@dataclass(frozen=True)
class Colours(Ids):
    """Labels that are pictures: the palette gives the colour of every class."""

    def fits(self, ids: AbstractSet[int] | None, colours: AbstractSet[int],
             mapped: AbstractSet[int] = frozenset()) -> bool:
        """See `Ids`; files that can be nothing else fit, and the rule names a foreign colour."""
        known = set(colour_codes(self.rule['colours']).tolist())
        return ids is None or (bool(colours) and colours <= known)

    @classmethod
    def of(cls, palette: Sequence[Sequence[int]]) -> 'Colours':
        """Colours of the classes in the order of their train ids."""
        return cls('the colours of the palette', 'a metainfo.palette of these colours', frozenset(),
                   {'colours': [list(colour) for colour in palette]})


def from_zero(num_classes: int) -> Ids:
    """Train ids as they are, 255 = ignored."""
    return Ids(f'ids 0 to {num_classes - 1}, 255 = ignored', 'reduce_zero_label=False',
               frozenset({*range(num_classes), IGNORE_INDEX}))


def from_one(num_classes: int, *, zero: bool = True) -> Ids:
    """Class c as c + 1, and 0 = ignored unless `zero` rules it out."""
    return Ids(f'ids 1 to {num_classes}{", 0 = ignored" if zero else ""}', 'reduce_zero_label=True',
               frozenset(range(0 if zero else 1, num_classes + 1)), {'reduce_zero_label': True})


MASK_THRESHOLD = 128
_MASK = ('a mask of 0 and 255, divided at 128', 'label_map={255: 1}', frozenset(range(256)),
         {'threshold': MASK_THRESHOLD})
BLURRED_MASK = _BlurredMask(*_MASK)
MASKS = (Ids('a mask of 0 and 1', 'label_map={255: 255}', frozenset({0, 1})), _Mask(*_MASK))
"""Masks of two classes: 0/1 as they are; where a greater value occurs, 128 and more is class 1."""


def detect_ids(ways: Sequence[Ids], labels: Sequence[StoredLabel],
               make_rule: Callable[[Ids], LabelRule], where: str) -> Ids:
    """Find the way in which files store their classes.

    Args:
        ways: What the layout allows.
        labels: What the files hold.
        make_rule: Gives the whole rule of a way, with what the user sets.
        where: Name of the data set and its root, for messages.

    Returns:
        The one way; the first of several that give the same train ids.

    Raises:
        DataError: No way fits, or several do and differ, or labels of this kind are refused.
    """
    colours_only = next((label for label in labels if label.ids is None), None)
    ids = None if colours_only else frozenset().union(*(label.ids or () for label in labels))
    colours = frozenset().union(*(label.colours or () for label in labels))
    fitting = [way for way in ways if way.fits(ids, colours, _mapped(make_rule(way), way))]
    # colours that are all in the palette are no accident, the order of a palette PNG may be
    fitting = [way for way in fitting if isinstance(way, Colours)] or fitting
    if ids is not None and len({tuple(make_rule(way).table[sorted(ids)]) for way in fitting}) == 1:
        fitting = fitting[:1]
    if not fitting and colours_only:
        make_rule(ways[0]).check(colours_only)
    if len(fitting) != 1:
        raise DataError(_complaint(fitting, ways, ids or frozenset(), labels, where))
    if fitting[0].refusal:
        raise DataError(f'{where}: the labels hold {_listed(ids or ())}: {fitting[0].text}. '
                        f'{fitting[0].refusal}')
    return fitting[0]


def _mapped(rule: LabelRule, way: Ids) -> AbstractSet[int]:
    own = way.rule.get('label_map')
    return frozenset() if rule.label_map is None or rule.label_map == own else set(rule.label_map)


def _complaint(fitting: Sequence[Ids], ways: Sequence[Ids], ids: AbstractSet[int],
               labels: Sequence[StoredLabel], where: str) -> str:
    choice = [way for way in fitting or ways if not way.refusal]
    example = next((label for label in labels if set(label.ids or ()) - ways[0].values), labels[0])
    verdict = ('More than one reading fits, and a wrong guess would shift the classes: say which by'
               if fitting else 'No known reading fits: correct the files, or say how they are '
               'stored by')
    readings = ' or '.join(f'{way.argument} ({way.text})' for way in choice)
    return (f'{where}: the labels ({len(labels)} were read) hold {_listed(ids)}, for example '
            f'{example.path}: {_listed(example.ids or ())}. {verdict} {readings}.')


def _listed(values: AbstractSet[int] | Sequence[int] | Mapping[int, int]) -> str:
    """Sorted values, runs as `0 to 6`."""
    ordered = sorted(values)
    starts = [i for i, value in enumerate(ordered) if i == 0 or ordered[i - 1] != value - 1]
    runs = [(ordered[start], ordered[stop - 1])
            for start, stop in zip(starts, [*starts[1:], len(ordered)], strict=True)]
    texts = [f'{a}' if a == b else f'{a}, {b}' if b == a + 1 else f'{a} to {b}'
             for a, b in runs[:5]]
    return ', '.join(texts) + (', ...' if len(runs) > 5 else '')
