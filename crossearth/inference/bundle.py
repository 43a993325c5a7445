# SPDX-License-Identifier: Apache-2.0
"""A model bundle <-> a network that is ready to score tiles."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from crossearth.errors import BundleError, ConfigError
from crossearth.inference.card import WEIGHTS, Card, check_types, read_card
from crossearth.inference.predictor import Predictor
from crossearth.registry import MODELS
from crossearth.weight_files import file_sha256, save_tensors

__all__ = ['TorchScorer', 'build_network', 'choose_device', 'load_predictor', 'write_bundle']


def write_bundle(folder: str | Path, model: nn.Module, card: Card) -> Path:
    """Write a bundle that holds everything: the frozen backbone too.

    Args:
        folder: New or existing folder; its card is written last.
        model: The segmentor whose description is `card.model`.
        card: What is known about it; its hash is filled in.

    Returns:
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(_tensors(model), folder / WEIGHTS, {'format': 'crossearth-bundle'})
    replace(card, sha256=file_sha256(folder / WEIGHTS)).write(folder)
    return folder


def build_network(folder: str | Path, card: Card) -> nn.Module:
    """Build the segmentor of a card and fill it completely.

    Args:
        folder: The bundle.
        card: Its card.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        BundleError: The card describes no model of ours, or the weights do not fit it.
    """
    check_types(card.model, MODELS.get)
    path = Path(folder) / WEIGHTS
    try:
        model = MODELS.build(_plain(card.model))
    except Exception as error:  # arguments of a card can be wrong in any way
        raise BundleError(f'{folder}: the model of the card cannot be built ({error}). Install the '
                          'version of crossearth that wrote the bundle.') from error
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BundleError(f'{path} cannot be read: {error}. Copy the bundle again.') from error
    _fill(model, state, path)
    return model.eval().requires_grad_(False)


def load_predictor(
    folder: str | Path, *, device: str = 'auto', amp: bool = False, tta: str = 'none'
) -> Predictor:
    """Load a bundle, ready to score tiles.

    Args:
        folder: The bundle.
        device: `auto`, or a name of torch such as `cpu` or `cuda:1`.
        amp: Compute in bfloat16 where it is safe.
        tta: `none` or `d4`.

    Raises:
        BundleError: See `read_card` and `build_network`.
        ConfigError: There is no such device.
    """
    card = read_card(folder)
    model = build_network(folder, card)
    scorer = TorchScorer(model, card, choose_device(device), amp=amp)
    return Predictor(scorer, len(card.classes), card, tta)


class TorchScorer:
    """Score normalised images with a segmentor.

    Args:
        model: Segmentor with `encode_decode`.
        card: Mean, standard deviation and kind of output.
        device: Where it runs.
        amp: Compute in bfloat16 where it is safe.
    """

    def __init__(
        self, model: nn.Module, card: Card, device: torch.device, *, amp: bool = False
    ) -> None:
        self.model = model.to(device)
        self.device = device
        self.amp = amp
        self.logits = card.output == 'logits'
        shape = (1, -1, 1, 1)
        self.mean = torch.tensor(card.mean, dtype=torch.float32, device=device).view(shape)
        self.std = torch.tensor(card.std, dtype=torch.float32, device=device).view(shape)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Images (N, C, h, w) float32 in 0..255 -> scores (N, K, h, w) float32 >= 0."""
        cast: Any = torch.autocast(self.device.type, torch.bfloat16) if self.amp else nullcontext()
        with torch.inference_mode(), cast:
            batch = torch.from_numpy(images).to(self.device, non_blocking=True)
            scores: Tensor = self.model.encode_decode((batch - self.mean) / self.std)  # type: ignore[operator]  # a Module's attribute
            scores = scores.float()
            if self.logits:
                scores = scores.softmax(1)
            return scores.cpu().numpy()


def choose_device(name: str = 'auto') -> torch.device:
    """The device of a name; `auto` prefers a graphics card.

    Raises:
        ConfigError: torch does not know it, or it is not there.
    """
    if name == 'auto':
        name = ('cuda' if torch.cuda.is_available()
                else 'mps' if torch.backends.mps.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f'--device {name} cannot be used ({str(error).splitlines()[0]}). Choose '
                          'auto or cpu.') from error
    return device


def _plain(node: Any) -> Any:
    """Lists of JSON as the tuples that configs have, at the leaves only."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        plain = [_plain(item) for item in node]
        return plain if any(isinstance(item, dict) for item in plain) else tuple(plain)
    return node


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and lasting buffer; `state_dict` of a segmentor leaves the backbone out."""
    with _whole_state(model):
        state: dict[str, Tensor] = model.state_dict()
    return {key: value.detach().cpu().contiguous().clone() for key, value in state.items()
            if not key.startswith('data_preprocessor.')}


@contextmanager
def _whole_state(model: nn.Module) -> Iterator[None]:
    """Let `state_dict` give what is frozen too."""
    hooks = model._state_dict_hooks
    kept = dict(hooks)
    hooks.clear()
    try:
        yield
    finally:
        hooks.update(kept)


def _fill(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    with _whole_state(model):
        wanted = {key: value.shape for key, value in model.state_dict().items()
                  if not key.startswith('data_preprocessor.')}
    missing, unknown = wanted.keys() - state.keys(), state.keys() - wanted.keys()
    shapes = [key for key in wanted.keys() & state.keys() if wanted[key] != state[key].shape]
    for what, keys in (('lacks', missing), ('holds the unknown', unknown),
                       ('has other shapes of', shapes)):
        if keys:
            raise BundleError(f'{path} does not fit its card: it {what} {sorted(keys)[0]} '
                              f'({len(keys)} in all). Copy the bundle again.')
    model.load_state_dict(state, strict=False)  # complete, as just checked
