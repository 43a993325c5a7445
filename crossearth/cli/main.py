# SPDX-License-Identifier: Apache-2.0
"""The command `crossearth`.

A sub-command is a module of this package with `add_parser(subparsers)`, which sets `run`: a
function of the parsed arguments that returns the exit status. Modules import what they need when
they run, so that help costs nothing.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from crossearth import __version__
from crossearth.engine.cli import run_tool

__all__ = ['main']

COMMANDS = ('data', 'weights', 'predict', 'export', 'gap', 'app', 'info', 'doctor')

DESCRIPTION = """\
Segmentation of remote-sensing imagery in places that a model has never seen.

Models are trained and tested with tools/train.py and tools/test.py; this command does everything
around them. Each sub-command has its own --help."""

EPILOG = """\
Exit status: 0 done; 1 a check found trouble; 2 an error that you can mend, said in one paragraph;
130 interrupted. Data lie below $CROSSEARTH_DATA, or data/ where it is not set."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments after the name of the command; default those of the process.

    Returns:
        The exit status.
    """
    try:
        args = _parser().parse_args(argv)
        run_tool(lambda: sys.exit(args.run(args)))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        'crossearth', description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--version', action='version', version=f'crossearth {__version__}')
    subparsers = parser.add_subparsers(metavar='COMMAND', required=True)
    for name in COMMANDS:
        importlib.import_module(f'crossearth.cli.{name}').add_parser(subparsers)
    return parser
