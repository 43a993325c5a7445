# SPDX-License-Identifier: Apache-2.0
"""The RSDG benchmark: its data sets, its 29 settings and the paper's numbers.

One table for the whole project: configs, data sets, the metric, reports and `docs/benchmark.md` are
checked against it. Numbers are those of CrossEarth (arXiv 2410.22629), Tables 1 to 7 and 14; this
module needs the standard library only.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources

from crossearth.errors import ConfigError, suggest

__all__ = [
    'DATA_SETS', 'METHODS', 'SETTINGS', 'TABLES', 'DataSet', 'Domain', 'Setting', 'setting',
    'settings_of']

ISPRS = ('impervious_surface', 'building', 'low_vegetation', 'tree', 'car', 'clutter')
FIVE = ('impervious_surface', 'building', 'tree', 'car', 'clutter')

METHODS = {
    'deeplab': 'DeepLab', 'daformer': 'DAFormer', 'hrda': 'HRDA', 'mtp': 'MTP', 'rein': 'Rein',
    'crossearth': 'CrossEarth'}
"""Methods of the paper's tables: column of the csv -> title."""

TABLES = {
    'potsdam': 'ISPRS: region and band', 'vaihingen': 'ISPRS: region and band',
    'loveda': 'LoveDA: urban and rural', 'deepglobe': 'Roads', 'potsdam5': 'Disaster',
    'whu': 'Buildings', 'casid': 'CASID: climate'}
"""Title of the table that a setting stands in, by the data set of its source."""


@dataclass(frozen=True)
class DataSet:
    """A data set of the benchmark.

    Args:
        name: Name on the command line and of its folder below the data root.
        title: Name in print.
        class_name: Class in `crossearth.datasets`.
        classes: Classes in the order of the train ids.
        domains: Domains that it holds.
        licence: Terms of use in a few words.
        url: Page of the data set.
        download: Steps to get it, one a line.
        gsd_m: Ground sampling distance of each domain in metres; None where we know none.
        bands: What the three channels of each domain show.
        counts: Images of the prepared data set by (domain, split).
        md5: Published checksums by file name.
    """

    name: str
    title: str
    class_name: str
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    licence: str
    url: str
    download: str
    gsd_m: Mapping[str, float | None]
    bands: Mapping[str, str]
    counts: Mapping[tuple[str, str], int]
    md5: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Domain:
    """Where a setting trains or tests: names of the data set, its domain and its split."""

    data_set: str
    domain: str
    split: str


@dataclass(frozen=True)
class Setting:
    """One row of the benchmark: train on `source`, test on `target`.

    Args:
        id: Name in the paper, such as `P(i)2V`.
        config: Name of the config file without its ending.
        gap: What changes between source and target.
        source: Where it trains.
        target: Where it tests.
        n_train: Training images.
        n_test: Test images.
        num_classes: Number of classes.
        crop: Side of a training crop in px.
        style_ratio: Share of the blocks that Earth-Style Injection restyles, tau_S.
        style_block: Side of these blocks in px, B_S.
        mim_ratio: Share of the blocks that MIM masks, tau_M.
        mim_block: Side of these blocks in px, B_M.
        mim_loss: `l1` or `mse`.
        paper: The paper's number of each method of `METHODS` that it lists, in percent.
    """

    id: str
    config: str
    gap: str
    source: Domain
    target: Domain
    n_train: int
    n_test: int
    num_classes: int
    crop: int
    style_ratio: float
    style_block: int
    mim_ratio: float
    mim_block: int
    mim_loss: str
    paper: Mapping[str, float]

    @property
    def metric(self) -> str:
        """What `paper` counts: `mIoU`, or `IoU` of the foreground where there are two classes."""
        return 'IoU' if self.num_classes == 2 else 'mIoU'

    @property
    def table(self) -> str:
        """Title of the table that it stands in."""
        return TABLES[self.source.data_set]


def _prepare(name: str, *steps: str) -> str:
    return '\n'.join([*steps, f'crossearth data prepare {name} --src DOWNLOADS --dst data/{name}'])


_ISPRS_PAGE = 'https://www.isprs.org/education/benchmarks/UrbanSemLab/'
_ISPRS_TERMS = 'free for research, no redistribution'
_POTSDAM_BANDS = {'potsdam_rgb': 'red, green, blue', 'potsdam_irrg': 'near infrared, red, green'}

DATA_SETS: Mapping[str, DataSet] = {data_set.name: data_set for data_set in (
    DataSet(
        name='potsdam', title='ISPRS Potsdam', class_name='Potsdam', classes=ISPRS,
        domains=('potsdam_rgb', 'potsdam_irrg'), licence=_ISPRS_TERMS, url=_ISPRS_PAGE,
        download=_prepare(
            'potsdam',
            'open the page "2D Semantic Labeling - Potsdam"; link and password of the downloads '
            'stand there',
            'download 2_Ortho_RGB.zip, 3_Ortho_IRRG.zip and 5_Labels_all_noBoundary.zip'),
        gsd_m={'potsdam_rgb': 0.05, 'potsdam_irrg': 0.05}, bands=_POTSDAM_BANDS,
        counts={('potsdam_rgb', 'train'): 3456, ('potsdam_rgb', 'test'): 2016,
                ('potsdam_irrg', 'train'): 3456, ('potsdam_irrg', 'test'): 2016}),
    DataSet(
        name='vaihingen', title='ISPRS Vaihingen', class_name='Vaihingen', classes=ISPRS,
        domains=('vaihingen',), licence=_ISPRS_TERMS, url=_ISPRS_PAGE,
        download=_prepare(
            'vaihingen',
            'open the page "2D Semantic Labeling - Vaihingen"; link and password of the downloads '
            'stand there',
            'download ISPRS_semantic_labeling_Vaihingen.zip and '
            'ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE.zip'),
        gsd_m={'vaihingen': 0.09}, bands={'vaihingen': 'near infrared, red, green'},
        counts={('vaihingen', 'train'): 344, ('vaihingen', 'test'): 398}),
    DataSet(
        name='potsdam5', title='ISPRS Potsdam, five classes', class_name='Potsdam5', classes=FIVE,
        domains=('potsdam_rgb', 'potsdam_irrg'), licence=_ISPRS_TERMS, url=_ISPRS_PAGE,
        download='nothing of its own: the prepared potsdam, whose labels are read through a map',
        gsd_m={'potsdam_rgb': 0.05, 'potsdam_irrg': 0.05}, bands=_POTSDAM_BANDS,
        counts={('potsdam_rgb', 'train'): 3456, ('potsdam_rgb', 'test'): 2016,
                ('potsdam_irrg', 'train'): 3456, ('potsdam_irrg', 'test'): 2016}),
    DataSet(
        name='rescuenet', title='RescueNet', class_name='RescueNet', classes=FIVE,
        domains=('rescuenet',), licence='CC BY-NC-ND 4.0',
        url='https://github.com/BinaLab/RescueNet-A-High-Resolution-Post-Disaster-UAV-Dataset-'
            'for-Semantic-Segmentation',
        download=_prepare(
            'rescuenet',
            'follow the link to the data on the page',
            'download the archive with train-org-img, train-label-img, test-org-img and '
            'test-label-img'),
        gsd_m={'rescuenet': None}, bands={'rescuenet': 'red, green, blue'},
        counts={('rescuenet', 'train'): 3595, ('rescuenet', 'test'): 449}),
    DataSet(
        name='loveda', title='LoveDA', class_name='LoveDA',
        classes=('background', 'building', 'road', 'water', 'barren', 'forest', 'agriculture'),
        domains=('urban', 'rural'), licence='CC BY-NC-SA 4.0',
        url='https://zenodo.org/records/5706578',
        download=_prepare(
            'loveda',
            'nothing to do by hand: crossearth data prepare loveda --download --dst data/loveda '
            'fetches Train.zip and Val.zip from the page'),
        gsd_m={'urban': 0.3, 'rural': 0.3},
        bands={'urban': 'red, green, blue', 'rural': 'red, green, blue'},
        counts={('urban', 'train'): 1156, ('rural', 'train'): 1366,
                ('urban', 'val'): 677, ('rural', 'val'): 992},
        md5={'Train.zip': 'de2b196043ed9b4af1690b3f9a7d558f',
             'Val.zip': '84cae2577468ff0b5386758bb386d31d',
             'Test.zip': 'a489be0090465e01fb067795d24e6b47'}),
    DataSet(
        name='whu', title='WHU Building', class_name='WHUBuilding',
        classes=('background', 'building'), domains=('aerial', 'satellite2'),
        licence='terms on its page', url='http://gpcv.whu.edu.cn/data/building_dataset.html',
        download=_prepare(
            'whu',
            'download the aerial imagery data set (0.3 m, cropped to 512 px) from the page',
            'download the satellite data set II (East Asia) from the page'),
        gsd_m={'aerial': 0.3, 'satellite2': 0.45},
        bands={'aerial': 'red, green, blue', 'satellite2': 'red, green, blue'},
        counts={('aerial', 'train'): 4736, ('aerial', 'val'): 1036, ('aerial', 'test'): 2416,
                ('satellite2', 'train'): 13662, ('satellite2', 'test'): 3726}),
    DataSet(
        name='deepglobe', title='DeepGlobe Road', class_name='DeepGlobeRoad',
        classes=('background', 'road'), domains=('deepglobe',),
        licence='terms of the DeepGlobe 2018 challenge',
        url='https://www.kaggle.com/datasets/balraj98/deepglobe-road-extraction-dataset',
        download=_prepare(
            'deepglobe',
            "download the archive from this copy (the challenge's own site is gone); only its "
            'folder train has labels'),
        gsd_m={'deepglobe': 0.5}, bands={'deepglobe': 'red, green, blue'},
        counts={('deepglobe', 'train'): 6226}),
    DataSet(
        name='massachusetts', title='Massachusetts Roads', class_name='MassachusettsRoad',
        classes=('background', 'road'), domains=('massachusetts',), licence='terms on its page',
        url='https://www.cs.toronto.edu/~vmnih/data/',
        download=_prepare(
            'massachusetts',
            'download mass_roads/{train,valid,test}/{sat,map} from the page with the folders kept'),
        gsd_m={'massachusetts': 1.0}, bands={'massachusetts': 'red, green, blue'},
        counts={('massachusetts', 'train'): 1108, ('massachusetts', 'val'): 14,
                ('massachusetts', 'test'): 49}),
    DataSet(
        name='casid', title='CASID', class_name='CASID',
        classes=('background', 'building', 'forest', 'road', 'water'),
        domains=('sub', 'tem', 'tms', 'trf'), licence='CC BY 4.0',
        url='https://huggingface.co/datasets/Linwei-Chen/CASID',
        download=_prepare(
            'casid',
            'download SubMs, TemMs, TroMs and TroRf from the page (description: '
            'https://github.com/Linwei-Chen/CASID)'),
        gsd_m=dict.fromkeys(('sub', 'tem', 'tms', 'trf')),
        bands=dict.fromkeys(('sub', 'tem', 'tms', 'trf'), 'red, green, blue'),
        counts={('sub', 'train'): 4900, ('sub', 'test'): 2200,
                ('tem', 'train'): 5025, ('tem', 'test'): 2075,
                ('tms', 'train'): 3400, ('tms', 'test'): 1650,
                ('trf', 'train'): 3700, ('trf', 'test'): 1550}),
)}

# Name in the csv -> data set, domain, and the split that is tested. The paper tests LoveDA on Val,
# since the labels of Test are hidden, and the aerial WHU on what its release calls validation.
_PLACES = {
    'potsdam_rgb': ('potsdam', 'potsdam_rgb', 'test'),
    'potsdam_irrg': ('potsdam', 'potsdam_irrg', 'test'),
    'potsdam_rgb_5': ('potsdam5', 'potsdam_rgb', 'test'),
    'potsdam_irrg_5': ('potsdam5', 'potsdam_irrg', 'test'),
    'vaihingen': ('vaihingen', 'vaihingen', 'test'),
    'rescuenet': ('rescuenet', 'rescuenet', 'test'),
    'loveda_urban': ('loveda', 'urban', 'val'),
    'loveda_rural': ('loveda', 'rural', 'val'),
    'deepglobe': ('deepglobe', 'deepglobe', 'train'),
    'massachusetts': ('massachusetts', 'massachusetts', 'test'),
    'whu_aerial': ('whu', 'aerial', 'val'),
    'whu_satellite2': ('whu', 'satellite2', 'test'),
    **{f'casid_{climate}': ('casid', climate, 'test') for climate in ('sub', 'tem', 'tms', 'trf')},
}


def _read_settings() -> Iterator[Setting]:
    file = resources.files('crossearth') / 'data' / 'rsdg_benchmark.csv'
    for row in csv.DictReader(file.read_text(encoding='utf-8').splitlines()):
        source, target = _PLACES[row['source']], _PLACES[row['target']]
        yield Setting(
            id=row['id'], config=row['config'], gap=row['gap'],
            source=Domain(*source[:2], 'train'), target=Domain(*target),
            n_train=int(row['n_train']), n_test=int(row['n_test']),
            num_classes=int(row['classes']), crop=int(row['crop']),
            style_ratio=float(row['tau_s']), style_block=int(row['b_s']),
            mim_ratio=float(row['tau_m']), mim_block=int(row['b_m']), mim_loss=row['mim'],
            paper={method: float(row[method]) for method in METHODS if row[method]})


SETTINGS: tuple[Setting, ...] = tuple(_read_settings())
"""The 29 settings in the order of the paper's tables."""


def setting(id_or_config: str) -> Setting:
    """Find a setting by its name in the paper or by that of its config.

    Raises:
        ConfigError: There is none of this name.
    """
    by_name = {name: found for found in SETTINGS for name in (found.id, found.config)}
    if id_or_config not in by_name:
        raise ConfigError(
            f"the benchmark has no setting '{id_or_config}'.{suggest(id_or_config, by_name)} Its "
            f'{len(SETTINGS)} settings are listed in docs/benchmark.md.')
    return by_name[id_or_config]


def settings_of(config: str) -> tuple[Setting, ...]:
    """The settings that a config of this name answers, none if it is not one of the benchmark.

    A name that ends in `2all` trains once on a source with several targets and tests all of them.
    """
    source = config.removesuffix('2all')
    if source == config:
        return tuple(found for found in SETTINGS if found.config == config)
    first = next((found for found in SETTINGS if found.config.split('2')[0] == source), None)
    together = tuple(found for found in SETTINGS if first and found.source == first.source)
    return together if len(together) > 1 else ()
