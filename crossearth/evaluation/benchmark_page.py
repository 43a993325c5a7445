# SPDX-License-Identifier: Apache-2.0
"""The tables of `docs/benchmark.md`, written from `crossearth.benchmark`."""

from crossearth.benchmark import DATA_SETS, METHODS, SETTINGS, TABLES, DataSet, Setting
from crossearth.errors import DataError

from .report import ABSENT
from .text_table import TextTable

__all__ = ['rewrite_page']

END = '<!-- end -->'


def rewrite_page(text: str) -> str:
    """Write the generated blocks of the page anew and keep the rest.

    A block stands between `<!-- generated: NAME -->` and `<!-- end -->`.

    Args:
        text: The page.

    Returns:
        The page with its tables as they follow from the benchmark.

    Raises:
        DataError: A block is missing.
    """
    for name, block in {'data sets': _data_sets(), 'settings': _settings()}.items():
        begin = f'<!-- generated: {name} -->'
        before, found, rest = text.partition(f'{begin}\n')
        _, ended, after = rest.partition(END)
        if not (found and ended):
            raise DataError(
                f"the page has no block '{begin}'. Add this line and '{END}' where the table "
                'shall stand.')
        text = f'{before}{begin}\n\n{block}\n{END}{after}'
    return text


def _data_sets() -> str:
    header = ['name', 'data set', 'domains', 'GSD, m', 'bands', 'images', 'licence']
    return TextTable('Data sets', header, [_data_set(d) for d in DATA_SETS.values()], 7).markdown()


def _data_set(data_set: DataSet) -> list[str]:
    gsd = dict.fromkeys(ABSENT if g is None else f'{g:g}' for g in data_set.gsd_m.values())
    counts = []
    for domain in data_set.domains:
        of_domain = [f'{split} {n}' for (place, split), n in data_set.counts.items()
                     if place == domain]
        counts.append(f'{domain}: {", ".join(of_domain)}')
    return [
        f'`{data_set.name}`', f'[{data_set.title}]({data_set.url})', ', '.join(data_set.domains),
        ', '.join(gsd), '; '.join(dict.fromkeys(data_set.bands.values())), '; '.join(counts),
        data_set.licence]


def _settings() -> str:
    parts = []
    for title in dict.fromkeys(TABLES.values()):
        settings = [found for found in SETTINGS if found.table == title]
        header = ['setting', 'config', 'gap', 'train', 'test', 'crop', 'τ_S, B_S', 'τ_M, B_M',
                  'MIM', 'metric', *METHODS.values()]
        table = TextTable(title, header, [_setting(found) for found in settings], 3)
        parts.append(f'### {title}\n\n{table.markdown()}')
    return '\n'.join(parts)


def _setting(found: Setting) -> list[str]:
    best = max(found.paper.values())
    numbers = [found.paper.get(method) for method in METHODS]
    return [
        found.id, f'`{found.config}`', found.gap.replace('+', ', '), str(found.n_train),
        str(found.n_test), str(found.crop), f'{found.style_ratio:g}, {found.style_block}',
        f'{found.mim_ratio:g}, {found.mim_block}', found.mim_loss, found.metric,
        *('' if n is None else f'**{n:.1f}**' if n == best else f'{n:.1f}' for n in numbers)]
