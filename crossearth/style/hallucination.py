# SPDX-License-Identifier: Apache-2.0
"""Style hallucination: the first features of an image, once more in a style mixed of known ones.

Zhao et al. 2022, SHADE (arXiv 2204.02548): a style is mean and standard deviation of every channel.
Basis styles lie far apart among those of the training images; a new style is a random convex
combination of them. The network must say the same in both styles.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine import dist
from torch import Tensor, nn

from .draws import IterationDraws

__all__ = ['StyleHallucination', 'farthest_points', 'js_divergence', 'style_of']


class StyleHallucination(nn.Module):
    """Doubles the batch of a feature map: as it is, and in new styles.

    It acts from the iteration on in which as many styles have been seen as the basis has; the basis
    is chosen then, and anew after every `interval` iterations, by farthest point sampling among the
    last styles of all ranks. What it knows is saved with a training and left out at test.

    Args:
        channels: C of the feature map.
        styles: Number of basis styles K. The weights of a combination come from a symmetric
            Dirichlet distribution with concentration 1 / K: mostly one style, slightly mixed.
        interval: Iterations between two choices of the basis.
        memory: Number of styles M that are remembered.
        weight: Weight of the consistency of predictions.
    """

    base: Tensor
    memory: Tensor
    seen: Tensor
    chosen_at: Tensor

    def __init__(
        self,
        channels: int,
        styles: int = 64,
        interval: int = 4000,
        memory: int = 1024,
        weight: float = 10.0,
    ) -> None:
        super().__init__()
        self.interval, self.weight = interval, weight
        self.register_buffer('base', torch.zeros(styles, 2, channels))
        self.register_buffer('memory', torch.zeros(max(memory, styles), 2, channels))
        self.register_buffer('seen', torch.tensor(0))
        self.register_buffer('chosen_at', torch.tensor(0))  # iterations count from 1
        self.draws = IterationDraws()
        self.draws.state[0] ^= 2  # another sequence than those of masks and styles
        self.active = False

    def begin(self) -> bool:
        """Begin an iteration.

        Returns:
            Whether its batch will be doubled; the same on all ranks.
        """
        self.draws.advance()
        iteration, chosen_at = int(self.draws.state[1]), int(self.chosen_at)
        enough = int(self.seen) >= len(self.base)
        if enough and (not chosen_at or iteration - chosen_at >= self.interval):
            known = self.memory[:int(self.seen)]
            self.base.copy_(known[farthest_points(known.flatten(1), len(self.base))])
            self.chosen_at.fill_(iteration)
        self.active = enough
        return self.active

    def forward(self, features: Tensor) -> Tensor:
        """Remember the styles of a map (B, C, H, W), and add restyled ones: (2B, C, H, W).

        Outside of training, and as long as too few styles are known, nothing is added.
        """
        if not self.training:
            return features
        style = style_of(features)
        active = self.active
        self._remember(style)
        if not active:
            return features
        new = self._mix(len(features)).to(features)
        (mean, std), (new_mean, new_std) = (s[..., None, None].unbind(1) for s in (style, new))
        return torch.cat([features, (features - mean) / std * new_std + new_mean])

    def hook(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        """Act as a forward hook of the layer that makes the map."""
        return self(output)

    def consistency(self, logits: Tensor) -> Tensor:
        """Weighted divergence of the predictions in both styles, from logits (2B, K, h, w)."""
        return self.weight * js_divergence(*logits.chunk(2))

    def _mix(self, count: int) -> Tensor:
        """Draw new styles (count, 2, C)."""
        seed = int(torch.randint(2**62, (), generator=self.draws.generator))
        # NumPy's stays exact for tiny concentrations, where a quotient of gamma variates does not
        weights = np.random.default_rng(seed).dirichlet(
            np.full(len(self.base), 1 / len(self.base)), size=count)
        return torch.einsum('nk,ksc->nsc', self.base.new_tensor(weights), self.base)

    @torch.no_grad()
    def _remember(self, styles: Tensor) -> None:
        of_all = torch.cat(dist.all_gather(styles.float().contiguous()))
        places = (int(self.seen) + torch.arange(len(of_all))) % len(self.memory)
        self.memory[places.to(self.memory.device)] = of_all
        self.seen += len(of_all)


def style_of(features: Tensor, eps: float = 1e-6) -> Tensor:
    """Mean and standard deviation of every channel of maps (B, C, H, W), as (B, 2, C)."""
    variance, mean = torch.var_mean(features, dim=(2, 3), correction=0)
    return torch.stack([mean, (variance + eps).sqrt()], dim=1)


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Choose points that lie far apart: each is the farthest from those chosen before.

    Args:
        points: (N, D). The first that is chosen is the farthest from their mean.
        count: Number of points, at most N.

    Returns:
        Indices (count,).
    """
    chosen = [int((points - points.mean(dim=0)).norm(dim=1).argmax())]
    nearest = torch.full((len(points),), math.inf, device=points.device)
    for _ in range(count - 1):
        nearest = nearest.minimum((points - points[chosen[-1]]).norm(dim=1))
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen, device=points.device)


def js_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Jensen-Shannon divergence in nats of the distributions of two logits, mean over all cells.

    Args:
        first: Logits (B, K, h, w).
        second: Logits of the same shape.
    """
    p, q = (logits.float().log_softmax(dim=1) for logits in (first, second))
    mixture = torch.logaddexp(p, q) - math.log(2)
    first_part, second_part = (
        F.kl_div(mixture, log, reduction='none', log_target=True).sum(dim=1) for log in (p, q))
    return (first_part + second_part).mean() / 2
