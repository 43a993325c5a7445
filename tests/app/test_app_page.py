# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser."""

import io
import shutil
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import rasterio
from app.page_server import GAP, colors, serving
from inference.bundles import CARD
from inference.rasters import write_raster
from PIL import Image

from crossearth.app.jobs import JobQueue
from crossearth.app.mapping import SceneMapper
from crossearth.inference.card import Card
from crossearth.inference.predictor import Predictor

api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')

CHROMIUM = ('chromium', 'chromium-headless-shell', 'chromium-browser', 'google-chrome')
MARKUP = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope='module')
def browser():
    """Chromium: that of playwright, or of the system."""
    with api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = own if Path(own).exists() else next(filter(None, map(shutil.which, CHROMIUM)), None)
        if found is None:
            pytest.skip('no Chromium: run playwright install chromium, or install the package of '
                        'the system')
        browser = playwright.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@pytest.fixture
def predictor():
    """Names of classes are text, whatever they hold."""
    card = Card(**{**deepcopy(CARD), 'classes': ['water', MARKUP, 'forest']}, sha256='0' * 64)
    return Predictor(lambda images: images + 1, 3, card)


@pytest.fixture
def page(browser, client):
    """The page; nothing of it may be refused by its own policy, or fail."""
    page = browser.new_page(viewport={'width': 1280, 'height': 800})
    said = []
    page.on('console', lambda message: said.append(message.text))
    page.on('pageerror', lambda error: said.append(str(error)))
    page.goto(f'http://127.0.0.1:{client.port}/')
    api.expect(page.locator('#limit')).to_have_text('2 MB')
    yield page
    assert [text for text in said if 'status of 4' not in text] == []
    page.close()


def give(page, path):
    page.set_input_files('#file', path)
    page.wait_for_selector('#result:not([hidden]), #error:not([hidden])')


def cells(page):
    return [[cell.inner_text() for cell in row.query_selector_all('td')]
            for row in page.query_selector_all('#classes tr')]


@pytest.fixture
def scene(tmp_path):
    return write_raster(tmp_path / 'scene.tif', colors(40, 60))


def test_a_scene_becomes_map_legend_and_downloads(page, scene, tmp_path):
    assert '3 classes · trained on dry · pixels of 0.5 m' in page.inner_text('header')
    assert 'up to 2 MB' in page.inner_text('#drop')
    give(page, scene)
    assert page.is_visible('#result')
    assert page.inner_text('#caption') == (
        'scene.tif · 60 x 40 px · pixels of 0.5 m · EPSG:32637')
    assert page.inner_text('#unit') == 'Area, m²'
    assert cells(page) == [['water', '292.5', '48.8 %', '66.0 %'],
                           [MARKUP, '15', '2.5 %', '66.0 %'],
                           ['forest', '292.5', '48.8 %', '66.0 %']]
    assert page.title() == 'CrossEarth'
    assert page.inner_text('#mean') == '66.0 %'
    assert page.inner_text('#verdict') == GAP['verdict']
    assert '25 % of 4 tiles lie outside' in page.inner_text('#gap')
    page.wait_for_load_state('networkidle')
    shot = tmp_path / 'page.png'
    page.screenshot(path=shot)
    picture = np.asarray(Image.open(shot).convert('RGB')).astype(int)
    # water on its image: 0.6 of (0, 0, 255) over (200, 50, 50)
    assert (np.abs(picture - [80, 20, 173]).max(2) < 4).sum() > 50_000
    assert (picture.min(2) > 240).mean() > 0.4  # a light page
    with page.expect_download() as download:
        page.click('text=Map (GeoTIFF)')
    assert download.value.suggested_filename == 'scene_map.tif'
    with rasterio.open(download.value.path()) as file:
        assert file.shape == (40, 60)
    assert len(page.query_selector_all('#downloads a')) == 4
    page.reload()
    page.wait_for_selector('#result:not([hidden])')
    assert cells(page)[0][0] == 'water'


def layer(page):
    """Colour in the middle of the left half of the stack."""
    page.wait_for_timeout(100)
    box = page.query_selector('#stack').bounding_box()
    image = Image.open(io.BytesIO(page.screenshot())).convert('RGB')
    return image.getpixel((int(box['x'] + box['width'] / 4), int(box['y'] + box['height'] / 2)))


def test_the_overlay_fades_and_changes(page, scene):
    give(page, scene)
    for opacity, color in ((0, (200, 50, 50)), (100, (0, 0, 255)), (60, (80, 20, 173))):
        page.fill('#opacity', str(opacity))
        assert layer(page) == pytest.approx(color, abs=2)
        assert page.inner_text('#opacity-value') == f'{opacity} %'
    assert not page.is_visible('#ramp')
    page.fill('#opacity', '100')
    page.check('input[value=confidence]', force=True)
    assert layer(page) == pytest.approx((72, 181, 113), abs=2)
    assert page.is_visible('#ramp')


def test_the_stack_has_the_shape_of_the_scene(page, tmp_path):
    for height, width in ((30, 90), (90, 30), (300, 1500)):
        give(page, write_raster(tmp_path / 'a.tif', colors(height, width), compress='deflate'))
        api.expect(page.locator('#caption')).to_contain_text(f' x {height:,} px')
        box = page.query_selector('#stack').bounding_box()
        assert box['width'] / box['height'] == pytest.approx(width / height, rel=0.02)
        assert box['y'] + box['height'] < 800
        assert box['x'] + box['width'] < 860
        page.click('#another')


def test_errors_are_words_and_another_scene_follows(page, scene, tmp_path):
    bad = tmp_path / 'bad.tif'
    bad.write_text('hello')
    give(page, bad)
    assert 'neither GeoTIFF nor PNG nor JPEG' in page.inner_text('#error')
    large = tmp_path / 'large.tif'
    large.write_bytes(bytes(2_000_001))
    give(page, large)
    api.expect(page.locator('#error')).to_contain_text('limit is 2 MB')
    write_raster(bad, colors(20, 20).astype(np.uint16) * 10)
    give(page, bad)
    api.expect(page.locator('#error')).to_contain_text('Value range')
    assert page.is_visible('#scale')  # the field that mends it
    page.fill('#scale', '0,2550')
    give(page, bad)
    page.wait_for_selector('#result:not([hidden])')
    assert not page.is_visible('#error')
    page.click('#another')
    give(page, scene)
    page.wait_for_selector('#result:not([hidden])')
    assert page.inner_text('#caption').startswith('scene.tif')


def test_a_gap_that_is_unknown_is_said(browser, tmp_path, output, predictor, scene):
    reason = 'the card holds no statistics of its training domain.'
    queue = JobQueue(output, SceneMapper(predictor, lambda *_: {'error': reason}), keep=False)
    with serving(queue, predictor.card) as client:
        page = browser.new_page()
        page.goto(f'http://localhost:{client.port}/')
        give(page, scene)
        assert page.inner_text('#verdict') == 'unknown'
        assert page.inner_text('#gap') == reason
        page.close()
