# SPDX-License-Identifier: Apache-2.0
"""A trained model under analysis: what it predicts, and what happens inside it.

It comes from a bundle, or from the config and a checkpoint of a training; both predict as
`tools/test.py` does.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from numpy.typing import NDArray
from torch import Tensor, nn

from crossearth.engine.bundling import load_trained
from crossearth.engine.config import load_config
from crossearth.errors import CheckpointError, ConfigError, suggest
from crossearth.inference.bundle import build_network, choose_device
from crossearth.inference.card import CARD, Card, read_card

__all__ = ['DEFAULT_LAYER', 'Subject', 'load_subject']

DEFAULT_LAYER = 'out2'  # the patch grid as the head gets it: stride 16, not resampled
OUTPUTS = re.compile(r'out(\d+)')


@dataclass(frozen=True)
class Subject:
    """A model.

    Args:
        title: Its name in pictures.
        network: The segmentor, in evaluation mode.
        card: How it wants its images.
        device: Where it runs.
    """

    title: str
    network: Any
    card: Card
    device: torch.device

    def scores(
        self, image: NDArray[np.uint8], size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Score the pixels of an image as a test does, by windows where the config says so.

        Args:
            image: RGB (h, w, 3).
            size: (H, W) of the label.

        Returns:
            Shares of the classes (C, H, W), which add up to 1.
        """
        with torch.inference_mode():
            scores = self.network.inference(self._inputs(image)).float()
            if scores.shape[-2:] != size:
                scores = F.interpolate(scores, size, mode='bilinear', align_corners=False)
            scores = (scores.softmax(1) if self.card.output == 'logits'
                      else scores / scores.sum(1, keepdim=True).clamp(min=1e-12))
        shares: NDArray[np.float32] = scores[0].cpu().numpy()
        return shares

    def features(self, image: NDArray[np.uint8], layer: str) -> NDArray[np.float32]:
        """Give the feature map of a layer.

        Args:
            image: RGB (h, w, 3).
            layer: `out0` to `out3`, the maps that the backbone hands to the head, or the name of a
                module of the network; of several calls of it the last counts.

        Returns:
            Features (y, x, D).

        Raises:
            ConfigError: There is no such layer, or it gives no map.
        """
        inputs = self._inputs(image)
        with torch.inference_mode():
            if match := OUTPUTS.fullmatch(layer):
                found = self._output(inputs, int(match[1]))
            else:
                found = self._module_map(inputs, layer)
        features: NDArray[np.float32] = found[0].permute(1, 2, 0).float().cpu().numpy()
        return features

    def observe(
        self, image: NDArray[np.uint8], module: nn.Module, note: Callable[..., None]
    ) -> None:
        """Run the backbone on an image, and call `note` before each call of a module.

        Args:
            image: RGB (h, w, 3).
            module: A module of the backbone.
            note: Gets the positional arguments of the module.
        """
        handle = module.register_forward_pre_hook(lambda _, arguments: note(*arguments))
        try:
            with torch.inference_mode():
                self.network.extract_feat(self._inputs(image))
        finally:
            handle.remove()

    def _inputs(self, image: NDArray[np.uint8]) -> Tensor:
        """Normalised images (1, 3, h, w) with the bands in the model's order."""
        bands = image if tuple(self.card.bands) == ('R', 'G', 'B') else image[..., ::-1]
        batch = torch.from_numpy(bands.transpose(2, 0, 1)[None].astype(np.float32))
        mean, std = (torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
                     for values in (self.card.mean, self.card.std))
        return ((batch - mean) / std).to(self.device)

    def _output(self, inputs: Tensor, index: int) -> Tensor:
        features = self.network.extract_feat(inputs)
        with_queries = isinstance(features, tuple) and not isinstance(features[0], Tensor)
        maps: Any = features[0] if with_queries else features
        if index >= len(maps):
            raise ConfigError(f'--layer out{index}: the backbone of {self.title} gives '
                              f'{len(maps)} maps. Choose out0 to out{len(maps) - 1}.')
        found: Tensor = maps[index]
        return found

    def _module_map(self, inputs: Tensor, layer: str) -> Tensor:
        modules = dict(self.network.named_modules())
        if layer not in modules or not layer:
            raise ConfigError(
                f"--layer '{layer}': {self.title} has no such module.{suggest(layer, modules)} "
                'Choose out0 to out3, or a name such as '
                f"{', '.join(list(modules)[1::max(1, len(modules) // 4)][:4])}.")
        caught: list[Any] = []
        handle = modules[layer].register_forward_hook(
            lambda _, __, output: caught.append(output))
        try:
            features = self.network.extract_feat(inputs)
            if not caught:
                self.network.decode_head(features)
        finally:
            handle.remove()
        found = self._as_map(caught[-1], inputs) if caught else None
        if found is None:
            raise ConfigError(f"--layer '{layer}' of {self.title} gives no feature map. Choose "
                              'out0 to out3, or a block of the backbone.')
        return found

    def _as_map(self, output: Any, inputs: Tensor) -> Tensor | None:
        """The first map (B, D, y, x) in an output; patch tokens (B, P + N, D) become one."""
        if isinstance(output, Mapping):
            output = list(output.values())
        if isinstance(output, list | tuple):
            return next((found for item in output
                         if (found := self._as_map(item, inputs)) is not None), None)
        # one image went in: what has another first size is stacked by something else
        if not isinstance(output, Tensor) or output.ndim not in (3, 4) or len(output) != 1:
            return None
        if output.ndim == 4:
            return output
        backbone = self.network.backbone
        if not hasattr(backbone, 'patch_size'):
            return None
        rows, columns = (-(-side // backbone.patch_size) for side in inputs.shape[-2:])
        prefix = output.shape[1] - rows * columns
        if prefix not in (0, backbone.num_prefix_tokens):  # queries, for one
            return None
        return output[:, prefix:].transpose(1, 2).reshape(1, -1, rows, columns)


def load_subject(
    text: str, cfg: Config, classes: Sequence[str], device: str = 'auto'
) -> Subject:
    """Load the model that a command line names.

    Args:
        text: `[TITLE=]MODEL`, where MODEL is the folder of a bundle, a checkpoint of the config, or
            `CONFIG,CHECKPOINT`.
        cfg: The config that a checkpoint alone belongs to.
        classes: Those of the data, which must be the model's.
        device: `auto`, or a name of torch.

    Raises:
        CrossEarthError: The model is missing, incomplete or damaged, or has other classes.
    """
    title, _, where = text.rpartition('=')
    path, chosen = Path(where), choose_device(device)
    if (path / CARD).is_file():
        card = read_card(path)
        network: Any = build_network(path, card)
    else:
        config, _, checkpoint = where.rpartition(',')
        if not Path(checkpoint).is_file():
            raise CheckpointError(f'{where} is neither a bundle nor a checkpoint. Give the folder '
                                  'of a bundle, a .pth file, or CONFIG,CHECKPOINT.')
        network, card = load_trained(load_config(config) if config else cfg, checkpoint)
    if tuple(card.classes) != tuple(classes):
        raise ConfigError(f'{where} knows the classes {", ".join(card.classes)}, but the data have '
                          f'{", ".join(classes)}. Give a model of these data.')
    network = network.to(chosen).eval().requires_grad_(False)
    return Subject(title or (path.parent.name if path.suffix else path.name), network, card, chosen)
