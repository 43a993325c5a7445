# SPDX-License-Identifier: Apache-2.0
"""One's own folders: nothing but a root, domains and classes."""

import numpy as np
import pytest

from crossearth.datasets import FolderDataset
from crossearth.errors import DataError
from crossearth.transforms import LoadLabel

CLASSES = ('background', 'building')
THREE = {'classes': ('a', 'b', 'c'), 'palette': [[0, 0, 0], [255, 0, 0], [0, 0, 255]]}


def build(root, domains='dry', metainfo=None, **kwargs) -> FolderDataset:
    return FolderDataset(str(root), domains, metainfo=metainfo or {'classes': CLASSES}, **kwargs)


def read(dataset) -> list[list[int]]:
    return [LoadLabel()(sample)['gt_seg_map'][0].tolist() for sample in dataset]


def test_kinds_of_files_are_found(write_pair) -> None:
    write_pair('dry/images/a.jpg', 'dry/labels/a.png', [0, 1])
    write_pair('dry/images/b.TIF', 'dry/labels/b.tiff', [1, 255])
    root = write_pair('wet/images/sub/a.jpeg', 'wet/labels/sub/a.png', [0])
    (root / 'dry/images/a.txt').touch()
    dataset = build(root, ('wet', 'dry'))
    assert read(dataset) == [[0], [0, 1], [1, 255]]
    assert [sample['domain'] for sample in dataset] == ['wet', 'dry', 'dry']
    assert dataset.metainfo['classes'] == CLASSES


def test_the_split_is_optional(write_pair) -> None:
    root = write_pair('train/dry/rgb/a.png', 'train/dry/gt/a.png', [0, 1])
    dataset = build(root, img_dir='{split}/{domain}/rgb', ann_dir='{split}/{domain}/gt')
    assert read(dataset) == [[0, 1]]


def test_names_that_differ_in_their_kind_only(write_pair) -> None:
    write_pair('dry/images/a.jpg', 'dry/labels/a.png', [0])
    root = write_pair('dry/images/a.png', 'dry/labels/a.png', [0])
    with pytest.raises(DataError, match=r'images holds both a\.\w+ and a\.\w+\. Set img_suffix'):
        build(root)
    assert len(build(root, img_suffix='.jpg')) == 1


def test_no_image_of_any_kind(write_pair) -> None:
    root = write_pair('dry/images/a.png', 'dry/labels/a.png', [0])
    (root / 'dry/images/a.png').rename(root / 'dry/images/a.ecw')
    with pytest.raises(DataError, match=r'ends in \.png, \.jpg.*; the folder holds 1 \.ecw'):
        build(root)


def test_more_ids_than_classes(write_pair) -> None:
    root = write_pair('dry/images/a.png', 'dry/labels/a.png', [0, 3])
    with pytest.raises(DataError, match=r'a\.png holds 3 \(1 px\).*if 0 means ignored, give'):
        build(root, metainfo={'classes': ('a', 'b', 'c')})
    shifted = build(root, metainfo={'classes': ('a', 'b', 'c')}, reduce_zero_label=True)
    assert read(shifted) == [[255, 2]]


@pytest.mark.parametrize(('kwargs', 'expected'), [
    ({'label_map': {255: 1}}, [0, 1]), ({'reduce_zero_label': False}, [0, 255])])
def test_pure_masks_need_a_word(write_pair, kwargs, expected) -> None:
    root = write_pair('dry/images/a.png', 'dry/labels/a.png', [0, 255])
    with pytest.raises(DataError, match=r'hold 0, 255, .*by reduce_zero_label=False \(ids 0 to 1, '
                                        r'255 = ignored\) or label_map=\{255: 1\} \(a mask of 0'):
        build(root)
    assert read(build(root, **kwargs)) == [expected]


def test_masks_of_jpeg(write_pair, log) -> None:
    stored = np.repeat([0, 255, 0], 13)
    root = write_pair('dry/images/a.png', 'dry/labels/a.jpg', stored, quality=30)
    assert read(build(root)) == [(stored > 0).astype(int).tolist()]
    assert 'labels as a mask of 0 and 255, divided at 128' in log()


# --- colours


def test_rgb_labels(write_pair, log) -> None:
    write_pair('dry/images/a.png', 'dry/labels/a.png', [[0, 0, 255], [255, 0, 0]])
    root = write_pair('dry/images/b.png', 'dry/labels/b.png', [[0, 0, 0]])  # grey, as it happens
    assert read(build(root, metainfo=THREE)) == [[2, 1], [0]]
    assert 'labels as the colours of the palette' in log()


def test_foreign_colours(write_pair) -> None:
    root = write_pair('dry/images/a.png', 'dry/labels/a.png', [[0, 0, 0], [1, 2, 3], [1, 2, 3]])
    with pytest.raises(DataError, match=r'labels.a\.png holds the colours \(1, 2, 3\) \(2 px\)'):
        build(root, metainfo=THREE)
    assert read(build(root, metainfo=THREE, unknown_label='ignore')) == [[0, 255, 255]]


def test_colours_need_a_palette(write_pair) -> None:
    root = write_pair('dry/images/a.png', 'dry/labels/a.png', [[255, 0, 0]])
    with pytest.raises(DataError, match=r'a\.png has three unequal channels.*metainfo\.palette'):
        build(root)


def write_palette_png(write_pair, colours: list[int]):
    root = write_pair('dry/images/a.png', 'dry/labels/a.png', [0, 1])
    from PIL import Image
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode='P')
    image.putpalette(colours)
    image.save(root / 'dry/labels/a.png')
    return root


def test_palette_png_of_the_same_colours(write_pair) -> None:
    root = write_palette_png(write_pair, [0, 0, 255, 0, 0, 0])
    assert read(build(root, metainfo=THREE)) == [[2, 0]]
    assert read(build(root, metainfo=THREE, reduce_zero_label=False)) == [[0, 1]]


def test_palette_png_of_other_colours_holds_ids(write_pair) -> None:
    root = write_palette_png(write_pair, [0, 0, 0, 128, 0, 0])
    assert read(build(root, metainfo=THREE)) == [[0, 1]]
    assert read(build(root, metainfo={'classes': THREE['classes']})) == [[0, 1]]
