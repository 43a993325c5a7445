# SPDX-License-Identifier: Apache-2.0
"""The Markdown pages of the project, taken apart: code blocks, commands, links."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ['PAGES', 'ROOT', 'Block', 'anchors', 'blocks', 'commands', 'links', 'name']

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
FENCE = re.compile(
    r'(?:^<!-- not run: (?P<reason>.*) -->\n)?'
    r'^``` *(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL)
SETTING = re.compile(r'[A-Z_]+=')


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what follows `title=`, and why it is not run."""

    language: str
    text: str
    title: str
    reason: str | None


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    return [Block(found['language'], found['text'], found['title'] or '', found['reason'])
            for found in FENCE.finditer(page.read_text(encoding='utf-8'))]


def commands(text: str) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Simple commands of a shell block: variables that are set for one, and its words."""
    variables: dict[str, str] = {}
    for line in text.replace('\\\n', ' ').splitlines():
        lexer = shlex.shlex(f'{line}\n;', posix=True, punctuation_chars=';&|')
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if word.strip(';&|'):
                words.append(word)
            elif words:
                count = next((i for i, w in enumerate(words) if not SETTING.match(w)), len(words))
                settings = dict(w.split('=', 1) for w in words[:count])
                if count == len(words):  # set for the commands that follow
                    variables |= settings
                else:
                    yield settings, [variables[w[1:]] if w.startswith('$') else w
                                    for w in words[count:]]
                words = []


def _prose(page: Path) -> str:
    return re.sub(r'`[^`\n]*`', '', FENCE.sub('', page.read_text(encoding='utf-8')))


def links(page: Path) -> list[str]:
    """Targets of the page's links and pictures that lie in the project."""
    targets = re.findall(r'\]\(\s*([^)\s]+)\s*\)', _prose(page))
    return [target for target in targets if '://' not in target]


def anchors(page: Path) -> tuple[set[str], list[str]]:
    """Names of a page's headings, and the Python objects that it documents."""
    text = FENCE.sub('', page.read_text(encoding='utf-8'))
    titles = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
    slugs = {re.sub(r'[-\s]+', '-', re.sub(r'[^\w\s-]', '', title).strip().lower())
             for title in titles}
    return slugs, re.findall(r'^::: (\S+)$', text, re.MULTILINE)
