# SPDX-License-Identifier: Apache-2.0
"""How a tool ends: an error that a user can mend is one paragraph, a bug keeps its traceback."""

import sys
from collections.abc import Callable

from crossearth import compat
from crossearth.errors import CrossEarthError

__all__ = ['run_tool']


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


def _own_words(error: CrossEarthError) -> str:
    """The message; torch wraps that of a data loader's worker in the worker's traceback."""
    return str(error).rsplit(f'{type(error).__name__}: ', 1)[-1].strip()
