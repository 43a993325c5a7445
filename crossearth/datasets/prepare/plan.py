# SPDX-License-Identifier: Apache-2.0
"""The files of the sources -> one job for each image that has a label."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from crossearth.datasets.prepare.archives import Member
from crossearth.datasets.prepare.encodings import Encoding, decode_label
from crossearth.datasets.prepare.recipes import Recipe, Seen, Slot
from crossearth.errors import DataError

__all__ = ['Job', 'plan']

Key = tuple[str, str, str]
"""Split, domain, name."""


@dataclass(frozen=True)
class Job:
    """A source image and what is to be made of it.

    Args:
        split: Split of the benchmark.
        domain: Domain of the benchmark.
        name: Name of the image; windows add their corners.
        image: The image in the sources.
        label: Its label.
        encoding: How the label is stored.
        num_classes: C.
        img_suffix: Ending of what is written.
        window: Size and stride in px, or None to copy the image.
        ignore_white: Leave out of the label what is pure white in the image.
        uncompressed: Store the pixels of PNG files as they are.
    """

    split: str
    domain: str
    name: str
    image: Member
    label: Member
    encoding: Encoding
    num_classes: int
    img_suffix: str
    window: tuple[int, int] | None
    ignore_white: bool = False
    uncompressed: bool = False

    @property
    def unit(self) -> str:
        """Name in the journal."""
        return f'{self.split}/{self.domain}/{self.name}'

    @property
    def stamp(self) -> str:
        """Changes when the sources or their treatment do."""
        way = zlib.crc32(repr(self.encoding).encode())
        return f'{self.image.stamp} {self.label.stamp} {way:08x}'


def plan(
    recipe: Recipe, members: Iterable[Member], domains: Sequence[str], options: Mapping[str, str],
    *, uncompressed: bool = False
) -> list[Job]:
    """Pair images with labels and find out how the labels are stored.

    Args:
        recipe: How the data set is prepared.
        members: Files of the sources.
        domains: Domains to prepare.
        options: Value of each option of the recipe.
        uncompressed: See `Job`.

    Raises:
        DataError: No image is there, an image has no label, two files contend for one place, or the
            labels do not tell how they are stored.
    """
    images, labels = _sort(recipe, members, domains)
    if not images:
        raise DataError(
            f'The sources hold no image of {recipe.facts.title} ({", ".join(domains)}); paths end '
            f'like {recipe.example[0]} with the label {recipe.example[1]}. Give the downloaded '
            f'archives to --src; `crossearth data info {recipe.name}` says where they are.')
    lonely = [images[key].path for key in images if key not in labels]
    if lonely:
        raise DataError(
            f'{len(lonely)} of {len(images)} images have no label in the sources: '
            f'{", ".join(lonely[:3])}{", ..." if len(lonely) > 3 else ""}. A label is called like '
            f'{recipe.example[1]}: give the archive with the labels to --src too.')
    jobs = []
    for group in sorted({key[:2] for key in images}):
        keys = [key for key in sorted(images) if key[:2] == group]
        encoding = _encoding(recipe, [labels[key] for key in keys], '/'.join(group), options)
        jobs += [Job(*key, images[key], labels[key], encoding, len(recipe.facts.classes),
                     recipe.img_suffix, recipe.window, options.get('white') == 'ignore',
                     uncompressed)
                 for key in keys]
    return jobs


def _sort(recipe: Recipe, members: Iterable[Member], domains: Sequence[str]
          ) -> tuple[dict[Key, Member], dict[Key, Member]]:
    """Images and labels by split, domain and name."""
    found: dict[str, dict[Key, tuple[int, Member]]] = {'image': {}, 'label': {}}
    for member in members:
        if slot := recipe.place(member.path):
            slot = _with_domains(recipe, slot, member)
            for domain in slot.domains:
                if domain in domains:
                    _put(found[slot.kind], (slot.split, domain, slot.name), slot.rank, member)
    images, labels = ({key: member for key, (_, member) in found[kind].items()}
                      for kind in ('image', 'label'))
    return images, labels


def _with_domains(recipe: Recipe, slot: Slot, member: Member) -> Slot:
    """The slot with the domain that the user names, where the path does not tell."""
    known = recipe.facts.domains
    if member.domain and member.domain not in known:
        raise DataError(f"--src names the domain '{member.domain}', but {recipe.name} has "
                        f'{", ".join(known)}.')
    if not member.domain and not slot.domains:
        raise DataError(f'The path {member.path} does not tell its domain. Name it before the '
                        f'source: --src {" ".join(f"{domain}=PATH" for domain in known)}.')
    return replace(slot, domains=(member.domain,)) if member.domain else slot


def _put(found: dict[Key, tuple[int, Member]], key: Key, rank: int, member: Member) -> None:
    """Enter a member, unless a better one is there; copies of one file are no matter."""
    if key in found:
        best, other = found[key]
        if rank == best and member.size != other.size:
            raise DataError(f'Both {other.path} and {member.path} are {"/".join(key)}, and they '
                            'differ. Give only one of them to --src.')
        if rank >= best:
            return
    found[key] = rank, member


def _encoding(recipe: Recipe, labels: Sequence[Member], group: str, options: Mapping[str, str]
              ) -> Encoding:
    """How the labels of one split and domain are stored."""
    seen = Seen(False, frozenset())
    for count, member in enumerate(_spread(labels, recipe.look), start=1):
        stored = decode_label(member.read(), member.path)
        ids = np.flatnonzero(np.bincount(stored.ravel(), minlength=256))
        seen = Seen(seen.colours or stored.ndim == 3, seen.ids | {int(i) for i in ids})
        if count >= recipe.look and (encoding := recipe.labels(seen, options)):
            return encoding
    if (encoding := recipe.labels(seen, options)) is None:
        raise DataError(
            f'The labels of {group} hold the ids {sorted(seen.ids)}, which does not tell how the '
            f'classes are numbered. Say it: '
            + ' or '.join(f'--option {name}={value}' for name, values in recipe.options.items()
                          for value in values[1:]) + '.')
    return encoding


def _spread(labels: Sequence[Member], look: int) -> Iterator[Member]:
    """`look` evenly spaced labels, then the others; none where nothing is to be seen."""
    if look:
        first = [i * len(labels) // min(look, len(labels)) for i in range(min(look, len(labels)))]
        yield from (labels[i] for i in first)
        yield from (labels[i] for i in range(len(labels)) if i not in set(first))
