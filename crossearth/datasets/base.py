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
from dataclasses import asdict, replace
from logging import INFO
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from crossearth.datasets.checks import Pair, check_labels, check_sizes, find_pairs, read_labels
from crossearth.datasets.ids import Ids, detect_ids, from_one, from_zero
from crossearth.datasets.index import FileIndex
from crossearth.datasets.labels import LabelRule, StoredLabel
from crossearth.datasets.layouts import PREPARED, Layout, choose_layout
from crossearth.datasets.positions import sample_randomness
from crossearth.errors import ConfigError, DataError, suggest
from crossearth.registry import DATASETS, SCOPE

__all__ = ['DomainSegDataset', 'check_dataset', 'how_to_get', 'hues']


def how_to_get(name: str) -> str:
    """Where the data set of this name comes from, for messages."""
    return (f'`crossearth data info {name}` says where to download it, and `crossearth data '
            f'prepare {name} --src DOWNLOADS --dst DATA_ROOT` prepares it.')


@DATASETS.register_module()
class DomainSegDataset(BaseDataset):
    """Semantic segmentation samples that know their domain.

    The layout of the folders and the way in which labels store their classes are detected and
    logged; pairing, sizes and label values are checked when the data set is built. A sample holds
    `img_path`, `seg_map_path`, `domain`, `sample_idx`, `seg_fields` and the fields of `LabelRule`,
    which `LoadLabel` needs.

    A subclass states its facts as class attributes, in the order below.

    Args:
        data_root: Folder that holds the data set.
        domains: One domain or several; default all that the class serves by default.
        split: Fills `{split}` of the templates.
        img_dir: Template of the image folder below `data_root`, with `{split}` and `{domain}`.
        ann_dir: Template of the label folder.
        img_suffix: Ending of image names; default that of the layout, or any kind of image.
        seg_map_suffix: Ending of label names.
        metainfo: `classes` and `palette`, for a data set without a class of its own.
        layout: Name of the layout, where several lie in `data_root`.
        reduce_zero_label: True: stored 0 means ignored, and class c is stored as c + 1. False:
            class c is stored as c. Default: detected where the layout allows both, else False.
        label_map: Stored id (after that shift) -> train id, or 255 to ignore it.
        unknown_label: `error`, or `ignore` to exclude values that no class has.
        pipeline: Transforms of a sample.
        test_mode: Passed on to mmengine: a sample is never replaced by another one.
        indices: First n samples, or the given ones.
        lazy_init: Postpone finding and checking the files to `full_init()`.

    Raises:
        ConfigError: Classes, palette, domains or `label_map` contradict each other.
        DataError: Files are missing, do not pair up, hold values that no class has, or can be read
            in more than one way.
    """

    METAINFO: dict = {}
    DEFAULT_DOMAINS: tuple[str, ...] = ()  # empty: all of METAINFO['domains']
    STORED_CLASSES: tuple[str, ...] = ()  # empty: METAINFO['classes']
    LAYOUTS: tuple[Layout, ...] = (PREPARED,)
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
        layout: str | None = None,
        reduce_zero_label: bool | None = None,
        label_map: Mapping[int, int] | None = None,
        unknown_label: str = 'error',
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        indices: int | Sequence[int] | None = None,
        lazy_init: bool = False,
    ) -> None:
        self.split = split
        self.domains = self._chosen_domains(domains)
        # bare names of our transforms resolve also where no Runner has set the scope
        with DefaultScope.overwrite_default_scope(SCOPE):
            super().__init__(metainfo=metainfo, data_root=data_root, data_prefix={},
                             indices=indices, pipeline=list(pipeline), test_mode=test_mode,
                             lazy_init=True)
        self._metainfo.update(self._complete_metainfo(label_map))
        self._given_palette = (metainfo or {}).get('palette')
        self._reduce_zero_label = reduce_zero_label
        # what the user sets; the way that the labels follow is added when they have been read
        self.rule = LabelRule(len(self._metainfo['classes']), bool(reduce_zero_label),
                              dict(label_map) if label_map else None, unknown_label)
        self._layouts = self._chosen_layouts(layout, {
            'img_dir': img_dir, 'ann_dir': ann_dir, 'img_suffix': img_suffix,
            'seg_map_suffix': seg_map_suffix})
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
        where = f'{type(self).__name__} at {root}'
        if not root.is_dir():
            raise DataError(f'{type(self).__name__}: the data root {root.absolute()} does not '
                            f'exist. {self.HOW_TO_GET}')
        layout = choose_layout(
            self._layouts, root, self.split, self.domains,
            () if self.rule.label_map else self._stored_classes(), where, self.HOW_TO_GET)
        found = self._find(layout, root)
        pairs = [pair for of_domain in found.values() for pair in of_domain]
        index = FileIndex(root)
        check_sizes(pairs, index)
        labels = read_labels([label for _, label in pairs], index)
        index.save()
        self.rule = self._detect_rule(layout, labels, where)
        check_labels(labels, self.rule)
        return [self._sample(image, label, domain)
                for domain, of_domain in found.items() for image, label in of_domain]

    def ways(self, layout: Layout) -> tuple[Ids, ...]:
        """How the labels of a layout may store their classes; a subclass may know more ways."""
        return layout.ids or (from_zero(len(self._stored_classes())),)

    def _find(self, layout: Layout, root: Path) -> dict[str, list[Pair]]:
        """Pairs of image and label by domain."""
        folders = [layout.locate(root, self.split, domain) for domain in self.domains]
        for paths in zip(*folders, strict=True):
            if len(set(paths)) < len(paths):
                raise ConfigError(
                    f'{type(self).__name__}: the domains {self.domains} have the same folder '
                    f"{paths[0]}. Put {{domain}} into img_dir and ann_dir, or name one domain.")
        return {domain: find_pairs(*located, layout.img_suffix, layout.seg_map_suffix)
                for domain, located in zip(self.domains, folders, strict=True)}

    def _detect_rule(self, layout: Layout, labels: Sequence[StoredLabel], where: str) -> LabelRule:
        """The rule of the way that the labels follow, or that the user has named."""
        ways = possible = self.ways(layout)
        if self._reduce_zero_label is not None:
            count = len(self._stored_classes())
            ways = tuple(
                way for way in ways if not way.rule.keys() & {'threshold', 'colours'}
                and way.rule.get('reduce_zero_label', False) == self._reduce_zero_label
            ) or (from_one(count) if self._reduce_zero_label else from_zero(count),)
        given = {'label_map': self.rule.label_map} if self.rule.label_map else {}

        def make_rule(way: Ids) -> LabelRule:
            return replace(self.rule, **{'reduce_zero_label': False, **way.rule, **given})

        way = ways[0] if len(ways) == 1 else detect_ids(ways, labels, make_rule, where)
        if len(possible) > 1 or len(self._layouts) > 1:
            print_log(f"{where}: {self.split} of {', '.join(self.domains)} in the layout "
                      f"'{layout.name}', labels as {way.text}.", logger='current', level=INFO)
        return make_rule(way)

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

    def _chosen_layouts(self, name: str | None,
                        given: Mapping[str, Any]) -> tuple[Layout, ...]:
        """The layouts that come into question, with the templates and suffixes that are given."""
        known = [layout.name for layout in self.LAYOUTS]
        if name is not None and name not in known:
            raise ConfigError(f"{type(self).__name__} has no layout '{name}'."
                              f'{suggest(name, known)} It has {", ".join(known)}.')
        changes = {key: value for key, value in given.items() if value is not None}
        layouts = [layout for layout in self.LAYOUTS if name in (None, layout.name)]
        if 'img_dir' in changes or 'ann_dir' in changes:
            layouts = [replace(layouts[0], name='given')]
        for key in ('img_dir', 'ann_dir'):
            try:
                (changes.get(key) or '').format(split='', domain='')
            except (KeyError, IndexError, ValueError) as error:
                raise ConfigError(f"{key}='{changes[key]}' is no valid template ({error!r}). The "
                                  'fields are {split} and {domain}.') from error
        return tuple(replace(layout, **changes) for layout in layouts)

    def _stored_classes(self) -> tuple[str, ...]:
        """Classes in the order of the stored ids."""
        own = self.STORED_CLASSES or self.METAINFO.get('classes')
        return tuple(own or self._metainfo['classes'])

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
        palette = self._metainfo.get('palette') or hues(len(classes))
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


def hues(count: int) -> list[list[int]]:
    """Colours of equal brightness, evenly spaced in hue."""
    return [[round(255 * c) for c in colorsys.hsv_to_rgb(i / count, 0.8, 0.9)]
            for i in range(count)]
