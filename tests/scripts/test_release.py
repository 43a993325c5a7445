# SPDX-License-Identifier: Apache-2.0
"""The release script without a build: what it refuses and writes; and the files beside it."""

import re
import runpy
import sys
import zipfile
from datetime import date
from pathlib import Path

import pytest
import yaml

import crossearth
from crossearth.errors import CrossEarthError

ROOT = Path(__file__).resolve().parents[2]
DAY = date(2027, 1, 31)
CHANGELOG = '# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n\n## [0.1.0] - 2026-12-01\n'
REFERENCE_TYPES = ('article', 'conference-paper', 'generic')  # of CFF 1.2.0, as far as we use them


@pytest.fixture
def release():
    return runpy.run_path(str(ROOT / 'scripts' / 'release.py'))


@pytest.mark.parametrize(('new', 'message'), [
    ('0.2', "'0.2' is no version"), ('v0.2.0', 'is no version'), ('0.2.0rc1', 'is no version'),
    ('0.9.9', '0.9.9 is lower than the present version 0.10.0')])
def test_unfit_version_is_refused(release, new, message):
    with pytest.raises(CrossEarthError, match=re.escape(message)):
        release['check_version'](new, '0.10.0')


@pytest.mark.parametrize('new', ['0.10.0', '0.10.1', '1.0.0'])
def test_present_and_higher_versions_are_taken(release, new):
    release['check_version'](new, '0.10.0')


def test_version_is_replaced_and_nothing_else(release):
    text = "x = '0.1.0'\n__version__ = '0.1.0'\ny = 1\n"
    assert release['bumped'](text, '0.2.0', DAY) == "x = '0.1.0'\n__version__ = '0.2.0'\ny = 1\n"
    with pytest.raises(CrossEarthError, match='no line __version__'):
        release['bumped']('', '0.2.0', DAY)


def test_changelog_gets_a_dated_section(release):
    assert release['dated'](CHANGELOG, '0.2.0', DAY) == CHANGELOG.replace(
        '## [Unreleased]\n', '## [Unreleased]\n\n## [0.2.0] - 2027-01-31\n')


@pytest.mark.parametrize('text', ['', '## [Unreleased]\n\n## [0.1.0] - 2026-12-01\n\n- Old.\n'])
def test_empty_changelog_is_refused(release, text):
    with pytest.raises(CrossEarthError, match='nothing under'):
        release['dated'](text, '0.2.0', DAY)


def test_citation_names_version_and_day_once(release):
    text = (ROOT / 'CITATION.cff').read_text(encoding='utf-8')
    once = release['cited'](text, '0.2.0', DAY)
    again = yaml.safe_load(release['cited'](once, '0.3.0', date(2027, 2, 1)))
    assert yaml.safe_load(once) == {**yaml.safe_load(text), 'version': '0.2.0',
                                    'date-released': DAY}
    assert (again['version'], again['date-released']) == ('0.3.0', date(2027, 2, 1))


def test_the_files_of_the_project_have_a_place_for_a_release(release):
    major = int(crossearth.__version__.split('.')[0])
    texts = release['new_texts'](ROOT, f'{major + 1}.0.0', DAY)
    assert {path.name for path in texts} == {'__init__.py', 'CHANGELOG.md', 'CITATION.cff'}
    assert all(f'{major + 1}.0.0' in text and text != path.read_text(encoding='utf-8')
               for path, text in texts.items())
    shown = release['difference'](Path('CITATION.cff'), 'version: 1\n', 'version: 2\n')
    assert '-version: 1\n+version: 2' in shown


def test_failure_puts_files_back(release, tmp_path):
    file = tmp_path / 'file'
    file.write_text('old')
    files = release['written']({file: 'new'})
    files.__enter__()
    assert file.read_text() == 'new'
    assert not files.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)  # the error goes on
    assert file.read_text() == 'old'
    with release['written']({file: 'new'}):
        pass
    assert file.read_text() == 'new'


@pytest.mark.parametrize(('answers', 'message'), [
    ({'status': ' M setup.py\n?? notes\n'}, r'2 files differ .* at first setup\.py'),
    ({'tag': 'v0.2.0\n'}, r'the tag v0\.2\.0 exists')])
def test_dirty_tree_and_existing_tag_are_refused(release, answers, message):
    check = release['check_repository']
    check.__globals__['git'] = lambda command, *_: answers.get(command, '')
    with pytest.raises(CrossEarthError, match=message):
        check('0.2.0')
    answers.clear()
    check('0.2.0')


def test_wheel_without_a_file_of_the_package_is_refused(release, tmp_path):
    wheel = tmp_path / 'a.whl'
    with zipfile.ZipFile(wheel, 'w') as archive:
        archive.writestr('crossearth/__init__.py', '')
    check = release['check_contents']
    check.__globals__['git'] = lambda *_: 'crossearth/__init__.py\n'
    check(wheel)
    check.__globals__['git'] = lambda *_: 'crossearth/__init__.py\ncrossearth/data/a.csv\n'
    with pytest.raises(CrossEarthError, match=r'lacks 1 files .* crossearth/data/a\.csv'):
        check(wheel)


def test_commands_run_away_from_the_sources_and_may_fail(release, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    show = "import os; open('seen', 'w').write(os.environ.get('PYTHONPATH', 'none'))"
    release['run'](sys.executable, '-c', show, folder=tmp_path)
    assert (tmp_path / 'seen').read_text() == 'none'
    with pytest.raises(CrossEarthError, match='ended with status 3'):
        release['run'](sys.executable, '-c', 'raise SystemExit(3)')


# ------------------------------------------------------------------------------- files beside it

def test_citation_has_what_its_schema_requires():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
    assert citation['cff-version'] == '1.2.0'
    assert citation.keys() >= {'message', 'title', 'authors'}
    assert citation['version'] == crossearth.__version__
    assert citation['license'] == 'Apache-2.0'
    paper = citation['preferred-citation']
    assert paper.keys() >= {'type', 'title', 'authors'}
    assert paper['type'] in REFERENCE_TYPES
    assert all(author.keys() == {'family-names', 'given-names'} for author in paper['authors'])
    assert all(item.keys() <= {'type', 'value', 'description'} for item in paper['identifiers'])
    assert f'title={{{paper["title"]}}}' in (ROOT / 'README.md').read_text(encoding='utf-8')


def test_context_of_the_image_holds_what_it_copies_and_installs():
    dockerfile = (ROOT / 'Dockerfile').read_text(encoding='utf-8')
    taken = re.findall(r'^!(\S+)$', (ROOT / '.dockerignore').read_text(encoding='utf-8'),
                       re.MULTILINE)
    assert all((ROOT / path).exists() for path in taken)
    assert {'setup.py', 'requirements.txt', 'crossearth', 'pyproject.toml'} <= {*taken}
    extras = runpy.run_path(str(ROOT / 'setup.py'))['EXTRAS']
    for stage in ('cpu', 'cuda'):
        body = re.search(rf'^FROM torch-{stage} AS {stage}\n(.*?)(?=^FROM|\Z)', dockerfile,
                         re.MULTILINE | re.DOTALL)[1]
        assert 'USER crossearth' in body
        named = re.search(r"'\.\[([\w,]+)\]'", body)[1]
        assert {*named.split(',')} <= extras.keys()
