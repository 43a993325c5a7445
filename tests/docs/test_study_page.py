# SPDX-License-Identifier: Apache-2.0
"""The page of the study shows what was measured: files, pictures and numbers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docs.pages import ROOT

PAGE = (ROOT / 'docs' / 'study.md').read_text(encoding='utf-8')
INCLUDED = re.findall(r'^--8<-- "([^"]+)"$', PAGE, re.MULTILINE)


def numbers(node: Any) -> Iterator[float]:
    """All numbers in a JSON file."""
    match node:
        case dict():
            for value in node.values():
                yield from numbers(value)
        case list():
            for value in node:
                yield from numbers(value)
        case float() | int():
            yield node


def test_included_tables_exist():
    named = re.findall(r'--8<-- "([^"]+)"', PAGE)
    assert len(named) == 8
    folders = tuple(f'benchmarks/accuracy/{kind}_' for kind in ('study', 'demo_whole'))
    assert all(path.startswith(folders) for path in named)
    assert [path for path in INCLUDED if not (ROOT / path).is_file()] == []


def test_pictures_are_those_beside_the_tables():
    for name in re.findall(r'\]\(images/(study_\w+)\.png\)', PAGE):
        ours = ROOT / 'benchmarks/accuracy' / name / 'differences.png'
        assert (ROOT / 'docs/images' / f'{name}.png').read_bytes() == ours.read_bytes()


def test_numbers_in_sentences_are_measured():
    folders = {Path(path).parent for path in INCLUDED}
    known = [abs(value) for folder in folders
             for value in numbers(json.loads((ROOT / folder / 'summary.json').read_text()))]
    prose = re.sub(r'```.*?```|`[^`]*`|<!--.*?-->|\]\([^)]*\)', '', PAGE, flags=re.DOTALL)
    for told in re.findall(r'\d+\.\d+', prose):
        digits = len(told.partition('.')[2])
        assert any(f'{value:.{digits}f}' == told for value in known), told
