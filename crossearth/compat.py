# SPDX-License-Identifier: Apache-2.0
"""What the stack needs to run safely and quietly here; the only file that patches other packages.

Three mends, each with the release of onedl-mmengine that it was written against (0.10.12):

* `protect_checkpoints`: mmengine falls back to unpickling arbitrary code when a checkpoint holds a
  type that its allow-list lacks. Ours never does.
* `init_distributed`: mmengine's launcher selects a CUDA device even for gloo on a CPU.
* `silence`: messages of the mm* packages that users can do nothing about.

Importing this module loads neither torch nor mm*; each function imports what it patches.
"""

import functools
import io
import logging
import os
import pickle
import pickletools
import re
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from crossearth.errors import CheckpointError, ConfigError, UnsafeCheckpointError

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = [
    'Inert',
    'allow_safe_globals',
    'apply',
    'init_distributed',
    'load_checkpoint',
    'protect_checkpoints',
    'silence',
    'use_passive_threads',
]

NOISE = (
    'Could not import OneDL',                                # mmseg.datasets: a commercial client
    'Fail to import ``MultiScaleDeformableAttention``',      # mmcv.cnn: we never use compiled ops
    'Line NMS is not compiled',                              # mmdet, if installed for parity tests
    '"FileClient" will be deprecated',                       # mmengine's own hooks call it
    '"HardDiskBackend" is the alias of',
    'Failed to search registry with scope',                  # a KeyError follows if it matters
    'The prefix is not set in metric class',                 # only matters with two like metrics
    'is skipped since its requires_grad=False',              # a line for each frozen tensor
    '`broadcast_buffers` is deprecated',                     # mmengine's wrapper passes it
    'Default ``avg_non_ignore`` is False',                   # every mmseg head builds this loss
    'For binary segmentation, we suggest using',             # two classes are two logits here
)

# Hundreds of lines at the start of every run: for the log file, not for the terminal.
FILE_ONLY = (
    'System environment:', 'Config:\n', 'Hooks will be executed',
    'Distributed training is not used')

# Objects of these packages lie beside the tensors of checkpoints: configs, paths, dates. They are
# not needed, so stand-ins take their place. Types of any other package are refused: they have no
# business there.
INERT_PACKAGES = frozenset({
    'argparse', 'datetime', 'fvcore', 'mmcv', 'mmdet', 'mmengine', 'mmseg', 'omegaconf', 'pathlib'})
MAX_PICKLE = 1 << 28  # bytes; tensors lie outside the pickle, and a bomb need not be unpacked
NOT_CONTENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


def apply() -> None:
    """Silence the known noise and make every checkpoint load safe; calling it twice is harmless."""
    silence()
    protect_checkpoints()


def use_passive_threads() -> None:
    """Let idle OpenMP threads sleep instead of spin; has an effect only before torch is imported.

    Spinning makes code of small operations up to ten times slower as soon as another process
    shares the cores.
    """
    if 'torch' not in sys.modules:
        os.environ.setdefault('OMP_WAIT_POLICY', 'passive')


# ---------------------------------------------------------------------------------------- noise

def silence() -> None:
    """Drop the messages of `NOISE` from now on, whichever way they are issued; others pass."""
    from mmengine import logging as mm_logging
    from mmengine.logging import logger as mm_logger

    for message in NOISE:
        warnings.filterwarnings('ignore', message=f'.*{re.escape(message)}')
    if getattr(mm_logging.print_log, 'silenced', False):
        return
    mm_logging.print_log = mm_logger.print_log = _without_noise(mm_logger.print_log)
    # On the class, because each Runner makes a logger of its own.
    mm_logger.MMLogger.filter = _filter_record


def _is_noise(message: object) -> bool:
    return any(noise in str(message) for noise in NOISE)


def _without_noise(print_log: Any) -> Any:
    """`print_log`, which prints to stdout when it has no logger, without the noise."""
    @functools.wraps(print_log)
    def quiet_print_log(msg: object, *args: Any, **kwargs: Any) -> None:
        if not _is_noise(msg):
            print_log(msg, *args, **kwargs)

    quiet_print_log.silenced = True  # type: ignore[attr-defined]  # a mark of ours on a function
    return quiet_print_log


def _filter_record(self: logging.Logger, record: logging.LogRecord) -> bool | logging.LogRecord:
    message = record.getMessage()
    if any(start in message[:100] for start in FILE_ONLY):
        for handler in self.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handle(record)
        return False
    return not _is_noise(message) and logging.Filterer.filter(self, record)


# ---------------------------------------------------------------------------------- checkpoints

def protect_checkpoints() -> None:
    """Make mmengine load checkpoints with `weights_only=True` or not at all."""
    from mmengine.runner import checkpoint

    checkpoint._safe_torch_load = load_checkpoint


@functools.cache
def allow_safe_globals() -> None:
    """Let `torch.load(weights_only=True)` read the log buffers in checkpoints of mmengine.

    They are NumPy arrays and scalars and `HistoryBuffer` objects. The latter name their statistics
    through `getattr`, which we replace by a look-up that reaches these statistics and nothing else.
    """
    import numpy as np
    import torch
    from mmengine.logging import HistoryBuffer

    makers = {'scalar': np.float64(0).__reduce__()[0], '_reconstruct': np.empty(0).__reduce__()[0]}
    functions = {f'numpy.{package}.multiarray.{name}': maker
                 for package in ('core', '_core')  # as numpy 1 and numpy 2 write it
                 for name, maker in makers.items()}
    functions['builtins.getattr'] = _history_statistic
    torch.serialization.add_safe_globals([
        np.ndarray, np.dtype, slice, HistoryBuffer,
        *{type(np.dtype(code)) for code in np.typecodes['AllInteger'] + '?efd'},
        *(_alias(function, path) for path, function in functions.items()),
    ])


def _alias(function: Any, path: str) -> Any:
    """`function` under the name `path`: torch < 2.6 takes no (function, name) pairs."""
    def alias(*args: Any) -> Any:
        return function(*args)

    alias.__module__, alias.__name__ = path.rsplit('.', 1)
    alias.__qualname__ = alias.__name__
    return alias


def _history_statistic(owner: object, name: str) -> Any:
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed')
    return getattr(HistoryBuffer, name)


class Inert:
    """Stands for an object of a checkpoint whose class was neither imported nor called."""

    def __init__(self, *state: object) -> None:
        """Forget `state`."""

    def __setstate__(self, state: object) -> None:
        """Forget `state`."""

    def __repr__(self) -> str:
        return f'<{type(self).__module__}.{type(self).__qualname__}, not loaded>'


def load_checkpoint(
    file: Any, map_location: Any = None, weights_only: object = None, *, trust: bool = False
) -> Any:
    """Load a checkpoint that holds nothing but data; mmengine's own loader becomes this function.

    Objects of frameworks beside the tensors become `Inert`; no code of theirs runs.

    Args:
        file: Path, or a binary file object.
        map_location: As of `torch.load`.
        weights_only: Only there for mmengine, which passes it; always taken as True.
        trust: Load a file that could run code all the same, with a warning.

    Raises:
        UnsafeCheckpointError: The file could run code, and is not trusted.
        CheckpointError: The file is truncated, damaged or no checkpoint.
    """
    allow_safe_globals()
    try:
        content = _load(file, map_location, safely=True)
    except UnsafeCheckpointError:
        if not trust:
            raise
        from mmengine.logging import print_log

        print_log(f'{file} could run any code on this machine while it is loaded. That is done, '
                  'because you trust it (--trust-checkpoint).', 'current', logging.WARNING)
        content = _load(file, map_location, safely=False)
    # `Runner.resume` would execute this entry as a config; mmengine itself writes `cfg`, which is
    # never evaluated.
    if isinstance(content, dict) and isinstance(content.get('meta'), dict):
        content['meta'].pop('config', None)
    return content


def _load(file: Any, map_location: Any, *, safely: bool) -> Any:
    import torch

    if hasattr(file, 'seek'):
        file.seek(0)
    try:
        with _stand_ins(file) if safely else nullcontext():
            return torch.load(file, map_location=map_location, weights_only=safely)
    except (torch.cuda.OutOfMemoryError, *NOT_CONTENT):
        raise
    except Exception as error:  # decoding damaged bytes can fail in any way
        raise _refusal(file, str(error) or type(error).__name__) from error


@contextmanager
def _stand_ins(file: Any) -> Iterator[None]:
    """Let torch read an `Inert` wherever `file` names a type of `INERT_PACKAGES`."""
    from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

    allowed = get_safe_globals()
    known = {f'{known.__module__}.{known.__qualname__}'
             for known in allowed if not isinstance(known, tuple)}  # torch also takes pairs
    names = {name for name in _global_names(file) if name not in known}
    add_safe_globals([
        type(name.rpartition('.')[2], (Inert,), {'__module__': name.rpartition('.')[0]})
        for name in names if name.partition('.')[0] in INERT_PACKAGES])
    try:
        yield
    finally:
        clear_safe_globals()
        add_safe_globals(allowed)


def _global_names(file: Any) -> set[str]:
    """The types and functions that the pickles of a checkpoint name; nothing is unpickled."""
    names: set[str] = set()
    try:
        if hasattr(file, 'read'):
            _scan(file, names)
            file.seek(0)
        else:
            with Path(file).open('rb') as stream:
                _scan(stream, names)
    except NOT_CONTENT:
        raise
    except Exception:  # damaged: torch.load will say so
        return names
    return names


def _scan(stream: BinaryIO, names: set[str]) -> None:
    if zipfile.is_zipfile(stream):
        with zipfile.ZipFile(stream) as archive:
            streams: list[Any] = [
                io.BytesIO(archive.read(entry)) for entry in archive.infolist()
                if entry.filename.endswith('data.pkl') and entry.file_size < MAX_PICKLE]
    else:  # torch < 1.6: magic number, version, system and content, one after the other
        stream.seek(0)
        streams = [stream] * 4
    for part in streams:
        names.update(
            str(argument).replace(' ', '.')
            for opcode, argument, _ in pickletools.genops(part) if opcode.name == 'GLOBAL')


def _refusal(file: object, reason: str) -> CheckpointError:
    """The error that says why torch could not load `file`, out of its page-long message."""
    reason = reason.rpartition('WeightsUnpickler error:')[2].strip()
    unsafe = re.search(r'GLOBAL [\w.]+|.*\b(allowed|allowlisted|reduce)\b.*', reason)
    if unsafe:
        return UnsafeCheckpointError(
            f'The checkpoint {file} holds more than tensors and plain values and could run code '
            f'when loaded, so it is refused ({unsafe[0]}). Ask its author for a safetensors file, '
            'or re-save its state_dict on a machine that you can throw away; --trust-checkpoint '
            'loads it here, with all that it may do.')
    first_sentence = re.split(r'\n|[.] ', reason)[0] or 'empty file'
    return CheckpointError(
        f'The checkpoint {file} cannot be read: it is truncated, damaged or no checkpoint '
        f'({first_sentence}). Use an older one of the same folder, or copy or download it again.')


# ------------------------------------------------------------------------------ several processes

def init_distributed(launcher: str, cfg: 'Config') -> None:
    """Prepare `cfg` for `launcher`; without a GPU, also join the gloo process group.

    With GPUs mmengine's Runner does everything itself.

    Args:
        launcher: `none`, `pytorch`, `slurm` or `mpi`, as mmengine names them.
        cfg: Config of the run; `launcher` and, on a CPU, `model_wrapper_cfg` are set in place.

    Raises:
        ConfigError: A launcher other than `none` and `pytorch` on a machine without GPUs.
    """
    import torch
    from torch import distributed

    cfg.launcher = launcher
    if launcher == 'none' or torch.cuda.is_available():
        return
    if launcher != 'pytorch':
        raise ConfigError(
            f"launcher '{launcher}' needs a GPU in every process, and none is visible. Start with "
            "torchrun and launcher 'pytorch' to run on CPUs, or check CUDA_VISIBLE_DEVICES.")
    # With a group, the Runner skips its own initialisation, which calls torch.cuda.set_device.
    if not distributed.is_initialized():
        distributed.init_process_group('gloo')
    wrapper = dict(cfg.get('model_wrapper_cfg') or {})
    wrapper.setdefault('type', 'MMDistributedDataParallel')
    wrapper.setdefault('broadcast_buffers', False)
    wrapper.setdefault('find_unused_parameters', cfg.get('find_unused_parameters', False))
    cfg.model_wrapper_cfg = {**wrapper, 'device_ids': None}
