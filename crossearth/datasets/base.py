# SPDX-License-Identifier: Apache-2.0
"""Folders of images and labels, grouped by domain -> samples.

A new domain gap needs no code, only a config:

    dataset=dict(
        type='DomainSegDataset', data_root='data/mine', domains=('dry', 'wet'),
        img_dir='{split}/{domain}/images', ann_dir='{split}/{domain}/labels', split='train',
        metainfo=dict(classes=('background', 'road'), palette=[[0, 0, 0], [255, 0, 0]]))

A folder tree as MMSegmentation uses it (`img_dir/train`, `ann_dir/train`) is one domain with
`img_dir='img_dir/{split}', ann_dir='ann_dir/{split}'`.
"""

import colorsys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope

from crossearth.datasets.checks import check_labels, check_sizes, find_pairs
from crossearth.datasets.labels import LabelRule
from crossearth.datasets.positions import sample_randomness
from crossearth.errors import ConfigError, DataError, suggest
from crossearth.registry import DATASETS, SCOPE

__all__ = ['DomainSegDataset', 'check_dataset']


@DATASETS.register_module()
class DomainSegDataset(BaseDataset):
    """Semantic segmentation samples that know their domain.

    Pairing, sizes and label values are checked when the data set is built. A sample holds
    `img_path`, `seg_map_path`, `domain`, `sample_idx`, `seg_fields` and what `LoadLabel` needs:
    `num_classes`, `reduce_zero_label`, `label_map`, `unknown_label`.

    A subclass states its facts as class attributes, in the order below.

    Args:
        data_root: Folder that holds the data set.
        domains: One domain or several; default all that the class serves by default.
        split: Fills `{split}` of the templates.
        img_dir: Template of the image folder below `data_root`, with `{split}` and `{domain}`.
        ann_dir: Template of the label folder.
        img_suffix: Ending of image names.
        seg_map_suffix: Ending of label names.
        metainfo: `classes` and `palette`, for a data set without a class of its own.
        reduce_zero_label: Stored 0 means ignored, and class c is stored as c + 1.
        label_map: Stored id (after that shift) -> train id, or 255 to ignore it.
        unknown_label: `error`, or `ignore` to exclude values that no class has.
        pipeline: Transforms of a sample.
        test_mode: Passed on to mmengine: a sample is never replaced by another one.
        indices: First n samples, or the given ones.
        lazy_init: Postpone finding and checking the files to `full_init()`.

    Raises:
        ConfigError: Classes, palette, domains or `label_map` contradict each other.
        DataError: Files are missing, do not pair up, or hold values that no class has.
    """

    METAINFO: dict = {}
    FOLDERS: Mapping[str, str] = {}  # domain -> what fills `{domain}`, where the names differ
    DEFAULT_DOMAINS: tuple[str, ...] = ()  # empty: all of METAINFO['domains']
    IMG_DIR = '{split}/{domain}/images'
    ANN_DIR = '{split}/{domain}/labels'
    IMG_SUFFIX = '.png'
    SEG_MAP_SUFFIX = '.png'
    HOW_TO_GET = 'Set data_root to the folder that holds your images and labels.'

    def __init__(
        self,
        data_root: str,
        domains: str | Sequence[str] | None = None,
        split: str = 'train',
        *,
        img_dir: str | None = None,
        ann_dir: str | None = None,
        img_suffix: str | None = None,
        seg_map_suffix: str | None = None,
        metainfo: Mapping[str, Any] | None = None,
        reduce_zero_label: bool = False,
        label_map: Mapping[int, int] | None = None,
        unknown_label: str = 'error',
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        indices: int | Sequence[int] | None = None,
        lazy_init: bool = False,
    ) -> None:
        self.split = split
        self.img_dir = img_dir or self.IMG_DIR
        self.ann_dir = ann_dir or self.ANN_DIR
        self.img_suffix = img_suffix or self.IMG_SUFFIX
        self.seg_map_suffix = seg_map_suffix or self.SEG_MAP_SUFFIX
        self.domains = self._chosen_domains(domains)
        self._check_templates()
        # bare names of our transforms resolve also where no Runner has set the scope
        with DefaultScope.overwrite_default_scope(SCOPE):
            super().__init__(metainfo=metainfo, data_root=data_root, data_prefix={},
                             indices=indices, pipeline=list(pipeline), test_mode=test_mode,
                             lazy_init=True)
        self._metainfo.update(self._complete_metainfo(label_map))
        self.rule = LabelRule(len(self._metainfo['classes']), reduce_zero_label,
                              dict(label_map) if label_map else None, unknown_label)
        if not lazy_init:
            self.full_init()

    def __getitem__(self, idx: int) -> Any:
        """Give a sample; its augmentation depends on nothing but its place in the run."""
        with sample_randomness(idx):
            return super().__getitem__(idx)

    def load_data_list(self) -> list[dict]:
        """Find, check and list the samples, domain by domain in the order of `domains`.

        Raises:
            DataError: See the class.
        """
        root = Path(self.data_root)
        if not root.is_dir():
            raise DataError(f'{type(self).__name__}: the data root {root.absolute()} does not '
                            f'exist. {self.HOW_TO_GET}')
        found = {domain: find_pairs(*self.folders(domain), self.img_suffix, self.seg_map_suffix)
                 for domain in self.domains}
        pairs = [pair for of_domain in found.values() for pair in of_domain]
        check_sizes(pairs)
        check_labels([label for _, label in pairs], self.rule)
        return [self._sample(image, label, domain)
                for domain, of_domain in found.items() for image, label in of_domain]

    def folders(self, domain: str) -> tuple[Path, Path]:
        """Image and label folder of a domain; a subclass overrides it where a layout is uneven."""
        fields = {'split': self.split, 'domain': self.FOLDERS.get(domain, domain)}
        root = Path(self.data_root)
        return root / self.img_dir.format(**fields), root / self.ann_dir.format(**fields)

    def _sample(self, image: Path, label: Path, domain: str) -> dict:
        return {
            'img_path': str(image), 'seg_map_path': str(label), 'domain': domain,
            'seg_fields': [], **asdict(self.rule)}

    def _chosen_domains(self, domains: str | Sequence[str] | None) -> tuple[str, ...]:
        """The requested domains, checked against the class's list where it has one."""
        known = tuple(self.METAINFO.get('domains', ()))
        chosen = ((domains,) if isinstance(domains, str)
                  else tuple(domains or self.DEFAULT_DOMAINS or known))
        name = type(self).__name__
        if not chosen:
            raise ConfigError(f"{name} needs a name for its domain, such as domains='mine'. The "
                              'metric reports each domain under its name.')
        if len(set(chosen)) < len(chosen):
            raise ConfigError(f'{name}: domains={chosen} names a domain twice. Name each once.')
        for domain in chosen:
            if known and domain not in known:
                raise ConfigError(f"{name} has no domain '{domain}'.{suggest(domain, known)} "
                                  f'It has {", ".join(known)}.')
        return chosen

    def _check_templates(self) -> None:
        """Refuse unknown fields, and one folder for several domains."""
        for key, template in (('img_dir', self.img_dir), ('ann_dir', self.ann_dir)):
            try:
                template.format(split='', domain='')
            except (KeyError, IndexError, ValueError) as error:
                raise ConfigError(f"{key}='{template}' is no valid template ({error!r}). The "
                                  'fields are {split} and {domain}.') from error
            if len(self.domains) > 1 and '{domain}' not in template:
                raise ConfigError(f"{key}='{template}' gives the domains {self.domains} the same "
                                  'folder. Put {domain} into it, or name one domain.')

    def _complete_metainfo(self, label_map: Mapping[int, int] | None) -> dict[str, Any]:
        """Classes, palette and domains, each present and consistent."""
        name, own = type(self).__name__, self.METAINFO.get('classes')
        classes = tuple(self._metainfo.get('classes', ()))
        if not classes:
            raise ConfigError(f"{name} does not know its classes. Give metainfo=dict(classes=("
                              "'background', 'road'), palette=[[0, 0, 0], [255, 0, 0]]).")
        if own and classes != tuple(own) and not label_map:
            raise ConfigError(f'{name} stores the classes {tuple(own)}, but metainfo names '
                              f'{classes}. Give label_map={{stored id: train id}} as well.')
        palette = self._metainfo.get('palette') or _hues(len(classes))
        if len(palette) != len(classes):
            raise ConfigError(f'{name} has {len(classes)} classes but {len(palette)} colours in '
                              'its palette. Give one [r, g, b] for each class.')
        return {'classes': classes, 'palette': [list(colour) for colour in palette],
                'domains': self.domains}


def check_dataset(cfg: Mapping[str, Any]) -> BaseDataset:
    """Build the data set of a config without its pipeline, so that its faults show at once.

    A tool calls it before it builds a model; the result's `metainfo['classes']` tells the number
    of classes that the head must have.

    Args:
        cfg: Config of a data set, such as `cfg.train_dataloader.dataset`.

    Raises:
        ConfigError: See `DomainSegDataset`.
        DataError: See `DomainSegDataset`.
    """
    return DATASETS.build({**cfg, 'pipeline': []})


def _hues(count: int) -> list[list[int]]:
    """Colours of equal brightness, evenly spaced in hue."""
    return [[round(255 * c) for c in colorsys.hsv_to_rgb(i / count, 0.8, 0.9)]
            for i in range(count)]
