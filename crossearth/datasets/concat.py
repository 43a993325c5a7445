# SPDX-License-Identifier: Apache-2.0
"""Several data sets of equal classes as one, for domain gaps that cross data sets.

    dataset=dict(
        type='DomainConcat', domains=('potsdam_irrg', 'vaihingen'), split='test',
        datasets=[dict(type='Potsdam', data_root='data/potsdam'),
                  dict(type='Vaihingen', data_root='data/vaihingen')],
        pipeline=pipeline)

A member is any data set that knows its domains.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope

from crossearth.datasets.positions import sample_randomness
from crossearth.errors import ConfigError, suggest
from crossearth.registry import DATASETS, SCOPE

__all__ = ['DomainConcat']

OURS = ('indices', 'lazy_init', 'pipeline', 'test_mode')


@DATASETS.register_module()
class DomainConcat(BaseDataset):
    """The samples of several data sets, domain by domain in the order of `domains`.

    Only the members that hold a chosen domain are built, so the others need not be on the machine.

    Args:
        datasets: Configs of the members, such as `dict(type='Potsdam', data_root=...)`.
        domains: One domain or several, each held by one member; default all of all members.
        split: Split of the members whose configs name none.
        pipeline: Transforms of a sample.
        test_mode: Passed on to mmengine: a sample is never replaced by another one.
        indices: First n samples, or the given ones.
        lazy_init: Postpone finding and checking the files to `full_init()`.

    Raises:
        ConfigError: Classes of members differ, or a domain is held by no member or by two.
        DataError: See `DomainSegDataset`.
    """

    def __init__(
        self,
        datasets: Sequence[Mapping[str, Any]],
        domains: str | Sequence[str] | None = None,
        split: str | None = None,
        *,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        indices: int | Sequence[int] | None = None,
        lazy_init: bool = False,
    ) -> None:
        holder: dict[str, int] = {}
        for index, cfg in enumerate(datasets):
            for domain in _domains(cfg):
                if domain in holder:
                    raise ConfigError(f"DomainConcat: the members {holder[domain]} and {index} "
                                      f"both hold '{domain}'. Limit one by domains=(...).")
                holder[domain] = index
        chosen = (domains,) if isinstance(domains, str) else tuple(domains or holder)
        for domain in chosen:
            if domain not in holder:
                raise ConfigError(f"DomainConcat: no member holds the domain '{domain}'."
                                  f'{suggest(domain, holder)} They hold {", ".join(holder)}.')
        self.domains = chosen
        self.members = [
            _build(cfg, split, tuple(domain for domain in chosen if holder[domain] == index))
            for index, cfg in enumerate(datasets) if index in {holder[d] for d in chosen}]
        with DefaultScope.overwrite_default_scope(SCOPE):
            super().__init__(metainfo=self._common_metainfo(), data_prefix={}, indices=indices,
                             pipeline=list(pipeline), test_mode=test_mode, lazy_init=lazy_init)

    def __getitem__(self, index: int) -> dict:
        """Give a sample, random in the same way wherever and whenever it is made."""
        with sample_randomness(index):
            return super().__getitem__(index)

    def load_data_list(self) -> list[dict]:
        """The samples of all members in the order of `domains`.

        Raises:
            DataError: See `DomainSegDataset`.
        """
        samples = [sample for member in self.members for sample in member.load_data_list()]
        return sorted(samples, key=lambda sample: self.domains.index(sample['domain']))

    def _common_metainfo(self) -> dict[str, Any]:
        first, *others = (member.metainfo for member in self.members)
        for other in others:
            if other['classes'] != first['classes']:
                raise ConfigError(f'DomainConcat: the domains {first["domains"]} have the classes '
                                  f'{first["classes"]}, but {other["domains"]} have '
                                  f'{other["classes"]}. Join data sets of equal classes only.')
        return {**first, 'domains': self.domains}


def _domains(cfg: Mapping[str, Any]) -> tuple[str, ...]:
    """The domains that a member holds, known without building it."""
    kind = cfg.get('type')
    found = DATASETS.get(kind) if isinstance(kind, str) else kind
    domains = cfg.get('domains') or getattr(found, 'METAINFO', {}).get('domains')
    if not domains:
        raise ConfigError(f"DomainConcat: the member of type '{kind}' names no domains. Give it "
                          "domains=('mine',), and a type that knows domains.")
    return (domains,) if isinstance(domains, str) else tuple(domains)


def _build(cfg: Mapping[str, Any], split: str | None, domains: tuple[str, ...]) -> BaseDataset:
    for key in OURS:
        if key in cfg:
            raise ConfigError(f"DomainConcat: the member of type '{cfg['type']}' sets '{key}', "
                              'which belongs to DomainConcat itself. Move it there.')
    given = {'split': split} if split is not None else {}
    return DATASETS.build({**given, **cfg, 'domains': domains, 'lazy_init': True})
