# SPDX-License-Identifier: Apache-2.0
"""Real tiles through the readers, where they lie beside the repository."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from crossearth import datasets
from crossearth.datasets.base import DomainSegDataset
from crossearth.errors import DataError
from crossearth.transforms import LoadImage, LoadLabel

REGIONS = {'zanzibar': 184, 'uganda': 28, 'nepal': 32, 'nepal_banepa_z19': 48, 'philippines': 16}


@pytest.fixture
def data() -> Path:
    for folder in (os.environ.get('CROSSEARTH_SHARED'), Path(__file__).parents[3] / 'shared'):
        if folder and (found := Path(folder) / 'data').is_dir():
            return found
    pytest.skip('real tiles are not on this machine (set CROSSEARTH_SHARED)')


@pytest.fixture
def place(data: Path, tmp_path: Path):
    """Link the samples of a data set into the folders of a layout, and return the root."""
    def link(name: str, images: str, labels: str) -> str:
        for kind, folder in (('images', images), ('labels', labels)):
            (tmp_path / folder).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder).symlink_to(data / 'paper_samples' / name / kind)
        return str(tmp_path)
    return link


def mean_colours(dataset: DomainSegDataset) -> dict[str, np.ndarray]:
    """Mean [blue, green, red] under each class."""
    found: dict[str, list[np.ndarray]] = {}
    for sample in dataset:
        loaded = LoadLabel()(LoadImage()(sample))
        for index in set(np.unique(loaded['gt_seg_map'])) - {255}:
            name = dataset.metainfo['classes'][index]
            found.setdefault(name, []).append(loaded['img'][loaded['gt_seg_map'] == index])
    return {name: np.concatenate(pixels).mean(0) for name, pixels in found.items()}


def test_loveda(place) -> None:
    root = place('loveda', 'Train/Rural/images_png', 'Train/Rural/masks_png')
    dataset = datasets.LoveDA(root, 'rural', img_suffix='.jpg')
    assert len(dataset) == 3
    colours = mean_colours(dataset)
    assert colours.keys() == {'background', 'building', 'road', 'water', 'forest', 'agriculture'}
    bright = {name: colour.mean() for name, colour in colours.items()}
    assert min(bright['building'], bright['road']) > 100  # roofs and roads are the bright things
    assert max(bright['water'], bright['forest'], bright['agriculture']) < 80


# what is red in a tile: the tiled roofs of Potsdam, and in infrared the plants of Vaihingen
@pytest.mark.parametrize(('name', 'red'), [
    ('Potsdam', {'building'}), ('Vaihingen', {'low_vegetation', 'tree'})])
def test_isprs(place, name: str, red: set[str]) -> None:
    cls = getattr(datasets, name)
    root, domain = place(name.lower(), 'img_dir/train', 'ann_dir/train'), cls.METAINFO['domains'][0]
    # one tile without clutter: its ids 0 to 5 might as well be those of six classes from 0
    with pytest.raises(DataError, match='reduce_zero_label=True'):
        cls(root, domain)
    colours = mean_colours(cls(root, domain, reduce_zero_label=True))
    assert set(colours) == set(cls.METAINFO['classes']) - {'clutter'}
    assert {name for name, (b, g, r) in colours.items() if r - (b + g) / 2 > 25} == red


def test_buildings_of_five_regions_need_nothing_but_names(data: Path) -> None:
    dataset = datasets.FolderDataset(str(data / 'buildings'), tuple(REGIONS),
                                     metainfo={'classes': ('background', 'building')})
    samples = list(dataset)
    assert Counter(sample['domain'] for sample in samples) == REGIONS
    label = LoadLabel()(samples[0])['gt_seg_map']
    assert set(np.unique(label)) <= {0, 1, 255}
