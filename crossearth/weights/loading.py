# SPDX-License-Identifier: Apache-2.0
"""Read files of weights without running code from them, and load a frozen backbone completely.

A backbone that is loaded in part trains and tests without any complaint, only badly: everything
here refuses rather than warns.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file
from torch import Tensor

from crossearth.compat import load_checkpoint
from crossearth.errors import CheckpointError, WeightsNotFoundError

if TYPE_CHECKING:  # the models take seconds to import, and reading a file needs none of them
    from crossearth.models.backbones import AdaptedViT

__all__ = ['LoadReport', 'load_backbone', 'read_state_dict']

WRAPPERS = ('state_dict', 'model', 'teacher')  # keys under which frameworks put the tensors
# Backbones convert the grid of positions and the size of patches while loading; the dimensions left
# must fit.
FIXED_DIMS = {'pos_embed': slice(0, None, 2), 'patch_embed.proj.weight': slice(0, 2)}


@dataclass(frozen=True)
class LoadReport:
    """What was loaded.

    Args:
        matched: Number of pre-trained parameters that the file filled.
        total: Number of pre-trained parameters of the backbone.
        missing: Parameters that the file does not hold.
        unexpected: Tensors of the file that the backbone does not have; they were left out.
    """

    matched: int
    total: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a `.safetensors` or PyTorch file into main memory.

    Tensors under `state_dict`, `model` or `teacher` are unwrapped, and a `module.` before every
    name (of data-parallel training) is cut off. Entries that are no tensors are left out.

    Raises:
        WeightsNotFoundError: There is no such file.
        UnsafeCheckpointError: The file would have to run code to be loaded.
        CheckpointError: The file is truncated or damaged, or holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFoundError(
            f'there is no file of weights at {path.absolute()}. Correct the path.')
    content = _read(path)
    while isinstance(content, dict) and (inner := _wrapped(content)) is not None:
        content = inner
    entries = content if isinstance(content, dict) else {}
    tensors = {key: value for key, value in entries.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(
            f'{path} holds no tensors by name, but {type(content).__name__} data. Give a file '
            'with the state dict of a model.')
    if all(key.startswith('module.') for key in tensors):
        tensors = {key.removeprefix('module.'): value for key, value in tensors.items()}
    return tensors


def load_backbone(vit: 'AdaptedViT', path: str | Path) -> LoadReport:
    """Fill the pre-trained part of a backbone from a file, completely or not at all.

    Patch kernel and position embedding are converted to the sizes of the backbone by the backbone
    itself. The adapters stay as they are.

    Args:
        vit: Backbone with official parameter names.
        path: File of weights.

    Returns:
        What was loaded.

    Raises:
        CheckpointError: A parameter is missing from the file or has another shape.
    """
    state = read_state_dict(path)
    names = dict.fromkeys(vit.pretrained_names())
    missing = tuple(name for name in names if name not in state)
    unexpected = tuple(key for key in state if key not in names and key != 'mask_token')
    report = LoadReport(len(names) - len(missing), len(names), missing, unexpected)
    _check_complete(report, path)
    _check_shapes(vit, state, path)
    wanted = {name: state[name] for name in names}
    try:
        vit.load_state_dict(wanted, strict=False)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(
            f'{path} does not fit the backbone: {reason}. Set backbone.arch and '
            'backbone.num_registers to those of the weights.') from error
    return report


def _read(path: Path) -> Any:
    try:
        if path.suffix == '.safetensors':
            return load_file(path)
        return load_checkpoint(path, map_location='cpu')
    except CheckpointError:
        raise
    except Exception as error:  # decoding damaged bytes can fail in any way
        raise CheckpointError(
            f'{path} cannot be read: it is truncated, damaged or of another format than its name '
            f'says ({type(error).__name__}: {error}). Copy, download or convert it again.'
        ) from error


def _wrapped(content: dict[str, Any]) -> dict[str, Any] | None:
    inner = (content[key] for key in WRAPPERS if isinstance(content.get(key), dict))
    return next(inner, None)


def _check_complete(report: LoadReport, path: str | Path) -> None:
    if report.missing:
        raise CheckpointError(
            f'{path} fits the backbone only in part: {report.matched} of {report.total} '
            f'parameters match, missing {_few(report.missing)}, unexpected '
            f'{_few(report.unexpected)}. A frozen backbone needs all of them: give the full '
            'pre-trained file, or set backbone.arch and backbone.num_registers to those of the '
            'weights.')
    if 'register_tokens' in report.unexpected:  # all parameters match, yet the features are wrong
        raise CheckpointError(
            f'{path} was trained with register tokens, but the backbone has none. Set '
            'backbone.num_registers=4, or use the weights without registers.')


def _check_shapes(vit: 'AdaptedViT', state: dict[str, Tensor], path: str | Path) -> None:
    parameters = dict(vit.named_parameters())
    wrong = [
        f'{name} is {tuple(state[name].shape)}, not {tuple(parameters[name].shape)}'
        for name in vit.pretrained_names()
        if _fixed(name, state[name]) != _fixed(name, parameters[name])]
    if wrong:
        raise CheckpointError(
            f'{path} is of another architecture than the backbone: {_few(wrong)}. Set '
            'backbone.arch to that of the weights.')


def _fixed(name: str, tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)[FIXED_DIMS.get(name, slice(None))]


def _few(items: tuple[str, ...] | list[str], count: int = 3) -> str:
    rest = f' and {len(items) - count} more' if len(items) > count else ''
    return (', '.join(items[:count]) or 'none') + rest
