# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from crossearth.datasets import CASID


def test_release_layout(make_pairs) -> None:
    style = {'suffixes': ('.png', '-label.png'), 'classes': 5, 'names': ('1',)}
    make_pairs('SubMs/all_test/image', 'SubMs/all_test/label', **style)
    root = make_pairs('TroMs/all_test/image', 'TroMs/all_test/label_id', **style)
    dataset = CASID(str(root), ('tms', 'sub'), split='test')
    assert [Path(sample['seg_map_path']).relative_to(root).as_posix() for sample in dataset] == [
        'TroMs/all_test/label_id/1-label.png', 'SubMs/all_test/label/1-label.png']
    assert [sample['domain'] for sample in dataset] == ['tms', 'sub']


def test_four_climates() -> None:
    assert CASID('nowhere', lazy_init=True).metainfo['domains'] == ('sub', 'tem', 'tms', 'trf')
