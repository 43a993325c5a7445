# SPDX-License-Identifier: Apache-2.0
"""Statistics of the training domain for a bundle's card: what `crossearth gap` compares with."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from crossearth.datasets import check_dataset
from crossearth.errors import CrossEarthError
from crossearth.inference.gap import domain_statistics, torch_embedder
from crossearth.style.kinds import build_kind
from crossearth.transforms.loading import read_image

__all__ = ['training_statistics']

STYLE = 'magenta'
SEED = 0


def training_statistics(
    dataset: Mapping[str, Any], model: nn.Module, normalisation: Mapping[str, Any],
    crop: Sequence[int], images: int,
) -> tuple[dict[str, Any], str]:
    """Describe the training images by their style and by the model's features.

    Args:
        dataset: Config of the training data set.
        model: The trained segmentor.
        normalisation: `mean`, `std` and `bands` of the card.
        crop: Side of a tile (rows, columns) in px.
        images: Number of images to look at, spread at random.

    Returns:
        The statistics and nothing, or nothing and why there are none: the training data or the
        style network may be on another machine.
    """
    try:
        paths = [sample['img_path'] for sample in check_dataset(dataset)]
        nets = build_kind(STYLE)
        features = torch_embedder(model.eval().get_submodule('backbone'), normalisation['mean'],
                                  normalisation['std'])
        chosen = np.random.default_rng(SEED).permutation(len(paths))[:images]
        rgb = tuple(normalisation['bands']) == ('R', 'G', 'B')
        tiles = _tiles([paths[index] for index in chosen], crop, rgb)
        return domain_statistics(tiles, torch_embedder(nets.predictor), features,
                                 style_kind=STYLE, style_sha256=nets.sha256), ''
    except CrossEarthError as error:
        return {}, str(error)


def _tiles(paths: list[str], crop: Sequence[int], rgb: bool) -> Iterator[np.ndarray]:
    """One tile of each image, (3, h, w) in the model's order of bands."""
    rng = np.random.default_rng(SEED)
    for path in paths:
        image = read_image(path)
        height, width = (min(side, limit) for side, limit in
                         zip(image.shape[:2], crop, strict=True))
        row, column = (int(rng.integers(0, side - used + 1)) for side, used in
                       zip(image.shape[:2], (height, width), strict=True))
        tile = image[row:row + height, column:column + width]
        missing = [(0, limit - side) for limit, side in zip(crop, tile.shape[:2], strict=True)]
        tile = np.pad(tile, [*missing, (0, 0)], mode='edge')
        yield (tile[..., ::-1] if rgb else tile).transpose(2, 0, 1)
