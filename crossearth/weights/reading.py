# SPDX-License-Identifier: Apache-2.0
"""Read files of weights without running code from them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from crossearth.compat import load_checkpoint
from crossearth.errors import CheckpointError, WeightsNotFoundError

__all__ = ['Content', 'read_checkpoint', 'read_state_dict']

# Keys under which frameworks and the authors of the style networks put the tensors.
WRAPPERS = ('state_dict', 'model', 'teacher', 'state_dict_stylepredictor', 'state_dict_ghiasi')


@dataclass(frozen=True)
class Content:
    """What a file of weights holds.

    Args:
        tensors: Tensors by name, in main memory.
        extras: What else lies at the top level, such as `meta`, `optimizer`, `message_hub`.
        wrapper: The key under which the tensors lay; empty if at the top level.
    """

    tensors: dict[str, Tensor]
    extras: dict[str, Any]
    wrapper: str = ''

    @property
    def meta(self) -> dict[str, Any]:
        """The entry `meta` of a checkpoint; empty if there is none."""
        meta = self.extras.get('meta')
        return meta if isinstance(meta, dict) else {}


def read_checkpoint(path: str | Path, *, trust: bool = False) -> Content:
    """Read a `.safetensors` or PyTorch file.

    The tensors of a wrapper such as `state_dict` are unwrapped, and a `module.` before every name
    (of data-parallel training) is cut off. Entries of theirs that are no tensors are left out.

    Args:
        path: The file.
        trust: Load it even if it could run code; a warning says so.

    Raises:
        WeightsNotFoundError: There is no such file.
        UnsafeCheckpointError: The file would have to run code to be loaded.
        CheckpointError: The file is truncated or damaged, or holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFoundError(
            f'there is no file of weights at {path.absolute()}. Correct the path.')
    content, wrapper = _read(path, trust), ''
    extras: dict[str, Any] = {}
    while isinstance(content, dict) and (key := _wrapper(content)):
        extras = {**content, **extras}
        content, wrapper = extras.pop(key), key
    entries = content if isinstance(content, dict) else {}
    tensors = {key: value for key, value in entries.items()
               if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(
            f'{path} holds no tensors by name, but {type(content).__name__} data. Give a file '
            'with the state dict of a model.')
    if all(key.startswith('module.') for key in tensors):
        tensors = {key.removeprefix('module.'): value for key, value in tensors.items()}
    return Content(tensors, extras, wrapper)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a file; see `read_checkpoint`."""
    return read_checkpoint(path).tensors


def _read(path: Path, trust: bool) -> Any:
    try:
        if path.suffix == '.safetensors':
            return load_file(path)
        return load_checkpoint(path, map_location='cpu', trust=trust)
    except (CheckpointError, PermissionError):
        raise
    except Exception as error:  # decoding damaged bytes can fail in any way
        raise CheckpointError(
            f'{path} cannot be read: it is truncated, damaged or of another format than its name '
            f'says ({type(error).__name__}: {error}). Copy, download or convert it again.'
        ) from error


def _wrapper(content: dict[str, Any]) -> str | None:
    return next((key for key in WRAPPERS if isinstance(content.get(key), dict)), None)
