# SPDX-License-Identifier: Apache-2.0
"""Tiny copies of the eight data sets in the layout of their official downloads."""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ['FORMS', 'NAMES', 'WINDOWS', 'OfficialCopy', 'encode', 'official_copy', 'prepare_tiny',
           'zipped']

NAMES = ('potsdam', 'vaihingen', 'loveda', 'whu', 'deepglobe', 'massachusetts', 'rescuenet',
         'casid')
FORMS = ('zips', 'nested', 'folder', 'mixed')

WINDOWS = {'potsdam': (16, 16), 'vaihingen': (16, 16), 'casid': (16, 12)}
"""Windows that cut the copies as those of the benchmark cut the originals."""

ISPRS = np.array([[255, 255, 255], [0, 0, 255], [0, 255, 255], [0, 255, 0], [255, 255, 0],
                  [255, 0, 0], [0, 0, 0]], np.uint8)  # the last one: boundary, ignored
IGNORED = 255
WHU_AERIAL = '3. The cropped aerial image tiles and raster labels'
WHU_SATELLITE = 'Satellite dataset Ⅱ (East Asia)'
CLIMATES = {'SubMs': 'sub', 'TemMs': 'tem', 'TroMs': 'tms', 'TroRf': 'trf'}


@dataclass
class OfficialCopy:
    """The files of a download, and what they mean.

    `archives` holds path -> content for each archive; `truth` holds the image (H, W, 3) and its
    train ids (H, W) by split, domain and name.
    """

    archives: dict[str, dict[str, bytes]] = field(default_factory=dict)
    truth: dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def write(self, folder: Path, form: str = 'zips') -> Path:
        """Write the download as a person may have it, and return the folder to give to --src."""
        folder.mkdir(parents=True, exist_ok=True)
        if form == 'nested':
            stored = {f'{name}.zip': zipped(files) for name, files in self.archives.items()}
            (folder / 'Download.zip').write_bytes(
                zipped({f'Download/{name}': data for name, data in stored.items()}))
            return folder
        for index, (name, files) in enumerate(self.archives.items()):
            if form == 'zips' or (form == 'mixed' and index % 2):
                (folder / f'{name}.zip').write_bytes(zipped(files))
            else:
                for path, data in files.items():
                    (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name / path).write_bytes(data)
        return folder


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip; archives in it are stored or compressed in turn, as both are found."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        for index, (path, data) in enumerate(files.items()):
            plain = path.endswith('.zip') and index % 2 == 0
            archive.writestr(path, data, zipfile.ZIP_STORED if plain else None)
    return buffer.getvalue()


def encode(array: np.ndarray, suffix: str, **options) -> bytes:
    """An image file of this kind."""
    buffer = io.BytesIO()
    kind = {'.tif': 'TIFF', '.tiff': 'TIFF', '.jpg': 'JPEG', '.png': 'PNG'}[suffix]
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def official_copy(name: str, size: int = 40) -> OfficialCopy:
    """Make a copy with images of `size` px and one or two images in each part.

    Args:
        name: Name of the data set.
        size: Side in px; images of Vaihingen are half as wide again.
    """
    copy = OfficialCopy()
    globals()[f'_{name}'](copy, np.random.default_rng(len(name)), size)
    return copy


def prepare_tiny(name: str, source: Path, destination: Path, **options) -> dict:
    """Prepare a copy with windows of its size in this process."""
    from crossearth.datasets.prepare import prepare
    return prepare(name, [source], destination,
                   **{'window': WINDOWS.get(name), 'workers': 1, **options})


def _pair(rng: np.random.Generator, classes: int, height: int, width: int
          ) -> tuple[np.ndarray, np.ndarray]:
    """An image, and train ids in even blocks, among them every class where there is room."""
    shape = -(-height // 5), -(-width // 5)
    blocks = rng.integers(0, classes, shape, np.uint8)
    flat = blocks.ravel()
    flat[:classes] = np.arange(min(classes, len(flat)))
    image, label = (np.kron(small, np.ones((5, 5, 1), np.uint8))[:height, :width]
                    for small in (rng.integers(0, 255, (*shape, 3), np.uint8), blocks[..., None]))
    return image, label[..., 0]


def _potsdam(copy: OfficialCopy, rng: np.random.Generator, size: int) -> None:
    labels = copy.archives.setdefault('5_Labels_all_noBoundary', {})
    for tile, split in (('2_10', 'train'), ('7_9', 'train'), ('2_13', 'test')):
        _, label = _pair(rng, 7, size, size)
        truth = np.where(label == 6, IGNORED, label).astype(np.uint8)
        labels[f'top_potsdam_{tile}_label_noBoundary.tif'] = encode(ISPRS[label], '.tif')
        for archive, bands in (('2_Ortho_RGB', 'RGB'), ('3_Ortho_IRRG', 'IRRG')):
            image, _ = _pair(rng, 7, size, size)
            files = copy.archives.setdefault(archive, {})
            files[f'{archive}/top_potsdam_{tile}_{bands}.tif'] = encode(image, '.tif')
            files[f'{archive}/top_potsdam_{tile}_{bands}.tfw'] = b'0.05'
            copy.truth[split, f'potsdam_{bands.lower()}', tile] = image, truth


def _vaihingen(copy: OfficialCopy, rng: np.random.Generator, size: int) -> None:
    images = copy.archives.setdefault('ISPRS_semantic_labeling_Vaihingen', {})
    labels = copy.archives.setdefault(
        'ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE', {})
    for area, split in ((1, 'train'), (30, 'train'), (2, 'test')):
        image, label = _pair(rng, 7, size, size * 3 // 2)
        file = f'top_mosaic_09cm_area{area}'
        images[f'top/{file}.tif'] = encode(image, '.tif')
        images[f'dsm/dsm_09cm_matching_area{area}.tif'] = encode(label, '.tif')
        # the names of images, but labels with boundaries
        images[f'gts_for_participants/{file}.tif'] = encode(ISPRS[label * 0], '.tif')
        labels[f'{file}_noBoundary.tif'] = encode(ISPRS[label], '.tif')
        copy.truth[split, 'vaihingen', f'area{area}'] = (
            image, np.where(label == 6, IGNORED, label).astype(np.uint8))


def _loveda(copy: OfficialCopy, rng: np.random.Generator, size: int) -> None:
    number = 0
    for folder, split in (('Train', 'train'), ('Val', 'val')):
        for place in ('Urban', 'Rural'):
            for _ in range(2):
                image, stored = _pair(rng, 8, size, size)
                files = copy.archives.setdefault(folder, {})
                files[f'{folder}/{place}/images_png/{number}.png'] = encode(image, '.png')
                files[f'{folder}/{place}/masks_png/{number}.png'] = encode(stored, '.png')
                copy.truth[split, place.lower(), str(number)] = (
                    image, np.where(stored == 0, IGNORED, stored - 1).astype(np.uint8))
                number += 1
    copy.archives['Test'] = {'Test/Urban/images_png/9.png': encode(image, '.png')}


def _whu(copy: OfficialCopy, rng: np.random.Generator, size: int) -> None:
    inner = f'{WHU_SATELLITE}/1. The cropped image data and raster labels'
    for archive, folder, domain, splits in (
            (WHU_AERIAL, '3. The cropped image tiles and raster labels', 'aerial',
             ('train', 'val', 'test')),
            (WHU_SATELLITE, inner, 'satellite2', ('train', 'test'))):
        for split in splits:
            for number in range(2):
                image, label = _pair(rng, 2, size, size)
                files = copy.archives.setdefault(archive, {})
                files[f'{folder}/{split}/image/{number}.tif'] = encode(image, '.tif')
                files[f'{folder}/{split}/label/{number}.tif'] = encode(label * 255, '.tif')
                copy.truth[split, domain, str(number)] = image, label


def _deepglobe(copy: OfficialCopy, rng: np.random.Generator, size: int) -> None:
    files = copy.archives.setdefault('archive', {})
    files['metadata.csv'] = b'image_id,split'
    for number in (100034, 999764):
        image, label = _pair(rng, 2, size, size)
        grey = rng.integers(0, 40, label.shape, np.uint8)  # official masks are not quite pure
        mask = np.where(label, 255 - grey, grey)
        files[f'train/{number}_sat.jpg'] = encode(image, '.jpg')
        files[f'train/{number}_mask.png'] = encode(np.dstack([mask] * 3).astype(np.uint8), '.png')
        files[f'valid/{number + 1}_sat.jpg'] = encode(image, '.jpg')
        copy.truth['train', 'deepglobe', str(number)] = image, label


def _massachusetts(copy: OfficialCopy, rng: np.random.Generator, size: int) -> None:
    files = copy.archives.setdefault('mass_roads', {})
    for folder, split in (('train', 'train'), ('valid', 'val'), ('test', 'test')):
        for number in range(2):
            image, label = _pair(rng, 2, size, size)
            name = f'1037878{number}_15'
            files[f'mass_roads/{folder}/sat/{name}.tiff'] = encode(image, '.tiff')
            files[f'mass_roads/{folder}/map/{name}.tif'] = encode(label * 255, '.tif')
            copy.truth[split, 'massachusetts', name] = image, label


def _rescuenet(copy: OfficialCopy, rng: np.random.Generator, size: int) -> None:
    files = copy.archives.setdefault('RescueNet', {})
    # surfaces: roads; buildings: four degrees of damage; trees; cars; clutter: the rest
    train_ids = np.array([4, 4, 1, 1, 1, 1, 3, 0, 0, 2, 4], np.uint8)
    for split in ('train', 'val', 'test'):
        for number in range(2):
            image, stored = _pair(rng, 11, size, size)
            folder = f'RescueNet/{split}/{split}'
            files[f'{folder}-org-img/1078{number}.jpg'] = encode(image, '.jpg')
            files[f'{folder}-label-img/1078{number}_lab.png'] = encode(stored, '.png')
            if split != 'val':
                copy.truth[split, 'rescuenet', f'1078{number}'] = image, train_ids[stored]


def _casid(copy: OfficialCopy, rng: np.random.Generator, size: int) -> None:
    for folder, domain in CLIMATES.items():
        for split in ('train', 'test'):
            image, label = _pair(rng, 5, size, size)
            labels = 'label_id' if (folder, split) == ('TroMs', 'test') else 'label'
            files = copy.archives.setdefault(folder, {})
            files[f'{folder}/all_{split}/image/{folder}_1.png'] = encode(image, '.png')
            files[f'{folder}/all_{split}/{labels}/{folder}_1-label.png'] = encode(label, '.png')
            copy.truth[split, domain, f'{folder}_1'] = image, label
