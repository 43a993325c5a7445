# SPDX-License-Identifier: Apache-2.0
"""Read a config file so that whatever is wrong with it is said in one paragraph.

A config is a program: mmengine executes it. Nothing here executes more than `Config.fromfile` does.
"""

import ast
import logging
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger

from crossearth import compat
from crossearth.errors import ConfigError, suggest
from crossearth.registry import SCOPE

from .config_check import check_classes, check_config
from .data_root import set_data_root

__all__ = ['check_classes', 'check_config', 'load_config']

# Python 3.11 counts the depth of a syntax tree for all threads at once: parsing ends in a
# SystemError where the garbage collector lets another thread in. mmengine's scope is shared, too.
READING = threading.RLock()
FREE_KEYS = ('optim_wrapper.paramwise_cfg.custom_keys',)  # names of parameters, in any spelling


def load_config(
    path: str | Path,
    cfg_options: Mapping[str, Any] | None = None,
    *,
    overlay: str | Path | Config | None = None,
    data_root: str | Path | None = None,
) -> Config:
    """Read, override and check a config; threads wait for each other.

    Args:
        path: A `.py` config (`.json` and `.yaml` work too).
        cfg_options: Dotted keys and values that replace entries, as `--cfg-options` gives them.
            They are applied last.
        overlay: Another config, such as a schedule or data, whose entries replace those of the
            first; its file, or what was read from one.
        data_root: Where the data sets lie; see `set_data_root`.

    Raises:
        ConfigError: A file is missing or broken, an option has no place in it, or a type, keyword
            or number of classes in it is wrong.
    """
    with READING:
        compat.apply()
        cfg = _read(Path(path))
        if overlay is not None:
            other = overlay if isinstance(overlay, Config) else _read(Path(overlay))
            cfg.merge_from_dict(other.to_dict())
        if data_root is not None:
            set_data_root(cfg, data_root)
        cfg.setdefault('default_scope', SCOPE)
        for key in cfg_options or {}:
            _check_option(cfg, key)
        try:
            cfg.merge_from_dict(dict(cfg_options or {}))
        except (KeyError, TypeError) as error:
            raise ConfigError(f'--cfg-options do not fit {path}: {error}') from error
        try:
            check_config(cfg)
        except ConfigError as error:
            raise ConfigError(f'{path}: {error}') from None
        return cfg


def _read(path: Path) -> Config:
    """Execute a config and those that it inherits from."""
    _check_files(path)
    logger = MMLogger.get_current_instance()
    level = logger.level
    # else each use of $CROSSEARTH_DATA is a line on stdout, also in what print_config prints
    logger.setLevel(logging.WARNING)
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is a program and can raise anything
        raise ConfigError(_execution_error(path, error)) from error
    finally:
        logger.setLevel(level)


def _check_files(path: Path, child: Path | None = None) -> None:
    """Check that a config and all that it inherits from exist and are valid Python."""
    if not path.is_file():
        siblings = [file.name for file in path.parent.glob(f'*{path.suffix}')]
        where = f', which {child} inherits from' if child else ''
        hint = suggest(path.name, siblings) or (
            '' if path.parent.is_dir() else f' The folder {path.parent} does not exist either.')
        raise ConfigError(f'There is no config {path}{where}.{hint}')
    if path.suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise ConfigError(f'{path} is no config: its name must end in .py, .json or .yaml.')
    if path.suffix != '.py':
        return
    try:
        tree = ast.parse(path.read_text(encoding='utf-8'), str(path))
    except SyntaxError as error:
        line = (error.text or '').strip()
        raise ConfigError(f'{path}, line {error.lineno}: {error.msg}, in `{line}`.') from None
    for base in _bases(tree):
        _check_files(path.parent / base, path)


def _bases(tree: ast.Module) -> list[str]:
    """The files named by `_base_`; mmengine finds those of other packages, `mmseg::...`."""
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id='_base_')], value=value):
                names = ast.literal_eval(value)
                names = [names] if isinstance(names, str) else names
                return [name for name in names if '::' not in name]
    return []


def _execution_error(path: Path, error: Exception) -> str:
    """What went wrong, with the line of the config file where it did."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if frame.name == '<module>' and Path(frame.filename).suffix == '.py'
              and Path(frame.filename).is_file()]
    where = f'{frames[-1].filename}, line {frames[-1].lineno}' if frames else str(path)
    return f'{where}: {type(error).__name__}: {error}'.rstrip('.') + '.'


def _check_option(cfg: Config, option: str) -> None:
    """Check a dotted key where `check_config` cannot: in a dict that no class describes.

    There, a new key passes unless it looks like a misspelt neighbour.
    """
    node: Any = cfg
    parts = option.split('.')
    for depth, part in enumerate(parts):
        above = '.'.join(parts[:depth])
        if isinstance(node, Mapping | Config) and part in node:
            node = node[part]
        elif isinstance(node, list | tuple) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, list | tuple):
            raise ConfigError(f"--cfg-options {option}: {above} has no entry '{part}', it is a "
                              f'list of {len(node)}; count from 0.')
        elif isinstance(node, Mapping) and 'type' not in node and above not in FREE_KEYS:
            if hint := suggest(part, node):
                raise ConfigError(f"--cfg-options {option}: {above} has no key '{part}'.{hint}")
            return
        else:
            return
