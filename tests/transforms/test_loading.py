# SPDX-License-Identifier: Apache-2.0
from dataclasses import asdict
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest

from crossearth.datasets.labels import LabelRule
from crossearth.errors import DataError
from crossearth.transforms import LoadImage, LoadLabel


def write(path: Path, array: np.ndarray) -> Path:
    path.write_bytes(cv2.imencode(path.suffix, array)[1].tobytes())
    return path


def sample(path: Path, **more) -> dict:
    return {'img_path': str(path), 'seg_map_path': str(path), 'seg_fields': [],
            **asdict(LabelRule(3))} | more


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif'])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_image_equals_mmcv(tmp_path: Path, suffix: str, channels: int) -> None:
    if (suffix, channels) == ('.jpg', 4):
        pytest.skip('JPEG has no transparency')
    array = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    path = write(tmp_path / f'image{suffix}', array)
    results = LoadImage()(sample(path))
    assert results['img'].dtype == np.uint8
    assert results['img'].flags.c_contiguous
    assert results['img_shape'] == results['ori_shape'] == (5, 7)
    np.testing.assert_array_equal(results['img'], mmcv.imread(str(path)))


def test_image_with_any_name(tmp_path: Path) -> None:
    path = write(tmp_path / 'größe 图 1.png', np.zeros((2, 3, 3), np.uint8))
    assert LoadImage()(sample(path))['img'].shape == (2, 3, 3)


def test_orientation_flag_is_not_applied(tmp_path: Path) -> None:
    from PIL import Image
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by a quarter turn for display
    Image.new('RGB', (8, 4)).save(tmp_path / 'camera.jpg', exif=exif)
    assert LoadImage()(sample(tmp_path / 'camera.jpg'))['img'].shape == (4, 8, 3)


@pytest.mark.parametrize(('content', 'message'), [
    (None, r'Cannot read the image .*x\.png: No such file'),
    (b'', r'Cannot decode the image .*x\.png \(0 bytes\)'),
    (b'GIF?', r'Cannot decode the image .*x\.png \(4 bytes\)'),
])
def test_image_errors_carry_the_path(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / 'x.png').write_bytes(content)
    with pytest.raises(DataError, match=message):
        LoadImage()(sample(tmp_path / 'x.png'))


def test_16_bit_image_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / 'deep.tif', np.full((2, 2, 3), 900, np.uint16))
    with pytest.raises(DataError, match=r'deep\.tif holds uint16 values, but 8-bit'):
        LoadImage()(sample(path))


def test_label_becomes_train_ids(tmp_path: Path) -> None:
    path = write(tmp_path / 'label.png', np.array([[0, 1, 2], [3, 9, 255]], np.uint8))
    given = sample(path, reduce_zero_label=True, label_map={8: 255}, ori_shape=(2, 3))
    results = LoadLabel()(given)
    assert results['gt_seg_map'].tolist() == [[255, 0, 1], [2, 255, 255]]
    assert results['gt_seg_map'].dtype == np.uint8
    assert results['seg_fields'] == ['gt_seg_map']
    assert given['seg_fields'] == []


def test_label_out_of_range_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / 'label.png', np.array([[0, 3]], np.uint8))
    with pytest.raises(DataError, match=r'label\.png holds 3 \(1 px\), but the 3 classes'):
        LoadLabel()(sample(path))
    assert LoadLabel()(sample(path, unknown_label='ignore'))['gt_seg_map'].tolist() == [[0, 255]]


def test_label_must_have_the_size_of_the_image(tmp_path: Path) -> None:
    path = write(tmp_path / 'label.png', np.zeros((2, 3), np.uint8))
    with pytest.raises(DataError, match=r'label\.png is 2 x 3 px, but its image is 4 x 6 px'):
        LoadLabel()(sample(path, ori_shape=(4, 6)))


def test_label_may_follow_a_resize_of_the_image(tmp_path: Path) -> None:
    path = write(tmp_path / 'label.png', np.zeros((4, 6), np.uint8))
    results = LoadLabel()(sample(path, img_shape=(2, 3), ori_shape=(4, 6)))
    assert results['gt_seg_map'].shape == (4, 6)


def test_colours_become_train_ids(tmp_path: Path) -> None:
    array = np.array([[[0, 0, 0], [255, 0, 0], [0, 0, 255]]], np.uint8)  # BGR
    path = write(tmp_path / 'label.png', array)
    palette = [[255, 0, 0], [0, 0, 0], [0, 0, 255]]
    assert LoadLabel()(sample(path, colours=palette))['gt_seg_map'].tolist() == [[1, 2, 0]]
