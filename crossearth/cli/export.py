# SPDX-License-Identifier: Apache-2.0
"""`crossearth export`: a training -> a bundle, a bundle -> files for other programs."""

import argparse
import sys
from pathlib import Path
from typing import Any

__all__ = ['add_parser']

DESCRIPTION = """\
Make a model that others can use.

  crossearth export bundle work_dirs/casid_sub2tem -o models/casid --gsd 5 --licence CC-BY-4.0
  crossearth export onnx models/casid                 for predict --runtime onnx
  crossearth export onnx models/casid -o casid.onnx   for QGIS Deepness and GeoDeep
  crossearth export pt2 models/casid -o casid.pt2"""

BUNDLE = """\
Write model.safetensors and card.json from a finished training: all weights, the frozen backbone
included, and everything that predict must know. A bundle holds data only; nothing of it is run."""

FORMATS = {'onnx': 'for onnxruntime, QGIS Deepness and GeoDeep',
           'pt2': 'for torch.export.load, without our code'}


def add_parser(subparsers: Any) -> None:
    """Add `export` and its own sub-commands."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = subparsers.add_parser(
        'export', description=DESCRIPTION, formatter_class=raw,
        help='make a bundle or an ONNX file, e.g. crossearth export bundle WORK_DIR -o MODEL')
    commands = parser.add_subparsers(metavar='FORMAT', required=True)
    bundle = commands.add_parser('bundle', description=BUNDLE, formatter_class=raw,
                                 help='a model bundle of a finished training')
    bundle.add_argument('work_dir', metavar='WORK_DIR', help='folder of the training')
    bundle.add_argument('-o', '--output', required=True, metavar='DIR', help='the bundle')
    bundle.add_argument('--checkpoint', metavar='FILE', help='another one than the last')
    bundle.add_argument('--gsd', type=float, metavar='M',
                        help='pixel size of the training data in metres')
    bundle.add_argument('--bands', type=lambda text: tuple(text.split(',')), metavar='A,B,C',
                        help='names of the input bands in order (default: R,G,B)')
    bundle.add_argument('--licence', default='unknown', metavar='SPDX',
                        help='licence of the weights, e.g. CC-BY-4.0')
    bundle.add_argument('--statistics', type=int, default=200, metavar='N',
                        help='training images that describe the training domain for `crossearth '
                             'gap`, 0 for none (default: %(default)s)')
    bundle.set_defaults(run=_bundle)
    for name, purpose in FORMATS.items():
        command = commands.add_parser(name, help=f'a bundle as one file {purpose}')
        command.add_argument('bundle', metavar='BUNDLE', help='folder of export bundle')
        command.add_argument('-o', '--output', metavar='FILE',
                             help=f'the file (default: model.{name} in the bundle)')
        command.add_argument('--overwrite', action='store_true', help='replace an existing file')
        command.set_defaults(run=_file, format=name)


def _bundle(args: argparse.Namespace) -> int:
    from crossearth.engine.bundling import export_bundle

    folder = export_bundle(args.work_dir, args.output, checkpoint=args.checkpoint, gsd_m=args.gsd,
                           licence=args.licence, bands=args.bands,
                           statistics=args.statistics)
    size = sum(file.stat().st_size for file in folder.iterdir())
    sys.stdout.write(f'-> {folder} ({size / 1e6:,.0f} MB)\n'
                     f'Next: crossearth predict SCENE -m {folder} -o MAP.tif\n')
    return 0


def _file(args: argparse.Namespace) -> int:
    from crossearth.inference import export

    path: Path = getattr(export, f'export_{args.format}')(
        args.bundle, args.output, overwrite=args.overwrite)
    sys.stdout.write(f'-> {path} ({path.stat().st_size / 1e6:,.0f} MB)\n')
    return 0
