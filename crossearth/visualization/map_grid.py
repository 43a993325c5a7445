# SPDX-License-Identifier: Apache-2.0
"""Image, truth and the maps of several methods side by side, as Fig. 4 to 6 and 12 to 18."""

from collections.abc import Sequence
from pathlib import Path

import torch

from crossearth.evaluation import confusion, scores

from .charts import write_rows
from .palettes import colorize
from .pictures import PictureRow, comparison_picture, save_picture
from .subjects import Subject
from .tiles import TileSet

__all__ = ['write_maps']


def write_maps(
    subjects: Sequence[Subject], tiles: TileSet, out: Path, title: str | None = None
) -> list[Path]:
    """Write the picture, and the accuracy of every map in it.

    Args:
        subjects: The methods, a column for each.
        tiles: What is shown, a row for each.
        out: Folder.
        title: Line above.

    Returns:
        The files.
    """
    pictures, rows = [], []
    for tile in tiles.tiles:
        columns = {'Image': tile.view, 'Truth': colorize(tile.label, tiles.palette)}
        height, width = tile.label.shape
        for subject in subjects:
            found = subject.scores(tile.image, (height, width)).argmax(0)
            columns[subject.title] = colorize(found, tiles.palette)
            matrix = confusion(
                torch.from_numpy(found), torch.from_numpy(tile.label), len(tiles.classes))
            result = scores(matrix)
            rows.append({
                'domain': tile.domain, 'tile': tile.path, 'method': subject.title,
                'aAcc': 100 * result.overall_accuracy, 'mIoU': 100 * result.mean_iou})
        pictures.append(PictureRow(tiles.title(tile.domain), columns))
    picture = comparison_picture(pictures, tiles.classes, tiles.palette, title)
    save_picture(picture, out / 'maps.png')
    return [out / 'maps.png', write_rows(out / 'maps.csv', rows)]
