# SPDX-License-Identifier: Apache-2.0
"""Make a release: write version and changelog, build what users will install, and try it.

Nothing is committed, tagged or pushed; the commands for that are shown at the end. If a step fails,
the changed files are put back as they were.

Example:
    python scripts/release.py 0.2.0 --dry-run
"""

import argparse
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from crossearth.engine.cli import run_tool
from crossearth.errors import CrossEarthError

ROOT = Path(__file__).resolve().parents[1]
UNRELEASED = '## [Unreleased]\n'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('version', help='the new version, e.g. 0.2.0')
    parser.add_argument('--dry-run', action='store_true',
                        help='check, and show what would be written; change and build nothing')
    return parser.parse_args()


def main() -> None:
    """Check, write, build, try."""
    args = parse_args()
    check_repository(args.version)
    new = new_texts(ROOT, args.version, date.today())
    for path, text in new.items():
        print(difference(path.relative_to(ROOT), path.read_text(encoding='utf-8'), text))
    if args.dry_run:
        print('Dry run: nothing was written.')
        return
    with written(new), tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder) / 'builder', ROOT / 'dist')
        check_contents(wheel)
        try_wheel(wheel, Path(folder) / 'clean')
    print(f'dist/ holds {args.version}. Nothing was committed or pushed. Next:\n'
          f'  git commit -am "Release {args.version}" && git tag v{args.version}')


# -------------------------------------------------------------------------------------- refusals

def check_repository(version: str) -> None:
    """Refuse a tree that is not clean, and a version that exists.

    Raises:
        CrossEarthError: Either is the case.
    """
    if changed := git('status', '--porcelain'):
        raise CrossEarthError(f'{len(changed.splitlines())} files differ from the last commit, at '
                              f'first {changed.splitlines()[0][3:]}. Commit or remove them.')
    if git('tag', '--list', f'v{version}'):
        raise CrossEarthError(f'the tag v{version} exists already. Choose a higher version.')


def check_version(new: str, current: str) -> None:
    """Refuse what is no version X.Y.Z, or lower than the one in the package.

    Raises:
        CrossEarthError: Either is the case.
    """
    if not re.fullmatch(r'\d+\.\d+\.\d+', new):
        raise CrossEarthError(f'{new!r} is no version. Give three numbers, e.g. 0.2.0.')
    if numbers(new) < numbers(current):
        raise CrossEarthError(f'{new} is lower than the present version {current}. Choose a higher '
                              'one.')


def numbers(version: str) -> tuple[int, ...]:
    """The parts of a version, which compare as numbers."""
    return tuple(map(int, version.split('.')))


# ----------------------------------------------------------------------------------------- texts

def new_texts(root: Path, version: str, day: date) -> dict[Path, str]:
    """Give the new content of every file that names the version.

    Raises:
        CrossEarthError: The version is unfit, or a file has no place for it.
    """
    edits = {'crossearth/__init__.py': bumped, 'CHANGELOG.md': dated, 'CITATION.cff': cited}
    return {root / name: edit((root / name).read_text(encoding='utf-8'), version, day)
            for name, edit in edits.items()}


def bumped(text: str, version: str, day: date) -> str:
    """`crossearth/__init__.py` with another version."""
    found = re.search(r"^__version__ = '([^']+)'$", text, re.MULTILINE)
    if not found:
        raise CrossEarthError("crossearth/__init__.py has no line __version__ = '...'. Add it.")
    check_version(version, found[1])
    return text[:found.start(1)] + version + text[found.end(1):]


def dated(text: str, version: str, day: date) -> str:
    """The changelog with what is unreleased under the version and its day."""
    before, found, after = text.partition(UNRELEASED)
    if not found or not after.split('\n## [')[0].strip():
        raise CrossEarthError('CHANGELOG.md has nothing under [Unreleased]. Write down what users '
                              'will notice.')
    return f'{before}{UNRELEASED}\n## [{version}] - {day.isoformat()}\n{after}'


def cited(text: str, version: str, day: date) -> str:
    """`CITATION.cff` with the version and its day."""
    text = re.sub(r'^date-released: .*\n', '', text, flags=re.MULTILINE)
    text, count = re.subn(
        r'^version: .*$', f'version: {version}\ndate-released: {day.isoformat()}', text,
        flags=re.MULTILINE)
    if count != 1:
        raise CrossEarthError(f'CITATION.cff has {count} lines `version: ...`. Leave one.')
    return text


def difference(path: Path, old: str, new: str) -> str:
    """What changes in a file."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), str(path), str(path), n=1,
                                 lineterm='')
    return '\n'.join(lines)


@contextmanager
def written(texts: Mapping[Path, str]) -> Iterator[None]:
    """Write files; put them back if what follows fails."""
    old = {path: path.read_text(encoding='utf-8') for path in texts}
    try:
        for path, text in texts.items():
            path.write_text(text, encoding='utf-8')
        yield
    except BaseException:
        for path, text in old.items():
            path.write_text(text, encoding='utf-8')
        raise


# ----------------------------------------------------------------------------------------- wheel

def build(environment: Path, target: Path) -> Path:
    """Build source archive and, from that alone, the wheel; give the latter."""
    shutil.rmtree(target, ignore_errors=True)
    python = new_environment(environment)
    run(python, '-m', 'pip', 'install', '--quiet', 'build>=1.2')
    # not in ROOT, where a folder `build` may lie
    run(python, '-m', 'build', '--outdir', target, ROOT, folder=environment)
    return next(target.glob('*.whl'))


def check_contents(wheel: Path) -> None:
    """Refuse a wheel that lacks a file of the package.

    Raises:
        CrossEarthError: A file under version control is not in it.
    """
    with zipfile.ZipFile(wheel) as archive:
        lacking = missing(git('ls-files', 'crossearth').splitlines(), archive.namelist())
    if lacking:
        raise CrossEarthError(f'{wheel.name} lacks {len(lacking)} files of the package, such as '
                              f'{lacking[0]}. Name them in package_data of setup.py.')


def missing(tracked: Iterable[str], packed: Iterable[str]) -> list[str]:
    """Tracked files that were not packed."""
    return sorted(set(tracked) - set(packed))


def try_wheel(wheel: Path, environment: Path) -> None:
    """Install the wheel where nothing else is, and run it away from the sources."""
    python = new_environment(environment)
    run(python, '-m', 'pip', 'install', '--quiet', wheel)
    for arguments in (['--version'], ['--help'], ['doctor']):
        run(python.with_name('crossearth'), *arguments, folder=environment)


def new_environment(folder: Path) -> Path:
    """Make a virtual environment and give its Python."""
    run(sys.executable, '-m', 'venv', folder)
    return folder / 'bin' / 'python'


def run(*words: str | Path, folder: Path = ROOT) -> None:
    """Show a command and run it.

    Raises:
        CrossEarthError: It failed.
    """
    command = [str(word) for word in words]
    print(f'$ {" ".join(command)}', flush=True)
    # pip would take sources on PYTHONPATH for an installed package
    settings = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    if status := subprocess.run(command, cwd=folder, env=settings, check=False).returncode:
        raise CrossEarthError(f'`{" ".join(command)}` ended with status {status}; its own words '
                              'stand above. Mend that and start again.')


def git(*arguments: str) -> str:
    """What git says."""
    return subprocess.run(['git', *arguments], cwd=ROOT, check=True, capture_output=True,
                          text=True).stdout


if __name__ == '__main__':
    run_tool(main)
