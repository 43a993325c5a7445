# SPDX-License-Identifier: Apache-2.0
"""`crossearth app`: the model of a bundle as a page in the browser, on this machine."""

import argparse
import signal
import socket
import sys
import tempfile
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crossearth.cli.scene_arguments import add_model
from crossearth.errors import ConfigError, MissingDependencyError

__all__ = ['add_parser']

DESCRIPTION = """\
Open a page on this machine: drop a GeoTIFF, PNG or JPEG, and see its map, the areas of the classes,
how sure the model is, and how far the scene is from the training.

  crossearth app -m MODEL
  crossearth app -m MODEL --port 8000 --output maps/

Nothing leaves the machine. The page takes uploads only, no paths and no addresses. docs/app.md says
how it is protected."""

PACKAGES = ('starlette', 'uvicorn', 'rasterio', 'shapely', 'pyogrio')
LOOPBACK = ('127.0.0.1', 'localhost', '::1')
GAP_TILES = 64  # on which the distance from the training is measured


def add_parser(subparsers: Any) -> None:
    """Add `app`."""
    parser = subparsers.add_parser(
        'app', description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter,
        help='map scenes in the browser, e.g. crossearth app -m MODEL')
    add_model(parser, required=True)
    parser.add_argument('--port', type=int, default=7860, metavar='N',
                        help='where the page is (default: %(default)s; 0 takes a free one)')
    parser.add_argument('--host', default='127.0.0.1', metavar='NAME',
                        help='address to listen on (default: %(default)s, this machine only). '
                             'There is no password: any other opens it to your network')
    parser.add_argument('--max-mb', type=float, default=500, metavar='MB',
                        help='largest upload (default: %(default)s)')
    parser.add_argument('--output', metavar='DIR',
                        help='keep the results there (default: they go when the command ends)')
    parser.add_argument('--device', default='auto', metavar='NAME',
                        help='auto (default), cpu, cuda, cuda:1, mps')
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise MissingDependencyError(f'crossearth app needs {" and ".join(missing)}. Run: pip '
                                     "install 'crossearth[app]'.")
    if not args.max_mb > 0:
        raise ConfigError(f'--max-mb {args.max_mb:g} lets no file through. Give a size above 0.')
    from crossearth.app.uploads import limit_gdal

    limit_gdal()
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(args.host, args.port))
        folder = Path(args.output or stack.enter_context(
            tempfile.TemporaryDirectory(prefix='crossearth-', ignore_cleanup_errors=True)))
        folder.mkdir(parents=True, exist_ok=True)
        app = _application(args, folder)
        port = listener.getsockname()[1]
        if args.host not in LOOPBACK:
            sys.stderr.write(
                f'warning: --host {args.host} opens the page to everyone who reaches this machine; '
                'there is no password and no encryption.\n')
        name = f'[{args.host}]' if ':' in args.host else args.host
        sys.stdout.write(f'-> http://{name}:{port} (Ctrl-C ends it)\n')
        sys.stdout.flush()
        _serve(app, listener)
    return 0


def _application(args: argparse.Namespace, folder: Path) -> Any:
    from crossearth.app.jobs import JobQueue
    from crossearth.app.mapping import SceneMapper
    from crossearth.app.server import create_app
    from crossearth.evaluation.domain_gap import gap_gauge
    from crossearth.inference.scene import load_model

    predictor = load_model(args.model, device=args.device)
    mapper = SceneMapper(predictor, gap_gauge(args.model, GAP_TILES, predictor))
    queue = JobQueue(folder, mapper, keep=bool(args.output))
    return create_app(queue, predictor.card, max_bytes=int(args.max_mb * 1e6),
                      names=(args.host, socket.gethostname()))


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before the model is loaded."""
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigError(f'--host {host} --port {port} cannot be listened on ({error}). Another '
                          'program may use the port: give another one, or 0 for any.') from error


def _serve(app: Any, listener: socket.socket) -> None:
    import uvicorn

    # uvicorn ends well and raises the signal again: leave through the clean-up then too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    config = uvicorn.Config(
        app, log_level='warning', access_log=False, server_header=False, proxy_headers=False,
        ws='none', timeout_graceful_shutdown=3)
    with suppress(KeyboardInterrupt):  # the usual end
        uvicorn.Server(config).run(sockets=[listener])
