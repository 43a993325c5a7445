# SPDX-License-Identifier: Apache-2.0
"""A table of words, as Markdown and as LaTeX."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ['TextTable']

# `|` would end a cell of Markdown
MARKDOWN = str.maketrans({'|': r'\|'})
LATEX = str.maketrans({
    '\\': r'\textbackslash{}', '_': r'\_', '&': r'\&', '%': r'\%', '#': r'\#', '$': r'\$',
    '{': r'\{', '}': r'\}', '~': r'\textasciitilde{}', '^': r'\textasciicircum{}',
    '±': r'$\pm$', '†': r'$^\dagger$', 'Δ': r'$\Delta$', '−': '$-$', '–': '--'})  # noqa: RUF001 (what is printed)


@dataclass(frozen=True)
class TextTable:
    """A table whose first columns are words and whose other columns are numbers.

    Args:
        title: What it shows.
        header: Names of the columns.
        rows: Cells, as many in each row as there are columns.
        words: How many columns hold words; the others are set to the right.
        groups: Name above some columns -> first and last of them, counted from 0.
        notes: Sentences below the table.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    groups: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """Give the table and its notes, without the title.

        Markdown has no second line of names: that of a group goes before its first column's.
        """
        above = {first: name for name, (first, _) in self.groups.items()}
        header = [f'{above[index]}, {name}' if index in above else name
                  for index, name in enumerate(self.header)]
        ruler = ['---'] * self.words + ['---:'] * (len(self.header) - self.words)
        lines = [_line(header), f'|{"|".join(ruler)}|', *map(_line, self.rows)]
        return '\n'.join([*lines, *(f'\n{note}' for note in self.notes)]) + '\n'

    def latex(self) -> str:
        r"""Give a `table` float; it needs `\usepackage{booktabs}`."""
        columns = 'l' * self.words + 'r' * (len(self.header) - self.words)
        lines = [r'\begin{table}', r'\centering', rf'\caption{{{_tex(self.title)}}}',
                 rf'\begin{{tabular}}{{{columns}}}', r'\toprule', *self._latex_groups(),
                 _tex_line(self.header), r'\midrule', *map(_tex_line, self.rows), r'\bottomrule',
                 r'\end{tabular}', *(rf'\par {_tex(note)}' for note in self.notes), r'\end{table}']
        return '\n'.join(lines) + '\n'

    def _latex_groups(self) -> list[str]:
        if not self.groups:
            return []
        cells, rules, column = [], [], 0
        for name, (first, last) in sorted(self.groups.items(), key=lambda item: item[1]):
            cells += [''] * (first - column)
            cells.append(rf'\multicolumn{{{last - first + 1}}}{{c}}{{{_tex(name)}}}')
            rules.append(rf'\cmidrule(lr){{{first + 1}-{last + 1}}}')
            column = last + 1
        return [' & '.join(cells) + r' \\', ''.join(rules)]


def _line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cell.translate(MARKDOWN) for cell in cells)} |'


def _tex(text: str) -> str:
    return text.replace('`', '').translate(LATEX)


def _tex_line(cells: Sequence[str]) -> str:
    return ' & '.join(map(_tex, cells)) + r' \\'
