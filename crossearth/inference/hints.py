# SPDX-License-Identifier: Apache-2.0
"""Which options of `crossearth predict` a scene needs for a model, and why."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossearth.inference.card import Card
from crossearth.inference.raster import RasterInfo, open_raster
from crossearth.inference.scene import UNLIKE

__all__ = ['Hint', 'needed_options', 'typical_range']

THINNED = 512  # px, side of the thinned copy that is looked at
TAIL = 2  # %, share of the values that are taken as outliers at the upper end
COLOURS = {'R': 'red', 'G': 'green', 'B': 'blue', 'NIR': 'nir', 'IR': 'nir'}


@dataclass(frozen=True)
class Hint:
    """One option.

    Args:
        option: As it is written on the command line.
        reason: Why, in one sentence.
    """

    option: str
    reason: str


def needed_options(info: RasterInfo, card: Card, *, remote: bool = False) -> list[Hint]:
    """Options without which a scene does not fit a model, and those that help.

    Args:
        info: The scene.
        card: The model.
        remote: As of `raster_info`.
    """
    hints = []
    bands = _matching(info.band_names, card.bands)
    if info.count != len(card.bands):
        guess = bands or list(range(1, len(card.bands) + 1))
        sure = 'as the file names them' if bands else 'a guess: check the order'
        hints.append(Hint(
            f'--bands {",".join(map(str, guess))}',
            f'the model takes {len(card.bands)} bands ({", ".join(card.bands)}), the file has '
            f'{info.count} ({sure})'))
    elif bands and bands != sorted(bands):
        hints.append(Hint(f'--bands {",".join(map(str, bands))}',
                          f'the model takes {", ".join(card.bands)} in this order'))
    if info.dtype != 'uint8':
        low, high = typical_range(info, bands or None, remote=remote)
        hints.append(Hint(
            f'--scale {low:g},{high:g}',
            f'the values are {info.dtype}; {100 - TAIL} % lie below {high:g}. Use the same for all '
            'scenes of a sensor'))
    if info.gsd_m and card.gsd_m and not 1 / UNLIKE < info.gsd_m / card.gsd_m < UNLIKE:
        hints.append(Hint('--gsd model', f'its pixels are {info.gsd_m:.3g} m wide, those of the '
                                         f'training {card.gsd_m:.3g} m'))
    return hints


def typical_range(
    info: RasterInfo, bands: Sequence[int] | None = None, *, remote: bool = False
) -> tuple[float, float]:
    """A range that holds the values of a thinned copy but for the highest 2 %.

    Args:
        info: The scene.
        bands: Which bands count; all if not given.
        remote: As of `raster_info`.

    Returns:
        0, or the lowest value if that is below, and a value rounded up to two digits.
    """
    shape = min(info.grid.height, THINNED), min(info.grid.width, THINNED)
    with open_raster(info.path, remote) as file:
        indexes = list(bands or range(1, info.count + 1))
        values = file.read(indexes, out_shape=(len(indexes), *shape)).astype(np.float64)
        valid = file.dataset_mask(out_shape=shape) > 0
    values = values[:, valid]
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    high = float(np.percentile(values, 100 - TAIL))
    step = 10.0 ** (math.floor(math.log10(high)) - 1) if high > 0 else 1.0
    return min(0.0, float(values.min())), max(math.ceil(round(high / step, 6)) * step, step)


def _matching(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Numbers of the bands that are called like those of the model; nothing if one is missing."""
    numbers = []
    for band in wanted:
        aliases = {band.lower(), COLOURS.get(band.upper(), band).lower()}
        found = [number for number, name in enumerate(names, 1) if name.lower() in aliases]
        if len(found) != 1:
            return []
        numbers += found
    return numbers
