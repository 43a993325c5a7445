# SPDX-License-Identifier: Apache-2.0
"""What the pages show is true: code runs, commands parse, links resolve, messages are ours.

The Python blocks of a page are run one after the other in one folder and one namespace. A block
with a title is a file of that name; under `configs/` it is a config, which is loaded with all its
checks, as is any block that begins with `_base_`. Commands are parsed by the tools themselves and
not run, but a config that they name is loaded with the options that they give.
"""

import ast
import importlib
import importlib.util
import re
import runpy
import subprocess
import sys

import pytest
from docs.pages import PAGES, ROOT, anchors, blocks, commands, links, name

from crossearth.cli import main as cli
from crossearth.engine.cli import config_parser
from crossearth.engine.complete import complete_config
from crossearth.engine.config import load_config
from crossearth.registry import MODELS

EXTRAS = runpy.run_path(str(ROOT / 'setup.py'))['EXTRAS']
MAKEFILE = (ROOT / 'Makefile').read_text(encoding='utf-8')
NOT_RUN = 3  # blocks that may be left out, each with its reason
OWN_PATH = re.compile(
    r'(?:configs|tools|scripts|docs|benchmarks|tests)/[\w./-]+\.(?:py|sh|md|ipynb)')
TINY = {  # a model of the published shape that is built in milliseconds
    'model.backbone.weights': 'random',
    'model.backbone.arch': {'_delete_': True, 'embed_dim': 32, 'depth': 24, 'num_heads': 2},
    'model.backbone.adapter.query_dim': 16,
    'model.decode_head.in_channels': (32,) * 4, 'model.decode_head.feat_channels': 16,
    'model.decode_head.pixel_decoder': {
        'num_layers': 1, 'num_heads': 2, 'num_groups': 4, 'ffn_channels': 16},
    'model.decode_head.transformer_decoder': {
        'num_layers': 1, 'num_heads': 2, 'ffn_channels': 16},
    'model.mim_head.channels': 8}

with_page = pytest.mark.parametrize('page', PAGES, ids=name)


# ------------------------------------------------------------------------------------ Python blocks

def python_of(page):
    return [block for block in blocks(page) if block.language == 'python' and not block.reason]


@pytest.mark.parametrize('page', [*filter(python_of, PAGES)], ids=name)
def test_python_blocks_run(page, workplace, monkeypatch):
    python = python_of(page)
    monkeypatch.setattr(MODELS, '_module_dict', dict(MODELS.module_dict))
    namespace = {'__name__': 'page'}
    for number, block in enumerate(python):
        title = block.title or (
            f'configs/mine/block{number}.py' if block.text.startswith('_base_') else '')
        if title:
            (workplace / title).write_text(block.text)
        if title.startswith('configs/'):
            complete_config(load_config(title))
        elif not title:
            exec(compile(block.text, f'{name(page)}, block {number}', 'exec'), namespace)
    for title in [block.title for block in python if '/' not in block.title]:
        sys.modules.pop(title.removesuffix('.py'), None)


def test_few_blocks_are_not_run_and_each_has_a_reason():
    reasons = [block.reason for page in PAGES for block in blocks(page)
               if block.reason is not None]
    assert len(reasons) <= NOT_RUN
    assert all(len(reason) >= 10 for reason in reasons)


def test_every_reading_of_the_method_builds_a_model():
    page = (ROOT / 'docs' / 'method.md').read_text(encoding='utf-8')
    readings = re.findall(r'`(model\.[\w.]+=[^`]+)`', page)
    assert len(readings) >= 20
    own = ROOT / 'configs' / 'crossearth' / 'casid_sub2tem.py'
    for reading in readings:
        options = config_parser('').parse_args([str(own), '--cfg-options', reading]).cfg_options
        cfg = complete_config(load_config(own, {**TINY, **options}))
        assert MODELS.build(cfg.model).num_classes == 5, reading


# ---------------------------------------------------------------------------------------- commands

@with_page
def test_commands_are_understood(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(cli, 'run_tool', lambda main: None)
    own = {block.title for block in blocks(page)}
    for block in blocks(page):
        if block.language == 'bash' and not block.reason:
            assert subprocess.run(['bash', '-n', '-c', block.text], check=False).returncode == 0
            for settings, words in commands(block.text):
                understand(settings, words, own, monkeypatch)


def understand(settings, words, own, monkeypatch):
    """Fail unless the program would take these arguments."""
    shown = ' '.join(words)
    for path in words:
        assert not OWN_PATH.fullmatch(path) or path in own or (ROOT / path).is_file(), shown
    match words:
        case ['crossearth', *arguments]:
            assert cli.main(arguments) == 0, shown
        case ['make', *targets]:
            check_make(targets)
        case ['pip', 'install', *packages]:
            check_extras(packages)
        case ['python', '-m', module, *_]:
            assert importlib.util.find_spec(module), shown
        case ['python', script, *arguments]:
            check_script(script, arguments, own, monkeypatch)
        case ['bash', script, *arguments] if script.startswith('scripts/reproduce_'):
            text = (ROOT / script).read_text(encoding='utf-8')  # run by tests/scripts
            assert all(f'${{{key}' in text or f'${key}' in text for key in settings), settings
            if arguments:  # the last ones of those that the script gives
                check_script('tools/compare.py', arguments, own, monkeypatch)
        case ['bash', script, *arguments]:
            check_launcher(script, arguments, settings, own, monkeypatch)
        case ['jupyter', 'lab', folder]:
            assert [*(ROOT / folder).glob('*.ipynb')], shown
        case _:
            assert words[:1] == ['.'], shown  # activates the environment


def check_make(words):
    for word in words:
        variable, is_setting, _ = word.partition('=')
        pattern = rf'^{variable} \?=' if is_setting else rf'^{word}:.*## '
        assert re.search(pattern, MAKEFILE, re.MULTILINE), word


def check_extras(packages):
    for package in packages:
        if package.startswith('crossearth['):
            wanted = package.removeprefix('crossearth[').removesuffix(']').split(',')
            assert set(wanted) <= EXTRAS.keys(), package


def check_script(script, arguments, own, monkeypatch):
    """Parse as the script does, and load the config that it would read."""
    folder, file = script.split('/')
    monkeypatch.setattr(sys, 'argv', [script, *arguments])
    if folder == 'tools' and file.startswith('prepare_') and 'bluemarble' not in file:
        dataset = file.removeprefix('prepare_').removesuffix('.py')
        assert cli.main(['data', 'prepare', dataset, *arguments]) == 0
        return
    if folder == 'benchmarks' and 'def parse_args' not in (ROOT / script).read_text():
        return  # it imports what is not always there, and is run by hand
    if file == 'print_config.py':
        args = config_parser('').parse_args()
    else:
        args = runpy.run_path(str(ROOT / script))['parse_args']()
    config = getattr(args, 'config', None)
    if config and config not in own:
        load_config(ROOT / config, getattr(args, 'cfg_options', None))


def check_launcher(script, arguments, settings, own, monkeypatch):
    """`dist_*.sh CONFIG [CHECKPOINT] GPUS ...` and `slurm_*.sh PARTITION JOB CONFIG ...`."""
    text = (ROOT / script).read_text(encoding='utf-8')
    assert all(f'${{{key}' in text for key in settings), settings
    kind = re.search(r'_(train|test)\.sh$', script)[1]
    files = 1 + (kind == 'test')
    if 'slurm' in script:
        rest = arguments[2:]
    else:
        assert int(arguments[files]) > 0
        rest = arguments[:files] + arguments[files + 1:]
    check_script(f'tools/{kind}.py', rest, own, monkeypatch)


@with_page
def test_commands_in_sentences_are_understood(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(cli, 'run_tool', lambda main: None)
    text = re.sub(r'^```.*?^```$', '', page.read_text(encoding='utf-8'),
                  flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r'`((?:make|python|bash|pip) [^`\n]+)`', text):
        if not re.search(r'\b(?:SETTING|CONFIG|TARGET)\b', code):
            for settings, words in commands(code):
                understand(settings, words, set(), monkeypatch)


# --------------------------------------------------------------------------------- files and links

@with_page
def test_named_files_exist(page):
    text = re.sub(r'<!--.*?-->', '', page.read_text(encoding='utf-8'), flags=re.DOTALL)
    own = {block.title for block in blocks(page)}
    named = {path for path in OWN_PATH.findall(text) if not re.search('[A-Z]{4}', path)}
    assert [path for path in sorted(named - own) if not (ROOT / path).is_file()] == []


@with_page
def test_links_resolve(page):
    for link in links(page):
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            slugs, documented = anchors(target)
            module = next((m for m in documented if f'{anchor}.'.startswith(f'{m}.')), None)
            assert anchor in slugs or module, link
            if module:
                found = importlib.import_module(module)
                for part in anchor.removeprefix(module).split('.')[1:]:
                    found = getattr(found, part)


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / 'mkdocs.yml').read_text(encoding='utf-8').split('\nnav:\n')[1]
    listed = re.findall(r': ([\w/]+\.md)$', navigation, re.MULTILINE)
    assert sorted(listed) == sorted(
        str(page.relative_to(ROOT / 'docs')) for page in PAGES if page.name != 'README.md')


# ---------------------------------------------------------------------------------------- messages

def messages():
    """Patterns of the texts in the package that hold values, as far as they say something."""
    for file in (ROOT / 'crossearth').rglob('*.py'):
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
            match node:
                case ast.JoinedStr(values=parts):
                    words = [part.value if isinstance(part, ast.Constant) else None
                             for part in parts]
                case ast.Constant(value=str(text)):
                    words = [text]
                case _:
                    continue
            if sum(len(word or '') for word in words) >= 25:
                body = ''.join('.*' if word is None else re.escape(word) for word in words)
                yield re.compile(
                    rf'(?:error: )?(?:\S+\.py: )?{body}(?:(?<= ).*| .*)?\s*', re.DOTALL)


def test_messages_of_the_troubleshooting_page_are_ours():
    shown = [block.text for block in blocks(ROOT / 'docs' / 'troubleshooting.md')
             if block.language == 'text']
    assert len(shown) >= 10
    patterns = list(messages())
    left = [text for text in shown if not any(pattern.fullmatch(text) for pattern in patterns)]
    assert left == []


@pytest.mark.slow
def test_site_builds_without_a_warning(tmp_path):
    pytest.importorskip('material', reason='mkdocs-material is an extra (docs)')
    result = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / 'index.html').is_file()
