# SPDX-License-Identifier: Apache-2.0
"""Fault 30: what strangers can send to the page of `crossearth app`."""

import json
import os
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
from app.page_server import colors
from inference.rasters import rgb, write_raster
from PIL import Image
from rasterio import Affine

from crossearth.app.uploads import GDAL_LIMITS

SECRET = 77  # value of the pixels of a file that no upload may show
VRT = """<VRTDataset rasterXSize="40" rasterYSize="40"><VRTRasterBand dataType="Byte" band="1">
<SimpleSource><SourceFilename relativeToVRT="0">{path}</SourceFilename></SimpleSource>
</VRTRasterBand></VRTDataset>"""


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack('>I', len(content)) + kind + content + struct.pack(
        '>I', zlib.crc32(kind + content))


def png(width: int, height: int) -> bytes:
    """The head of a PNG, and next to nothing after it."""
    return b'\x89PNG\r\n\x1a\n' + b''.join((
        chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)),
        chunk(b'IDAT', zlib.compress(bytes(1000))), chunk(b'IEND', b'')))


def sparse(path: Path, **options) -> bytes:
    """A GeoTIFF of many pixels and few bytes."""
    profile = {'driver': 'GTiff', 'dtype': 'uint8', 'count': 3, 'tiled': True, 'sparse_ok': True,
               'crs': 'EPSG:32637', 'transform': Affine(1, 0, 0, 0, -1, 0), 'blockxsize': 4096,
               'blockysize': 4096}
    with rasterio.open(path, 'w', **{**profile, **options}):
        pass
    return path.read_bytes()


@pytest.fixture
def secret(tmp_path):
    """A raster on this machine that nobody uploaded."""
    return write_raster(tmp_path / 'secret.tif', np.full((3, 800, 800), SECRET, np.uint8),
                        transform=Affine(1, 0, 5e5, 0, -1, 1e6), compress='deflate')


@pytest.fixture
def address():
    """A web server of this machine's network that counts who calls."""
    listener = socket.create_server(('127.0.0.1', 0))
    listener.settimeout(0.2)
    yield f'http://127.0.0.1:{listener.getsockname()[1]}/secret.tif'
    try:
        listener.accept()
    except TimeoutError:
        return
    finally:
        listener.close()
    pytest.fail('somebody called')


def pointing(path: Path, target: object) -> bytes:
    """A GeoTIFF that says that its overviews are in another file."""
    path.unlink(missing_ok=True)  # GDAL would look into the old one
    write_raster(path, np.full((3, 1600, 1600), 9, np.uint8), compress='deflate')
    name = 'x' * len(str(target))  # GDAL would look for the other file while it writes
    with rasterio.open(path, 'r+') as file:
        file.update_tags(ns='OVERVIEWS', OVERVIEW_FILE=name)
    path.write_bytes(path.read_bytes().replace(name.encode(), str(target).encode()))
    return path.read_bytes()


def still_works(client, tmp_path) -> None:
    job = client.map(write_raster(tmp_path / 'good.tif', colors(20, 20)))
    assert job['state'] == 'done'


@pytest.mark.parametrize(('name', 'make', 'status', 'words'), [
    ('text', lambda path: b'hello', 400, 'neither GeoTIFF nor PNG nor JPEG'),
    ('empty', lambda path: b'', 400, 'It is empty'),
    ('vrt', lambda path: VRT.format(path='/etc/passwd').encode(), 400, 'neither GeoTIFF'),
    ('address', lambda path: b'http://169.254.169.254/latest/meta-data', 400, 'neither GeoTIFF'),
    ('gif', lambda path: b'GIF89a' + bytes(99), 400, 'neither GeoTIFF'),
    ('header only', lambda path: b'II*\0\x08\0\0\0', 400, 'cannot be opened'),
    ('many pixels, png', lambda path: png(60_000, 60_000), 413, '60,000 x 60,000 pixels'),
    ('many pixels, tif', lambda path: sparse(path, width=60_000, height=60_000), 413,
     '250 million'),
    ('many bands', lambda path: sparse(path, width=8192, height=8192, count=40, interleave='band'),
     413, '40 bands'),
    ('many bytes', lambda path: b'II*\0' + bytes(2_000_000), 413, 'larger than 2 MB'),
])
def test_fault_30_bad_uploads_are_refused_in_words(
    client, output, tmp_path, name, make, status, words
):
    found, answer = client.send(make(tmp_path / 'a.tif'), 'scene.tif')
    assert found == status, answer
    assert words in answer['error']
    assert str(output) not in answer['error']
    assert not list(output.iterdir())
    still_works(client, tmp_path)


@pytest.mark.parametrize('kind', ['tif', 'png'])
def test_fault_30_a_truncated_file_fails_alone(client, output, tmp_path, kind):
    if kind == 'tif':
        path = write_raster(tmp_path / 'cut.tif', rgb(300, 300))
    else:
        path = tmp_path / 'cut.png'
        Image.fromarray(rgb(300, 300).transpose(1, 2, 0)).save(path)
    path.write_bytes(path.read_bytes()[:100_000])
    job = client.map(path)
    assert job['state'] == 'failed'
    assert f'cut.{kind}: rows' in job['error']
    assert 'truncated or damaged: copy it again.' in job['error']
    assert not list(output.iterdir())
    still_works(client, tmp_path)


def test_fault_30_two_gigabytes_are_refused_before_they_come(client, output):
    with socket.create_connection(('127.0.0.1', client.port), 10) as link:
        link.sendall(b'POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000000\r\n'
                     b'Content-Type: application/octet-stream\r\n\r\nII*\0')
        assert link.recv(100).startswith(b'HTTP/1.1 413 ')
    assert not list(output.iterdir())


def test_fault_30_bytes_without_an_announced_length_are_counted(client, output):
    def chunks():
        yield b'II*\0'
        for _ in range(3):
            yield bytes(1_000_000)

    assert client.send(chunks())[0] == 413
    assert not list(output.iterdir())


def test_fault_30_overviews_in_other_files_are_not_opened(client, secret, address, tmp_path):
    path = tmp_path / 'pointing.tif'
    assert pointing(path, secret)
    with rasterio.open(path) as file:  # what GDAL does if it is let
        assert (file.read(1, out_shape=(800, 800)) == SECRET).all()
    for target in (secret, f'/vsicurl/{address}', f'/vsicurl_streaming/{address}', address):
        status, answer = client.send(pointing(path, target))
        assert status == 400
        assert 'overviews lie in another file' in answer['error']


@pytest.mark.parametrize('name', [
    '../../etc/passwd', '/etc/passwd', 'file:///etc/passwd', 'http://169.254.169.254/latest',
    '/vsicurl/http://169.254.169.254/a.tif', '..\\..\\a.tif', '.', '\0'])
def test_fault_30_a_name_is_only_a_name(client, output, tmp_path, name):
    path = write_raster(tmp_path / 'a.tif', colors(8, 8))
    status, answer = client.send(path.read_bytes(), name)
    assert status == 201
    assert client.wait(answer['id'])['state'] == 'done'
    assert [folder.name for folder in output.iterdir()] == [answer['id']]
    assert len(answer['id']) == 32


@pytest.mark.parametrize('wanted', [
    '{id}/upload.tif', '{id}/../{id}/map.tif', '{id}/..%2f{id}%2fmap.tif',
    '{id}/%2e%2e/secret.tif', '{id}/..%2f..%2fsecret.tif', '{id}/%2fetc%2fpasswd',
    '..%2f..%2fetc/passwd', '%2e%2e/secret.tif', '../secret.tif', '{id}/map.tif%00', '{id}/MAP.TIF',
    '{upper}x/map.tif', '{short}/map.tif', './map.tif', '*/map.tif', '/etc/passwd'])
def test_fault_30_only_the_files_of_a_result_are_given(client, secret, tmp_path, wanted):
    number = client.map(write_raster(tmp_path / 'a.tif', colors(8, 8)))['id']
    path = wanted.format(id=number, upper=number.upper(), short=number[:-1])
    assert client.get(f'/api/jobs/{number}/map.tif')[0] == 200
    status, _, body = client.get(f'/api/jobs/{path}')
    assert status == 404
    assert b'root:' not in body


LIMITED = """
import json, sys
from crossearth.app.uploads import limit_gdal
limit_gdal()
import rasterio
from rasterio.drivers import raster_driver_extensions
found = {}
for name in sys.argv[1:]:
    try:
        with rasterio.open(name) as file:
            found[name] = file.read(1, out_shape=(800, 800)).max().item()
    except rasterio.errors.RasterioError as error:
        found[name] = str(error)
print(json.dumps(found))
"""


def test_fault_30_gdal_itself_is_without_vrt_and_network(secret, address, tmp_path):
    vrt = tmp_path / 'a.vrt'
    vrt.write_text(VRT.format(path=secret))
    beside = write_raster(tmp_path / 'b.tif', np.full((3, 1700, 1700), 9, np.uint8))
    with rasterio.open(beside, 'r') as file, rasterio.Env(TIFF_USE_OVR='YES'):
        assert file.overviews(1) == []
    (tmp_path / 'b.tif.ovr').write_bytes(secret.read_bytes())
    names = [str(vrt), f'/vsicurl/{address}', str(beside)]
    environment = {name: text for name, text in os.environ.items() if name not in GDAL_LIMITS}
    done = subprocess.run([sys.executable, '-c', LIMITED, *names], capture_output=True, text=True,
                          timeout=120, check=True, env=environment)
    found = json.loads(done.stdout)
    assert 'not recognized' in found[names[0]]
    assert isinstance(found[names[1]], str)  # an error, and nobody called
    assert found[names[2]] == 9  # the file beside it was not looked at
