#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Draw what a trained model knows, and write the numbers behind each picture as CSV.

docs/analysis.md says how to read them.

Example:
    python tools/analyze.py maps configs/demo/crossearth_subtropical_monsoon.py \
        Rein=rein.py,rein/iter_400.pth CrossEarth=crossearth.bundle
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from crossearth.engine.cli import add_config_options, positive, read_config, run_tool

if TYPE_CHECKING:
    from crossearth.visualization.subjects import Subject
    from crossearth.visualization.tiles import TileSet

CANDIDATES = 50  # tiles of a domain among which the most diverse are chosen
OUT = Path('work_dirs/analysis')
MODEL_HELP = ('[TITLE=]MODEL: the folder of a bundle, a checkpoint of CONFIG, or '
              'OTHER_CONFIG,CHECKPOINT')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    umap = model_command(commands, 'umap', run_umap, 'domain gaps and class clusters on a plane',
                         tiles=40)
    umap.add_argument('--pixels', type=positive, default=600, metavar='N',
                      help='labelled pixels of each domain (default: 600)')
    umap.add_argument('--method', choices=['umap', 'pca'], default='umap',
                      help='how vectors are laid out (default: umap)')
    umap.add_argument('--seed', type=int, default=0,
                      help='of the drawn pixels, the layout and the folds (default: 0)')
    features = model_command(commands, 'features', run_features,
                             'feature maps: principal axes as colours, and norms', many=True)
    for parser_of_one in (umap, features):
        parser_of_one.add_argument('--layer', default='out2', metavar='NAME',
                                   help="out0 to out3, the backbone's maps of stride 4 to 32, or "
                                        'the name of a module (default: out2)')
    model_command(commands, 'maps', run_maps, 'image, truth and the maps of several methods',
                  many=True).add_argument('--title', help='line above the picture')
    attention = model_command(commands, 'attention', run_attention,
                              'what geospatial queries attend to')
    attention.add_argument('--block', type=int, metavar='N',
                           help='block after which the Injector acts (default: the last)')
    attention.add_argument('--places', type=place, nargs='+', metavar='Y,X',
                           help='queries, as fractions of height and width from the upper left '
                                'corner (default: 0.25,0.25 0.25,0.75 0.75,0.25 0.75,0.75)')
    model_command(commands, 'errors', run_errors, 'where a model is wrong and sure', tiles=50
                  ).add_argument('--worst', type=positive, default=6, metavar='N',
                                 help='tiles that are shown (default: 6)')

    confusion = command(commands, 'confusion', run_confusion, 'confusion matrices by domain')
    confusion.add_argument('report', type=Path, help='report.json of a test')
    radar = command(commands, 'radar', run_radar, 'all settings or domains on one chart')
    radar.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR',
                       help='folders in which to look for report.json')
    return parser.parse_args()


def command(commands: argparse._SubParsersAction, name: str,
            run: Callable[[argparse.Namespace], list[Path]], text: str) -> argparse.ArgumentParser:
    """Add a sub-command."""
    parser = commands.add_parser(name, help=text, description=f'Draw {text}.')
    parser.set_defaults(run=run)
    parser.add_argument('-o', '--out', type=Path, default=OUT,
                        help=f'folder of pictures and CSV files (default: {OUT.as_posix()})')
    return parser


def model_command(
    commands: argparse._SubParsersAction, name: str,
    run: Callable[[argparse.Namespace], list[Path]], text: str, *, many: bool = False,
    tiles: int = 2,
) -> argparse.ArgumentParser:
    """Add a sub-command that looks at models on the test data of a config."""
    parser = command(commands, name, run, text)
    parser.add_argument('config', metavar='CONFIG', help='config whose test data are looked at')
    parser.add_argument('models', nargs='+' if many else 1, metavar='MODEL', help=MODEL_HELP)
    parser.add_argument('--domains', nargs='+', default=(), metavar='NAME',
                        help='domains of the test data (default: all)')
    parser.add_argument('--tiles', type=positive, default=tiles, metavar='N',
                        help=f'tiles of each domain (default: {tiles})')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda, ... (default: auto)')
    add_config_options(parser)
    return parser


def place(text: str) -> tuple[float, float]:
    """Read a place in an image."""
    y, x = map(float, text.split(','))
    if not (0 <= y <= 1 and 0 <= x <= 1):
        raise argparse.ArgumentTypeError('must be two fractions from 0 to 1, such as 0.5,0.25')
    return y, x


def main() -> None:
    """Analyse, and say which files were written."""
    args = parse_args()
    for path in args.run(args):
        print(path)


def load(args: argparse.Namespace, *, diverse: bool = False) -> 'tuple[list[Subject], TileSet]':
    """Load tiles and models; `diverse` takes the tiles with the most classes."""
    from crossearth.visualization.subjects import load_subject
    from crossearth.visualization.tiles import read_tiles

    cfg = read_config(args)
    tiles = read_tiles(cfg, max(args.tiles, CANDIDATES) if diverse else args.tiles, args.domains)
    if diverse:
        tiles = tiles.most_diverse(args.tiles)
    return [load_subject(text, cfg, tiles.classes, args.device) for text in args.models], tiles


def run_umap(args: argparse.Namespace) -> list[Path]:
    """Lay out tiles and pixels of several domains."""
    from crossearth.visualization.embedding_chart import write_embedding

    subjects, tiles = load(args)
    return write_embedding(subjects[0], tiles, args.out, layer=args.layer, pixels=args.pixels,
                           method=args.method, seed=args.seed)


def run_features(args: argparse.Namespace) -> list[Path]:
    """Draw feature maps."""
    from crossearth.visualization.feature_maps import write_features

    return write_features(*load(args, diverse=True), args.out, layer=args.layer)


def run_maps(args: argparse.Namespace) -> list[Path]:
    """Draw maps side by side."""
    from crossearth.visualization.map_grid import write_maps

    return write_maps(*load(args, diverse=True), args.out, args.title)


def run_attention(args: argparse.Namespace) -> list[Path]:
    """Draw the Injector's attention."""
    from crossearth.visualization.attention_maps import PLACES, write_attention

    subjects, tiles = load(args, diverse=True)
    return write_attention(subjects[0], tiles, args.out, block=args.block,
                           places=args.places or PLACES)


def run_errors(args: argparse.Namespace) -> list[Path]:
    """Rank errors, and draw the worst."""
    from crossearth.visualization.errors import write_errors

    subjects, tiles = load(args)
    return write_errors(subjects[0], tiles, args.out, worst=args.worst)


def run_confusion(args: argparse.Namespace) -> list[Path]:
    """Draw confusion matrices."""
    from crossearth.evaluation import read_report
    from crossearth.visualization.confusion_chart import write_confusion

    return write_confusion(read_report(args.report), args.out)


def run_radar(args: argparse.Namespace) -> list[Path]:
    """Draw the benchmark, and runs outside of it that share a source."""
    from crossearth.evaluation.runs import read_runs
    from crossearth.evaluation.table import BenchmarkTable
    from crossearth.visualization.radar import write_radars

    return write_radars(BenchmarkTable(read_runs(args.work_dirs)[0]), args.out)


if __name__ == '__main__':
    run_tool(main)
