# SPDX-License-Identifier: Apache-2.0
"""What is remembered of the files of a data set, and when it is not believed."""

import json
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crossearth.datasets import DomainSegDataset, checks
from crossearth.datasets.index import MAX_VALUES, FileIndex
from crossearth.datasets.labels import StoredLabel, read_stored
from crossearth.errors import DataError

YESTERDAY = 24 * 3600


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'crossearth' / 'index'


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what is read: `size NAME` and `label NAME`."""
    counts: Counter[str] = Counter()

    def count(name: str, kind: str) -> None:
        read = getattr(checks, name)

        def counted(path: Path) -> object:
            counts[f'{kind} {path.parent.name}/{path.stem}'] += 1
            return read(path)
        monkeypatch.setattr(checks, name, counted)

    count('_header_size', 'size')
    count('read_stored', 'label')
    return counts


def age(root: Path, seconds: float = YESTERDAY) -> Path:
    for path in root.rglob('*.*'):
        os.utime(path, (time.time() - seconds,) * 2)
    return root


def build(root: Path, **options) -> DomainSegDataset:
    return DomainSegDataset(**{'data_root': str(root), 'domains': 'dry',
                               'metainfo': {'classes': ('a', 'b', 'c')}} | options)


def test_second_start_reads_nothing_and_finds_the_same(make_pairs, reads: Counter[str]) -> None:
    root = age(make_pairs())
    first = [build(root)[i] for i in range(2)]
    assert set(reads) == {f'{kind} {name}' for name in ('labels/a', 'labels/b')
                          for kind in ('size', 'label')} | {'size images/a', 'size images/b'}
    reads.clear()
    assert [build(root)[i] for i in range(2)] == first
    assert not reads


@pytest.mark.parametrize('name', ['images/a', 'labels/b'])
def test_a_changed_file_alone_is_read_again(make_pairs, reads: Counter[str], name: str) -> None:
    root = age(make_pairs())
    build(root)
    reads.clear()
    path = root / f'train/dry/{name}.png'
    os.utime(path, ns=(0, path.stat().st_mtime_ns - 1))
    build(root)
    assert {read.split()[1] for read in reads} == {name}
    reads.clear()
    build(root)
    assert not reads


def test_a_changed_file_is_refused_where_it_was_accepted(make_pairs) -> None:
    root = age(make_pairs())
    build(root)
    path = root / 'train/dry/labels/a.png'
    Image.fromarray(np.full((6, 8), 7, np.uint8)).save(path)
    with pytest.raises(DataError, match=r'a\.png holds 7 \(48 px\)'):
        build(root)
    Image.fromarray(np.zeros((6, 9), np.uint8)).save(path)
    with pytest.raises(DataError, match=r'a\.png is 9 x 6 px'):
        build(root)


def test_another_size_with_the_same_time(make_pairs, reads: Counter[str]) -> None:
    root = age(make_pairs())
    build(root)
    path = root / 'train/dry/labels/a.png'
    state = path.stat()
    path.write_bytes(path.read_bytes() + b'\0')
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    reads.clear()
    build(root)
    assert set(reads) == {'size labels/a', 'label labels/a'}


def test_another_rule_is_judged_anew_without_reading(make_pairs, reads: Counter[str]) -> None:
    root = age(make_pairs())
    build(root)
    reads.clear()
    with pytest.raises(DataError, match=r'holds 2 .*but the 2 classes are stored as 0 to 1'):
        build(root, metainfo={'classes': ('a', 'b')})
    assert build(root, reduce_zero_label=True).rule.reduce_zero_label
    assert not reads


def test_a_fresh_file_is_not_remembered(make_pairs, reads: Counter[str], cache: Path) -> None:
    root = age(make_pairs(), seconds=0)
    build(root)
    reads.clear()
    build(root)
    assert len(reads) == 6
    assert not cache.exists()


def test_splits_of_a_root_share_the_index_and_lost_files_leave_it(make_pairs, cache: Path) -> None:
    make_pairs('test/dry/images', 'test/dry/labels', names=('c',))
    root = age(make_pairs())
    build(root)
    build(root, split='test')
    [file] = cache.iterdir()
    names = {Path(name).stem for name in json.loads(file.read_bytes())['files']}
    assert names == {'a', 'b', 'c'}
    for path in root.rglob('b.png'):
        path.unlink()
    os.utime(root / 'train/dry/images/a.png', (0, 0))
    build(root)
    names = {Path(name).stem for name in json.loads(file.read_bytes())['files']}
    assert names == {'a', 'c'}


@pytest.mark.parametrize('damage', [
    b'', b'{"version": 1, "files": {"x', b'[]', b'\xff\x00', b'{"version": 1}', b'7',
    b'{"version": 0, "files": {}}', b'{"version": 1, "files": []}',
    b'{"version": 1, "files": {"x": [[1, 2], [3]]}}',
    b'{"version": 1, "files": {"x": [[1], null, null]}}',
    b'{"version": 1, "files": {"x": [[1, 2], [3, "px"], null]}}',
    b'{"version": 1, "files": {"x": [[1, 2], null, [{"a": 1}, null]]}}',
    b'{"version": 1, "files": {"x": [[1, 2], null, [[1], null]]}}'])
def test_a_damaged_index_is_made_anew(
        make_pairs, reads: Counter[str], cache: Path, damage: bytes) -> None:
    root = age(make_pairs())
    build(root)
    [file] = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage)
    reads.clear()
    build(root)
    assert len(reads) == 6
    assert json.loads(file.read_bytes()) == json.loads(whole)


def test_a_cache_that_cannot_be_written_is_no_error(
        make_pairs, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = age(make_pairs())
    cache.parent.parent.write_text('a file where the folder would be')
    assert len(build(root)) == 2
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setattr(Path, 'home', lambda: (_ for _ in ()).throw(RuntimeError('no home')))
    assert len(build(root)) == 2


def test_a_missing_file_is_told_as_ever(make_pairs) -> None:
    root = age(make_pairs())
    (root / 'train/dry/labels/a.png').unlink()
    (root / 'train/dry/labels/a.png').symlink_to(root / 'nowhere.png')
    with pytest.raises(DataError, match=r'Cannot read the header of .*labels.a\.png'):
        build(root)


@pytest.mark.parametrize('mode', ['L', 'P', 'RGB', '1', 'I;16'])
def test_every_kind_of_label_comes_back_equal(tmp_path: Path, mode: str) -> None:
    ids = np.random.default_rng(0).integers(0, 3, (6, 8), np.uint8)
    if mode == 'RGB':
        ids = np.stack([ids, ids * 80, ids], -1)
    image = Image.fromarray(ids.astype(np.uint16) * 300) if mode == 'I;16' else Image.fromarray(ids)
    if mode == 'P':
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    path = tmp_path / 'label.png'
    (image.convert('1') if mode == '1' else image).save(path)
    age(tmp_path)
    index = FileIndex(tmp_path)
    first = index.label(path, read_stored)
    index.save()
    again = FileIndex(tmp_path).label(path, never)
    assert again == first == read_stored(path)
    assert list(again.ids or ()) == list(first.ids or ())


def test_noise_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / 'label.png'
    path.touch()
    age(tmp_path)
    for count, kept in ((MAX_VALUES, True), (MAX_VALUES + 1, False)):
        index = FileIndex(tmp_path)
        noise = StoredLabel(path, None, dict.fromkeys(range(count), 1))
        index.label(path, lambda path, noise=noise: noise)
        assert (index.label(path, lambda path: StoredLabel(path, {})) == noise) == kept


def never(path: Path) -> StoredLabel:
    raise AssertionError(f'{path} is read')
