# SPDX-License-Identifier: Apache-2.0
import io
import stat
import zipfile

import pytest
from official_copies import zipped

from crossearth.datasets.prepare import archives
from crossearth.datasets.prepare.archives import find_members
from crossearth.errors import DataError


def read_all(sources, scratch, **options):
    return {member.path: member.read() for member in find_members(sources, scratch, **options)}


def test_files_in_folders_and_archives_of_any_depth(tmp_path):
    inner = zipped({'deep/a.png': b'a'})
    outer = zipped({'b.png': b'b', 'x/in.zip': inner, 'y/in.zip': inner})  # compressed, stored
    with zipfile.ZipFile(io.BytesIO(outer)) as archive:
        ways = {entry.filename: entry.compress_type for entry in archive.infolist()}
    assert ways['x/in.zip'] != ways['y/in.zip'] == zipfile.ZIP_STORED
    source = tmp_path / 'src'
    (source / 'sub').mkdir(parents=True)
    (source / 'sub' / 'outer.zip').write_bytes(outer)
    (source / 'c.png').write_bytes(b'c')
    assert read_all([source], tmp_path / 'scratch') == {
        'src/c.png': b'c', 'src/sub/outer.zip/b.png': b'b',
        'src/sub/outer.zip/x/in.zip/deep/a.png': b'a',
        'src/sub/outer.zip/y/in.zip/deep/a.png': b'a'}
    # only the one that is compressed twice was unpacked, and where it may be
    assert len([*(tmp_path / 'scratch').iterdir()]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {'src', 'scratch'}


def test_stored_archive_behind_other_bytes_is_read_in_place(tmp_path):
    inner = zipped({'a.png': b'a'})
    (tmp_path / 'o.zip').write_bytes(b'#!stub\n' + zipped({'in.zip': inner, 'b.png': b'b' * 99}))
    assert read_all([tmp_path / 'o.zip'], tmp_path / 's') == {
        'o.zip/in.zip/a.png': b'a', 'o.zip/b.png': b'b' * 99}
    assert not (tmp_path / 's').exists()


def test_left_overs_unneeded_archives_and_our_folder_are_left_out(tmp_path):
    (tmp_path / 'a.zip').write_bytes(zipped({
        'a.png': b'a', '__MACOSX/._a.png': b'x', '.DS_Store': b'x'}))
    (tmp_path / '1_DSM.zip').write_bytes(b'not even a zip')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'b.png').write_bytes(b'b')
    found = read_all([tmp_path], tmp_path / 's', unneeded='dsm', skip=tmp_path / 'out')
    assert [*found.values()] == [b'a']


def test_domain_before_a_source(tmp_path):
    (tmp_path / 'a=b.zip').write_bytes(zipped({'a.png': b'a'}))
    domains = [member.domain for member in find_members(
        [f'aerial={tmp_path / "a=b.zip"}', tmp_path / 'a=b.zip'], tmp_path / 's')]
    assert domains == ['aerial', None]


def test_stamp_follows_the_content(tmp_path):
    stamps = []
    for content in (b'a', b'b', b'a'):
        (tmp_path / 'a.zip').write_bytes(zipped({'a.png': content}))
        stamps += [member.stamp for member in find_members([tmp_path / 'a.zip'], tmp_path / 's')]
    assert stamps[0] == stamps[2] != stamps[1]


def hostile(name, mode=stat.S_IFREG, data=b'x'):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('good.png', b'good')
        entry = zipfile.ZipInfo(name)
        entry.external_attr = (mode | 0o777) << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, data)
    return buffer.getvalue()


HOSTILE = {
    'parent': (hostile('a/../../evil.png'), 'leads out of the folder'),
    'windows': (hostile('..\\evil.png'), 'leads out of the folder'),
    'absolute': (hostile('/tmp/evil.png'), 'leads out of the folder'),
    'drive': (hostile('C:/evil.png'), 'leads out of the folder'),
    'link': (hostile('link.png', stat.S_IFLNK, b'/etc/passwd'), 'is a link or a device'),
    'device': (hostile('pipe.png', stat.S_IFIFO), 'is a link or a device'),
    'bomb': (hostile('bomb.png', data=bytes(40 << 20)), 'decompression bomb'),
}


@pytest.mark.parametrize('nested', [False, True])
@pytest.mark.parametrize('kind', HOSTILE)
def test_hostile_archive_is_refused_before_anything_is_read(tmp_path, kind, nested):
    data, complaint = HOSTILE[kind]
    (tmp_path / 'h.zip').write_bytes(zipped({'in.zip': data}) if nested else data)
    with pytest.raises(DataError, match=f'refused: its entry .* {complaint}'):
        next(find_members([tmp_path / 'h.zip'], tmp_path / 'scratch'))
    assert [path.name for path in tmp_path.rglob('*')] == ['h.zip']


def test_archives_in_archives_end(tmp_path):
    data = zipped({'a.png': b'a'})
    for _ in range(5):
        data = zipped({'in.zip': data})
    (tmp_path / 'o.zip').write_bytes(data)
    with pytest.raises(DataError, match=r'lies in 3 others'):
        read_all([tmp_path / 'o.zip'], tmp_path / 's')


def test_a_file_beyond_all_measure_is_not_read(tmp_path, monkeypatch):
    (tmp_path / 'a.png').write_bytes(b'12345')
    monkeypatch.setattr(archives, 'MAX_BYTES', 4)
    with pytest.raises(DataError, match=r'a\.png is .* GB large'):
        read_all([tmp_path / 'a.png'], tmp_path / 's')


def test_damaged_archives_are_named(tmp_path):
    whole = zipped({'a.png': bytes(range(256)) * 9})
    (tmp_path / 'cut.zip').write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r'cut\.zip is no intact zip archive'):
        read_all([tmp_path / 'cut.zip'], tmp_path / 's')
    (tmp_path / 'flip.zip').write_bytes(whole[:60] + bytes([whole[60] ^ 255]) + whole[61:])
    with pytest.raises(DataError, match=r'Cannot read flip\.zip/a\.png'):
        read_all([tmp_path / 'flip.zip'], tmp_path / 's')


def test_encrypted_archive_is_named(tmp_path):
    data = bytearray(zipped({'a.png': b'a' * 20}))
    data[6] |= 1
    data[data.index(b'PK\x01\x02') + 8] |= 1
    (tmp_path / 'secret.zip').write_bytes(data)
    with pytest.raises(DataError, match='password required'):
        read_all([tmp_path / 'secret.zip'], tmp_path / 's')


def test_missing_source_is_named(tmp_path):
    with pytest.raises(DataError, match=r'nowhere does not exist\. Correct --src'):
        read_all([tmp_path / 'nowhere'], tmp_path / 's')
