# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from official_copies import official_copy
from official_copies import prepare_tiny as do
from PIL import Image

from crossearth.datasets.prepare import check
from crossearth.errors import ConfigError, DataError


@pytest.fixture
def loveda(tmp_path):
    do('loveda', official_copy('loveda').write(tmp_path / 'src'), tmp_path / 'dst')
    return tmp_path / 'dst'


def test_check_compares_with_the_benchmark(loveda):
    notes = check('loveda', loveda).notes
    assert 'train of urban has 2 images, 1156 in the benchmark' in notes[0]
    assert len(notes) == 4


def test_check_finds_a_lost_label(loveda):
    (loveda / 'val/rural/labels/6.png').unlink()
    troubles = check('loveda', loveda).troubles
    assert len(troubles) == 1
    assert '1 of 2 images' in troubles[0]


def test_check_finds_a_lost_pair(loveda):
    for path in ('images/6.png', 'labels/6.png'):
        (loveda / 'val/rural' / path).unlink()
    assert check('loveda', loveda).troubles == [
        'val of rural has 1 images, but 2 were prepared. Prepare it again.']


def test_check_finds_another_size(loveda):
    Image.new('L', (9, 9)).save(loveda / 'val/rural/labels/6.png')
    assert '9 x 9 px' in check('loveda', loveda).troubles[0]


@pytest.mark.parametrize(('value', 'complaint'), [(7, '7'), (3, 'have changed since')])
def test_check_finds_other_ids(loveda, value, complaint):
    Image.new('L', (40, 40), value).save(loveda / 'val/rural/labels/6.png')
    troubles = check('loveda', loveda).troubles
    assert len(troubles) == 1
    assert complaint in troubles[0]


def test_check_of_a_copy_that_was_not_finished(loveda):
    (loveda / 'index.json').unlink()
    assert 'has not finished' in check('loveda', loveda).troubles[0]


def test_check_of_an_unpacked_download(tmp_path):
    copy = official_copy('loveda')
    for files in copy.archives.values():
        for path, data in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(data)
    report = check('loveda', tmp_path)
    assert report.troubles == []
    of_part = [ids for key, (_, ids) in copy.truth.items() if key[:2] == ('val', 'rural')]
    counts = np.bincount(np.concatenate(of_part).ravel(), minlength=256)
    assert report.parts[-1].class_counts == (*counts[:7], counts[255])


def test_check_of_nothing(tmp_path):
    assert check('loveda', tmp_path).troubles == [f'Nothing of LoveDA lies in {tmp_path}.']
    with pytest.raises(DataError, match=r'nowhere does not exist\. `crossearth data info loveda`'):
        check('loveda', tmp_path / 'nowhere')
    with pytest.raises(ConfigError, match=r"no data set 'lovda'\. Did you mean 'loveda'"):
        check('lovda', tmp_path)
    (tmp_path / 'index.json').write_text('{}')
    with pytest.raises(DataError, match=r'Cannot read .*index\.json'):
        check('loveda', tmp_path)
