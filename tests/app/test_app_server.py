# SPDX-License-Identifier: Apache-2.0
import io
import json
import threading
import time

import numpy as np
import pyogrio
import pytest
import rasterio
from app.page_server import GAP, colors, serving
from inference.rasters import rgb, write_raster, zone
from PIL import Image
from rasterio import Affine

from crossearth.app import jobs
from crossearth.app.jobs import JobQueue

SCENE = {'height': 40, 'width': 60}
# pixels of water, built and forest in `colors`
COUNTS = [39 * 30, 60, 39 * 30]


@pytest.fixture
def scene(tmp_path):
    return write_raster(tmp_path / 'scene.tif', colors(**SCENE))


# ------------------------------------------------------------------------- good uploads

def test_a_georeferenced_scene(client, scene, output, tmp_path):
    job = client.map(scene)
    result, address = job['result'], f'/api/jobs/{job["id"]}'
    assert [entry['name'] for entry in result['classes']] == ['water', 'built', 'forest']
    assert [entry['pixels'] for entry in result['classes']] == COUNTS
    # pixels of half a metre in UTM
    assert [entry['square_metres'] for entry in result['classes']] == [n / 4 for n in COUNTS]
    assert (result['unit'], result['crs'], result['gsd_m']) == ('m²', 'EPSG:32637', 0.5)
    assert sum(entry['percent'] for entry in result['classes']) == pytest.approx(100)
    assert result['gap'] == {
        'verdict': GAP['verdict'], 'place': GAP['place'], 'kind': 'style', 'reference': 'dry',
        'shift': 1.4, 'outside_percent': 25.0, 'tiles': 4}

    files = {}
    for name in ('map.tif', 'confidence.tif', 'polygons.gpkg', 'map.qml'):
        status, headers, files[name] = client.get(f'{address}/{name}')
        assert status == 200
        assert headers['content-disposition'] == f'attachment; filename="scene_{name}"'
        (tmp_path / name).write_bytes(files[name])
    with rasterio.open(tmp_path / 'map.tif') as file, rasterio.open(scene) as given:
        assert (file.crs, file.transform) == (given.crs, given.transform)
        assert file.tags()['source'] == 'scene.tif'
        np.testing.assert_array_equal(file.read(1) == 1, np.arange(40)[:, None] + np.zeros(60) == 0)
    with rasterio.open(tmp_path / 'confidence.tif') as file:
        confidence = file.read(1).astype(float)
    assert result['confidence'] == pytest.approx(confidence.mean())
    assert result['classes'][1]['confidence'] == pytest.approx(confidence[0].mean())
    table = pyogrio.raw.read(tmp_path / 'polygons.gpkg', columns=['area_m2'])[3]
    assert sorted(table[0]) == sorted(n / 4 for n in COUNTS)
    folder = output / job['id']
    assert not [path for path in folder.iterdir() if 'upload' in path.name]  # deleted when mapped
    assert [path.name for path in output.iterdir()] == [job['id']]


def test_pictures_lie_on_each_other(client, scene):
    number = client.map(scene)['id']
    pictures = {name: Image.open(io.BytesIO(client.get(f'/api/jobs/{number}/{name}.png')[2]))
                for name in ('image', 'map', 'confidence')}
    assert {picture.size for picture in pictures.values()} == {(60, 40)}
    assert pictures['image'].getpixel((5, 5)) == (200, 50, 50, 255)
    assert pictures['map'].getpixel((5, 5)) == (0, 0, 255, 255)
    assert pictures['map'].getpixel((5, 0)) == (255, 0, 0, 255)
    # 201 of 303 is 66 %: between two colours of the ramp, 16/25 of the way
    assert pictures['confidence'].getpixel((5, 5))[:3] == pytest.approx(
        [33 + 61 * 16 / 25, 145 + 56 * 16 / 25, 140 - 42 * 16 / 25], abs=1)


def test_a_large_scene_is_thinned_for_the_page(client, tmp_path):
    image = np.repeat(np.repeat(colors(4, 17), 100, 1), 100, 2)
    number = client.map(write_raster(tmp_path / 'a.tif', image, compress='deflate'))['id']
    for name in ('image', 'map', 'confidence'):
        picture = Image.open(io.BytesIO(client.get(f'/api/jobs/{number}/{name}.png')[2]))
        assert picture.size == (1600, 376)


@pytest.mark.parametrize('suffix', ['png', 'jpg'])
def test_a_plain_picture_is_measured_in_pixels(client, tmp_path, suffix):
    path = tmp_path / f'a.{suffix}'
    Image.fromarray(colors(**SCENE).transpose(1, 2, 0)).save(path, quality=100)
    result = client.map(path)['result']
    assert (result['unit'], result['crs'], result['gsd_m']) == ('px', None, None)
    assert 'in pixels' in result['notes'][0]
    assert [entry['square_metres'] for entry in result['classes']] == [None] * 3
    counts = [entry['area'] for entry in result['classes']]
    assert sum(counts) == 40 * 60
    assert suffix == 'jpg' or counts == COUNTS


def test_areas_in_degrees_are_those_on_the_ellipsoid(client, tmp_path):
    def area(height, north):
        path = write_raster(tmp_path / 'a.tif', rgb(height, 1), crs='EPSG:4326',
                            transform=Affine(1, 0, 0, 0, -1, north))
        result = client.map(path)['result']
        assert result['unit'] == 'km²'
        areas = [entry['square_metres'] for entry in result['classes']]
        assert sum(entry['area'] for entry in result['classes']) == pytest.approx(sum(areas) / 1e6)
        return sum(areas)

    # the geodesic square of one degree at the equator, from tables
    assert area(1, 1) == pytest.approx(12_308.778e6, rel=1e-3)
    assert area(80, 80) == pytest.approx(zone(0, 80), rel=1e-4)


def test_without_data_there_is_no_class(client, tmp_path):
    image = colors(**SCENE)
    image[:, 10:] = 0
    result = client.map(write_raster(tmp_path / 'a.tif', image, nodata=0))['result']
    assert result['no_data_percent'] == 75
    image[:] = 0
    result = client.map(write_raster(tmp_path / 'a.tif', image, nodata=0))['result']
    assert result['confidence'] is None
    assert [entry['percent'] for entry in result['classes']] == [0] * 3


def test_what_does_not_fit_is_said_with_the_field_that_mends_it(client, tmp_path, output):
    image = np.concatenate([colors(**SCENE).astype(np.uint16) * 10] * 2)
    path = write_raster(tmp_path / 'six.tif', image)
    job = client.map(path)
    assert job['state'] == 'failed'
    assert 'six.tif has 6 of type uint16' in job['error']
    assert 'e.g. Bands 1,2,3' in job['error']
    job = client.map(path, {'bands': '1,2,3'})
    assert 'e.g. Value range 0,3000' in job['error']
    assert str(output) not in job['error']
    job = client.map(path, {'bands': '4,5,6', 'scale': '0,2550', 'gsd': 'model'})
    assert [entry['pixels'] for entry in job['result']['classes']] == COUNTS
    assert len(list(output.iterdir())) == 1  # nothing of those that failed


def test_the_model_is_described(client):
    status, _, body = client.get('/api/model')
    assert status == 200
    assert json.loads(body) == {
        'classes': ['water', 'built', 'forest'], 'bands': ['R', 'G', 'B'], 'gsd_m': 0.5,
        'training_domain': ['dry'], 'licence': 'CC0-1.0', 'max_bytes': 2_000_000}


# ------------------------------------------------------------------------- refusals

@pytest.mark.parametrize(('host', 'status'), [
    ('127.0.0.1:{port}', 200), ('localhost:{port}', 200), ('LOCALHOST', 200), ('[::1]:1', 200),
    ('this-machine:{port}', 200), ('10.0.0.7', 200), ('evil.example', 403),
    ('evil.example:{port}', 403), ('127.0.0.1.evil.example', 403), ('localhost.evil.example', 403),
    ('', 403), ('[::1', 403), ('a@127.0.0.1.example', 403)])
def test_only_names_of_this_machine_are_answered(client, host, status):
    assert client.get('/', Host=host.format(port=client.port))[0] == status


@pytest.mark.parametrize(('headers', 'status'), [
    ({}, 400), ({'Origin': 'http://127.0.0.1:{port}'}, 400),
    ({'Sec_Fetch_Site': 'same-origin'}, 400), ({'Origin': 'http://evil.example'}, 403),
    ({'Origin': 'null'}, 403),
    ({'Origin': 'http://127.0.0.1:1'}, 403), ({'Origin': 'https://127.0.0.1:{port}'}, 403),
    ({'Sec_Fetch_Site': 'cross-site'}, 403), ({'Sec_Fetch_Site': 'same-site'}, 403),
    ({'Content_Type': 'text/plain'}, 415), ({'Content_Type': 'multipart/form-data'}, 415)])
def test_only_the_page_itself_may_send(client, output, headers, status):
    headers = {name: text.format(port=client.port) for name, text in headers.items()}
    assert client.send(b'none of ours', **headers)[0] == status
    assert not list(output.iterdir())


@pytest.mark.parametrize('path', ['/', '/page.js', '/style.css', '/nothing', '/api/model',
                                  '/api/jobs/0/map.tif'])
@pytest.mark.parametrize('host', ['localhost', 'evil.example'])
def test_every_answer_forbids_the_browser_what_the_page_does_not_need(client, path, host):
    headers = client.get(path, Host=host)[1]
    policy = headers['content-security-policy']
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert 'unsafe' not in policy
    assert headers['x-content-type-options'] == 'nosniff'
    assert headers['cross-origin-resource-policy'] == 'same-origin'
    assert headers['cache-control'] == 'no-store'
    assert 'access-control-allow-origin' not in headers


def test_a_name_cannot_break_out_of_its_header(client, scene):
    status, answer = client.send(scene.read_bytes(), '../a"\r\nX-Bad: b\\<i>.tif')
    assert status == 201
    client.wait(answer['id'])
    headers = client.get(f'/api/jobs/{answer["id"]}/map.tif')[1]
    assert headers['content-disposition'] == 'attachment; filename="i__map.tif"'
    assert 'x-bad' not in headers


def test_other_methods_and_documentation_are_not_there(client):
    for method, path in (('DELETE', '/api/jobs'), ('PUT', '/api/jobs/0'), ('GET', '/docs'),
                         ('GET', '/openapi.json'), ('GET', '/page/index.html')):
        assert client.request(method, path)[0] in (404, 405)


# ------------------------------------------------------------------------- the queue

@pytest.fixture
def gate():
    """Work waits until it is set."""
    opened = threading.Event()
    yield opened
    opened.set()


@pytest.fixture
def slow(output, predictor, gate):
    """A server whose work waits for the gate."""
    def work(job, tell):
        (job.folder / 'map.tif').write_text(job.name)
        while not gate.wait(0.01):
            tell('Mapping', 1, 3)
        return {'name': job.name}

    queue = JobQueue(output, work, keep=False)
    with serving(queue, predictor.card) as client:
        client.queue = queue
        yield client


def numbers(client, content, count):
    return [client.send(content, f'{index}.tif')[1]['id'] for index in range(count)]


def test_one_scene_at_a_time_and_the_others_wait(slow, gate, scene):
    content = scene.read_bytes()
    ids = numbers(slow, content, 4)
    assert len(set(ids)) == 4
    end = time.monotonic() + 10
    while (first := json.loads(slow.get(f'/api/jobs/{ids[0]}')[2]))['total'] != 3:
        assert time.monotonic() < end
    assert (first['state'], first['stage'], first['done']) == ('running', 'Mapping', 1)
    states = [json.loads(slow.get(f'/api/jobs/{number}')[2]) for number in ids]
    assert [state['state'] for state in states] == ['running', 'queued', 'queued', 'queued']
    assert [state['ahead'] for state in states] == [0, 1, 2, 3]
    assert slow.get(f'/api/jobs/{ids[0]}/map.tif')[0] == 404  # not before it is done
    status, answer = slow.send(content)
    assert status == 503
    assert 'waiting already' in answer['error']
    gate.set()
    assert [slow.wait(number)['result']['name'] for number in ids] == [
        '0.tif', '1.tif', '2.tif', '3.tif']
    assert slow.get(f'/api/jobs/{ids[0]}/map.tif')[2] == b'0.tif'
    assert slow.send(content)[0] == 201


def test_only_the_last_results_are_kept(slow, gate, scene, output, monkeypatch):
    monkeypatch.setattr(jobs, 'KEPT', 2)
    gate.set()
    ids = []
    for _ in range(4):
        ids += numbers(slow, scene.read_bytes(), 1)
        slow.wait(ids[-1])
    assert [slow.get(f'/api/jobs/{number}')[0] for number in ids[:2]] == [404, 404]
    assert slow.get(f'/api/jobs/{ids[3]}/map.tif')[0] == 200
    assert not (output / ids[0]).exists()


def test_the_end_stops_the_work_and_removes_everything(slow, scene, output):
    numbers(slow, scene.read_bytes(), 3)
    assert len(list(output.iterdir())) == 3
    started = time.monotonic()
    slow.queue.close()
    assert time.monotonic() - started < 5
    assert not list(output.iterdir())


def test_kept_results_stay_without_the_uploads(output, scene):
    def work(job, tell):
        (job.folder / 'map.tif').write_text('map')
        return {}

    queue = JobQueue(output, work, keep=True)
    done, waiting = queue.open('a', {}), queue.open('b', {})
    done.upload.write_text('upload')
    waiting.upload.write_text('upload')
    queue.submit(done)
    queue.pool.shutdown()
    queue.close()
    assert [path.relative_to(output).parts for path in output.rglob('*.*')] == [
        (done.id, 'map.tif')]
    assert len(list(output.iterdir())) == 1


@pytest.mark.parametrize(('error', 'words'), [
    (ZeroDivisionError(), 'terminal of crossearth app'), (MemoryError(), 'memory of this machine')])
def test_a_bug_is_no_end(output, predictor, scene, error, words):
    def work(job, tell):
        raise error

    with serving(JobQueue(output, work, keep=False), predictor.card) as client:
        for _ in range(2):
            job = client.map(scene)
            assert job['state'] == 'failed'
            assert words in job['error']
    assert not list(output.iterdir())
