# SPDX-License-Identifier: Apache-2.0
"""What the command lines of the tools share: how they name a config, and how they end.

An error that a user can mend is one paragraph, a bug keeps its traceback.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossearth import compat
from crossearth.errors import CrossEarthError

if TYPE_CHECKING:
    from mmengine.config import Config

__all__ = ['add_config_options', 'add_experiment_options', 'add_run_options', 'config_parser',
           'loading_options', 'not_negative', 'positive', 'read_config', 'run_tool']


def config_parser(description: str) -> argparse.ArgumentParser:
    """Make a parser of a tool that reads a config, as `read_config` needs it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file')
    add_config_options(parser)
    return parser


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that change a config without an edit of it."""
    from mmengine.config import DictAction

    parser.add_argument(
        '--data-root', metavar='DIR',
        help='read the data sets from the folders of their names in DIR, or the only one from DIR '
             'itself (default: data, or $CROSSEARTH_DATA)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='override settings of the config, e.g. train_cfg.max_iters=20')


def add_run_options(parser: argparse.ArgumentParser, work_dir: str) -> None:
    """Add the options of a tool that runs a model.

    Args:
        parser: The parser.
        work_dir: What `--work-dir` is, and its default.
    """
    parser.add_argument('--work-dir', metavar='DIR', help=work_dir)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none',
                        help='how the processes were started (tools/dist_*.sh set it)')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0,
                        help=argparse.SUPPRESS)
    parser.add_argument('--allow-partial', action='store_true',
                        help='load what fits of a checkpoint and report the rest, instead of '
                             'refusing it')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='load a checkpoint that could run code; only of someone you trust')


def add_experiment_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a tool that trains and tests many configs with several seeds."""
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2],
                        help='seeds of each row (default: 0 1 2)')
    parser.add_argument('--iters', type=positive, metavar='N',
                        help='iterations of a training; the schedule is stretched to fit '
                             "(default: the config's)")
    parser.add_argument('--jobs', type=positive, default=1, metavar='N',
                        help='trainings at a time, which share the cores (default: 1)')
    parser.add_argument('--minutes', type=not_negative, metavar='N',
                        help='begin no further training after N minutes, and say what is left; 0 '
                             'writes the tables of what is finished')
    parser.add_argument('--out', type=Path, metavar='DIR',
                        help='folder of the results (default: named after what is compared, in '
                             'work_dirs)')
    add_config_options(parser)


def positive(text: str) -> int:
    """Read a number of things: the `type` of an option."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError('must be at least 1')
    return number


def not_negative(text: str) -> int:
    """Read a number that may be 0: the `type` of an option."""
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError('must not be negative')
    return number


def loading_options(args: argparse.Namespace) -> dict[str, bool]:
    """Give `build_runner` the options of `add_run_options` about checkpoints."""
    return {'allow_partial': args.allow_partial, 'trust': args.trust_checkpoint}


def read_config(args: argparse.Namespace, overlay: str | None = None) -> 'Config':
    """Read the config that a command line names, with its options applied.

    Args:
        args: What a parser of `config_parser` gave.
        overlay: Config whose entries replace those of the first.

    Raises:
        ConfigError: See `load_config`.
    """
    from .config import load_config

    return load_config(
        args.config, args.cfg_options, overlay=overlay, data_root=args.data_root)


def run_tool(main: Callable[[], object]) -> None:
    """Run `main` of a tool.

    A `CrossEarthError` is printed as `error: ...` on stderr and ends the process with status 2,
    Ctrl-C with status 130.

    Args:
        main: Parses the command line and does the work. Imports torch itself, so that the thread
            settings come first.
    """
    compat.use_passive_threads()
    try:
        main()
    except CrossEarthError as error:
        sys.stderr.write(f'error: {_own_words(error)}\n')
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write('interrupted\n')
        raise SystemExit(130) from None
    _leave_group()


def _leave_group() -> None:
    """End together with the other processes: gloo aborts one whose peer has gone already."""
    distributed: Any = sys.modules.get('torch.distributed')  # imported where there is a group
    if distributed and distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def _own_words(error: CrossEarthError) -> str:
    """The message; torch wraps that of a data loader's worker in the worker's traceback."""
    return str(error).rsplit(f'{type(error).__name__}: ', 1)[-1].strip()
