# SPDX-License-Identifier: Apache-2.0
"""The picture that compares tiles of domains."""

import numpy as np
import pytest
from PIL import Image

from crossearth.visualization import PictureRow, comparison_picture, save_picture

CLASSES = ('water', 'tall_forest')
PALETTE = [[10, 20, 250], [5, 120, 40]]
MAGENTA, CYAN, GREY = (250, 0, 250), (0, 250, 250), (90, 91, 92)


def plain(colour, shape=(20, 20)):
    return np.full((*shape, 3), colour, dtype=np.uint8)


def box(picture, colour):
    """Top, bottom, left, right of the pixels of a colour."""
    rows, columns = np.nonzero((picture == colour).all(axis=2))
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


def test_rows_are_tiles_and_columns_are_in_order():
    picture = comparison_picture([
        PictureRow('near', {'image': plain(MAGENTA), 'label': plain(CYAN)}),
        PictureRow('far', {'image': plain(GREY), 'label': plain(CYAN)})], CLASSES, PALETTE)
    magenta, cyan, grey = (box(picture, colour) for colour in (MAGENTA, CYAN, GREY))
    assert magenta[1] < grey[0]            # the first row is above the second
    assert magenta[2:] == grey[2:]         # the same column
    assert magenta[3] < cyan[2]            # image left of label
    assert cyan[0] == magenta[0]
    assert cyan[1] == grey[1]


def test_tiles_keep_their_shape():
    picture = comparison_picture(
        [PictureRow('a', {'image': plain(MAGENTA, (20, 40))}),
         PictureRow('b', {'image': plain(CYAN, (60, 40))})], CLASSES, PALETTE)
    for colour, ratio in ((MAGENTA, 0.5), (CYAN, 1.5)):
        top, bottom, left, right = box(picture, colour)
        assert (bottom - top) / (right - left) == pytest.approx(ratio, rel=0.03)


def test_legend_shows_the_colour_of_each_class():
    picture = comparison_picture([PictureRow('a', {'image': plain(GREY)})], CLASSES, PALETTE)
    for colour in PALETTE:
        assert box(picture, colour)[0] > box(picture, GREY)[1]


def test_without_classes_there_is_no_legend_and_sheets_can_be_stacked():
    rows = [PictureRow('a', {'image': plain(GREY), 'other': plain(CYAN)})]
    bare, full = comparison_picture(rows), comparison_picture(rows, CLASSES, PALETTE, 'Title')
    assert bare.shape[1] == full.shape[1]
    below = bare[box(bare, GREY)[1] + 3:]  # less the frame of a tile
    assert (below == 255).all()
    assert len(below) < len(full) - box(full, GREY)[1]


@pytest.mark.parametrize('classes', [1, 6, 25])
@pytest.mark.parametrize('columns', [1, 4])
def test_nothing_touches_the_border(classes, columns):
    names = [f'a_class_of_land_{i}' for i in range(classes)]
    rows = [PictureRow('subtropical_monsoon (source)', {
        f'method {i}': plain(GREY) for i in range(columns)})]
    picture = comparison_picture(rows, names, [GREY] * classes, title='Title')
    border = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
    assert all((line == 255).all() for line in border)


def test_domain_of_neighbouring_rows_is_written_once():
    def ink(*domains):
        """Dark pixels at the left of the tiles."""
        picture = comparison_picture(
            [PictureRow(name, {'image': plain(GREY)}) for name in domains], CLASSES, PALETTE)
        top, bottom, left, _ = box(picture, GREY)
        return (picture[top:bottom, :left - 5] < 128).all(axis=2).sum()

    assert ink('far', 'far') == pytest.approx(ink('far'), rel=0.05)
    assert ink('far', 'raf') > 1.5 * ink('far')


def test_bad_rows():
    with pytest.raises(ValueError, match='at least one row'):
        comparison_picture([], CLASSES, PALETTE)
    rows = [PictureRow('a', {'image': plain(GREY)}), PictureRow('b', {'label': plain(GREY)})]
    with pytest.raises(ValueError, match=r"rows of \['b'\] have other columns than \['image'\]"):
        comparison_picture(rows, CLASSES, PALETTE)


def test_saved_picture_is_read_back(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    save_picture(picture, tmp_path / 'new' / 'x.png')
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'new' / 'x.png')), picture)
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['x.png']
