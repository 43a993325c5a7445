# SPDX-License-Identifier: Apache-2.0
import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossearth.app.uploads import TooLargeError, clean_name, read_options, receive
from crossearth.errors import ConfigError, RasterError


@settings(deadline=None)
@given(st.text(max_size=200))
def test_a_clean_name_is_a_plain_file_name(name):
    clean = clean_name(name)
    assert re.fullmatch(r'\w[\w.-]{0,79}', clean)
    assert clean_name(clean.strip('._-')) == clean


@pytest.mark.parametrize(('name', 'clean'), [
    ('scene.tif', 'scene.tif'), ('Köln 2024.tif', 'Köln_2024.tif'), ('../../etc/passwd', 'passwd'),
    (r'C:\data\a.png', 'a.png'), ('file:///etc/passwd', 'passwd'), ('', 'scene'), ('..', 'scene'),
    ('<img src=x>.tif', 'img_src_x_.tif'), ('a"\r\nSet-Cookie: b.tif', 'a_Set-Cookie_b.tif')])
def test_names_of_uploads(name, clean):
    assert clean_name(name) == clean


@pytest.mark.parametrize(('fields', 'options'), [
    (('', '', ''), {'gsd': 'native'}), ((' 4, 1,2 ', '', ''), {'bands': [4, 1, 2]}),
    (('', '-1.5,3e3', 'model'), {'scale': (-1.5, 3000.0), 'gsd': 'model'})])
def test_fields_of_the_page_are_options(fields, options):
    assert read_options(*fields) == {'gsd': 'native', **options}


@pytest.mark.parametrize(('fields', 'match'), [
    (('a', '', ''), 'Bands'), (('1;2', '', ''), 'Bands'), (('', '3000', ''), 'Value range'),
    (('', 'nan,1', ''), 'Value range'), (('', '', '0.5'), 'Pixel size')])
def test_other_fields_are_refused(fields, match):
    with pytest.raises(ConfigError, match=match):
        read_options(*fields)


def take(folder, *chunks, limit=100, announced=0):
    async def stream():
        for chunk in chunks:
            yield chunk

    return asyncio.run(receive(stream(), folder, limit, announced))


@pytest.mark.parametrize(('head', 'suffix'), [
    (b'II*\0', '.tif'), (b'MM\0*', '.tif'), (b'II+\0', '.tif'), (b'MM\0+', '.tif'),
    (b'\x89PNG\r\n\x1a\n', '.png'), (b'\xff\xd8\xff\xe0', '.jpg')])
def test_the_content_decides_the_format(tmp_path, head, suffix):
    path = take(tmp_path, head[:2], head[2:], b'rest')
    assert path.suffix == suffix
    assert path.read_bytes() == head + b'rest'


@pytest.mark.parametrize('head', [
    b'', b'II', b'hello', b'GIF89a', b'<VRTDataset>', b'\0\0\0\x0cjP  \r\n', b'PK\3\4'])
def test_other_formats_are_refused(tmp_path, head):
    with pytest.raises(RasterError, match=r'neither GeoTIFF nor PNG nor JPEG|is empty'):
        take(tmp_path, head)


def test_bytes_are_counted_whatever_was_announced(tmp_path):
    assert take(tmp_path, b'II*\0', b'x' * 96).stat().st_size == 100
    with pytest.raises(TooLargeError, match=r'larger than 0\.0001 MB'):
        take(tmp_path, b'II*\0', b'x' * 97, announced=5)
    with pytest.raises(TooLargeError):
        take(tmp_path, announced=101)
