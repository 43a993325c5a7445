# SPDX-License-Identifier: Apache-2.0
"""What `prepare` does not take, and what it then leaves behind."""

import numpy as np
import pytest
from official_copies import encode, official_copy
from official_copies import prepare_tiny as do

from crossearth.datasets.prepare import RECIPES, prepare
from crossearth.errors import ConfigError, DataError


def test_bad_masks_are_refused_with_their_path(tmp_path):
    for array, complaint in ((np.zeros((40, 40), np.uint16), r'has the pixel type'),
                             (np.zeros((40, 40, 3), np.uint8), r'has 3 channels')):
        copy = official_copy('loveda')
        copy.archives['Train']['Train/Urban/masks_png/0.png'] = encode(array, '.png')
        source = copy.write(tmp_path / 'src')
        with pytest.raises(DataError, match=rf'Train/Urban/masks_png/0\.png {complaint}'):
            do('loveda', source, tmp_path / 'dst')
        assert not (tmp_path / 'dst/index.json').exists()


def test_label_of_another_size_is_refused(tmp_path):
    copy = official_copy('rescuenet')
    copy.archives['RescueNet']['RescueNet/test/test-label-img/10780_lab.png'] = encode(
        np.zeros((40, 30), np.uint8), '.png')
    with pytest.raises(DataError, match=r'10780_lab\.png is 30 x 40 px, but its image .* 40 x 40'):
        do('rescuenet', copy.write(tmp_path / 'src'), tmp_path / 'dst')


def test_hostile_archive_leaves_no_trace(tmp_path):
    copy = official_copy('loveda')
    copy.archives['Val']['../../evil.png'] = b'x'
    source = copy.write(tmp_path / 'src')
    with pytest.raises(DataError, match=r'Val\.zip is refused'):
        do('loveda', source, tmp_path / 'dst')
    assert {path.name for path in tmp_path.iterdir()} == {'src'}


def test_images_without_labels_are_listed(tmp_path):
    copy = official_copy('potsdam')
    del copy.archives['5_Labels_all_noBoundary']
    with pytest.raises(DataError, match=r'6 of 6 images have no label.*2_10_label_noBoundary'):
        do('potsdam', copy.write(tmp_path / 'src'), tmp_path / 'dst')


def test_sources_without_an_image_say_what_is_expected(tmp_path):
    source = official_copy('loveda').write(tmp_path / 'src')
    with pytest.raises(DataError, match=r'no image of ISPRS Vaihingen.*crossearth data info'):
        do('vaihingen', source, tmp_path / 'dst')


def test_two_files_for_one_place(tmp_path):
    copy = official_copy('loveda')
    source = copy.write(tmp_path / 'src')
    copy.write(source / 'again', 'folder')
    index = do('loveda', source, tmp_path / 'same')  # a copy of the same size is no matter
    assert index['summary']['train']['urban']['tiles'] == 2
    (source / 'again/Train/Train/Urban/images_png/0.png').write_bytes(b'other')
    with pytest.raises(DataError, match=r'Both .* are train/urban/0, and they differ'):
        do('loveda', source, tmp_path / 'dst')


def test_folders_of_others_are_left_alone(tmp_path):
    source = official_copy('loveda').write(tmp_path / 'src')
    (tmp_path / 'dst').mkdir()
    (tmp_path / 'dst/thesis.tex').write_text('x')
    with pytest.raises(DataError, match='is not empty and was not begun by this command'):
        do('loveda', source, tmp_path / 'dst')
    assert [path.name for path in (tmp_path / 'dst').iterdir()] == ['thesis.tex']


def test_one_folder_holds_one_preparation(tmp_path):
    source = official_copy('massachusetts').write(tmp_path / 'src')
    do('massachusetts', source, tmp_path / 'dst')
    with pytest.raises(DataError, match=r"was begun as .*'score'.*, not as .*'ignore'"):
        do('massachusetts', source, tmp_path / 'dst', options={'white': 'ignore'})


def test_destination_inside_the_sources_is_not_read(tmp_path):
    official_copy('loveda').write(tmp_path)
    first = do('loveda', tmp_path, tmp_path / 'out')
    assert do('loveda', tmp_path, tmp_path / 'out') == first


@pytest.mark.parametrize(('options', 'complaint'), [
    ({'domains': ['urbn']}, r"no domain 'urbn'\. Did you mean 'urban'"),
    ({'options': {'ids': '1'}}, r'loveda has no option ids=1\. Its options: none')])
def test_unknown_domains_and_options(tmp_path, options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        do('loveda', tmp_path, tmp_path / 'dst', **options)


def test_missing_sources_print_the_steps(tmp_path):
    for name in RECIPES:
        with pytest.raises(ConfigError, match=r'(?s)--src is missing.*How to get them.*http'):
            prepare(name, [], tmp_path / 'dst')
    with pytest.raises(ConfigError, match='ISPRS Potsdam cannot be downloaded without you'):
        prepare('potsdam', [], tmp_path / 'dst', fetch=True)
    assert not (tmp_path / 'dst').exists()
