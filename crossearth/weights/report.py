# SPDX-License-Identifier: Apache-2.0
"""What of a file went into a model: matched, missing and surplus tensors of each part."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ['PartReport', 'few', 'table']


@dataclass(frozen=True)
class PartReport:
    """What was loaded into one part of a model.

    Args:
        matched: Number of tensors of the part that the file filled.
        total: Number of tensors of the part.
        missing: Tensors of the part that the file does not hold.
        unexpected: Tensors of the file that the part does not have; they were left out.
        mismatched: Tensors of another shape in the file, with both shapes; they were left out.
        part: Name of the part.
        source: Name of the file.
        notes: What was converted, or left out on purpose.
    """

    matched: int
    total: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    part: str = 'backbone'
    source: str = ''
    notes: tuple[str, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """What keeps the part from being complete, one phrase a tensor."""
        return (*self.mismatched,
                *(f'{name} is missing' for name in self.missing),
                *(f'{name} is unexpected' for name in self.unexpected))


def table(title: str, reports: Iterable[PartReport]) -> str:
    """Lay reports out as text.

    Args:
        title: First line.
        reports: One for each part.
    """
    lines = [title, f'  {"part":9} {"matched":>9} {"missing":>7} {"unexpected":>10}  from']
    for report in reports:
        notes = '; '.join((report.source, *report.notes))
        lines.append(f'  {report.part:9} {f"{report.matched}/{report.total}":>9} '
                     f'{len(report.missing) + len(report.mismatched):>7} '
                     f'{len(report.unexpected):>10}  {notes}'.rstrip())
        if report.faults:
            lines.append(f'            {few(report.faults)}')
    return '\n'.join(lines)


def few(items: Sequence[str], count: int = 3) -> str:
    """Name the first `count` items, and how many more there are."""
    rest = f' and {len(items) - count} more' if len(items) > count else ''
    return (', '.join(items[:count]) or 'none') + rest
