# SPDX-License-Identifier: Apache-2.0
"""What a command line names -> the scenes, and where each of their maps goes."""

import glob
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from crossearth.errors import RasterError
from crossearth.inference.raster import REMOTE

__all__ = ['SUFFIXES', 'find_scenes', 'is_remote', 'name_outputs', 'scene_name']

SUFFIXES = ('.tif', '.tiff', '.png', '.jpg', '.jpeg', '.jp2')


def is_remote(source: str) -> bool:
    """Whether a scene is an address that GDAL reads, and no file."""
    return source.startswith(REMOTE)


def scene_name(source: str | Path) -> str:
    """Name of the file of a scene; of an address without its query, which may hold a key."""
    path = urlsplit(str(source)).path if is_remote(str(source)) else Path(source).as_posix()
    return PurePosixPath(path).name


def find_scenes(names: Sequence[str]) -> list[str]:
    """Expand files, folders, patterns and addresses.

    Args:
        names: Files; folders, whose rasters are taken, not those of their sub-folders; patterns
            such as `scenes/**/*.tif`; addresses (https://, s3://, gs://, az://).

    Returns:
        Scenes in the order of `names`, each once.

    Raises:
        RasterError: A name stands for nothing.
    """
    scenes: dict[str, None] = {}
    for name in names:
        path = Path(name)
        if is_remote(name) or path.is_file():
            found = [name]
        elif path.is_dir():
            found = sorted(str(file) for file in path.iterdir()
                           if file.suffix.lower() in SUFFIXES and file.is_file())
        else:
            found = sorted(file for file in glob.glob(name, recursive=True)  # noqa: PTH207  # Path.glob takes no absolute pattern
                           if Path(file).is_file())
        if not found:
            what = f'no raster ({", ".join(SUFFIXES)}) in the folder' if path.is_dir() else (
                'no file, folder or match of the pattern')
            raise RasterError(f'There is {what} {name}. Correct the path.')
        scenes |= dict.fromkeys(found)
    return list(scenes)


def name_outputs(scenes: Sequence[str], output: str | Path, suffix: str = '.tif') -> list[Path]:
    """Name the output of each scene.

    Args:
        scenes: As of `find_scenes`.
        output: A file for one scene; a folder for several, where each takes the name of its scene.
        suffix: Ending of files in a folder.

    Raises:
        RasterError: Two scenes would get the same name, or one its own.
    """
    output = Path(output)
    if len(scenes) == 1 and output.suffix and not output.is_dir():
        outputs = [output]
    else:
        outputs = [output / (PurePosixPath(scene_name(scene)).stem + suffix) for scene in scenes]
    taken: dict[Path, str] = {}
    for scene, path in zip(scenes, outputs, strict=True):
        if path in taken:
            raise RasterError(f'{taken[path]} and {scene} would both become {path}. Run them '
                              'apart, each with an output folder of its own.')
        if not is_remote(scene) and path.resolve() == Path(scene).resolve():
            raise RasterError(f'The output {path} is the scene itself. Choose another folder.')
        taken[path] = scene
    return outputs
