# SPDX-License-Identifier: Apache-2.0
"""Earth-Style Injection of a single sample, to look at it or to style in the data loader."""

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from crossearth.registry import TRANSFORMS

from .injection import StyleInjection

__all__ = ['EarthStyle']


@TRANSFORMS.register_module()
class EarthStyle(BaseTransform):
    """Restyle a part of an image.

    Training styles whole batches on their device instead, and decides once for an iteration.

    Required key: `img` (H, W, 3) uint8 BGR, which is replaced. Added key, where the sample was
    styled: `style_mask` (H, W) uint8, 1 = as it was.

    Args:
        probability: Probability that a sample is styled.
        style: Arguments of `StyleInjection`.
    """

    def __init__(self, probability: float = 1.0, **style: Any) -> None:
        self.arguments = {'mean': (0, 0, 0), 'std': (1, 1, 1), 'probability': probability, **style}
        StyleInjection(**self.arguments)  # so that wrong arguments fail here
        self.injection: StyleInjection | None = None

    def transform(self, results: dict) -> dict:
        """Restyle the image of the sample, or leave it."""
        if self.injection is None:
            # built at first use: in a worker of a data loader, torch has a seed for each of them
            self.injection = StyleInjection(**{'seed': torch.initial_seed(), **self.arguments})
        if not self.injection.draw():
            return results
        rgb = np.ascontiguousarray(results['img'][..., ::-1].transpose(2, 0, 1))
        styled, keep = self.injection(torch.from_numpy(rgb)[None].float())
        bgr = styled[0].round().byte().numpy()[::-1].transpose(1, 2, 0)
        return results | {
            'img': np.ascontiguousarray(bgr), 'style_mask': keep[0, 0].byte().numpy()}
