# SPDX-License-Identifier: Apache-2.0
"""A model bundle: `model.safetensors` and `card.json`, data and nothing else.

A config of training is a program; a card is not. It names registered modules and plain values,
every field is checked, and the weights are known by their hash, so that a bundle from a stranger
can be wrong but cannot run code.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from crossearth.errors import BundleError
from crossearth.weight_files import file_sha256, write_atomically

__all__ = ['CARD', 'WEIGHTS', 'Card', 'read_card']

CARD, WEIGHTS = 'card.json', 'model.safetensors'
FORMAT, VERSION = 'crossearth-bundle', 1
MAX_CARD_BYTES = 4_000_000
# What would make a module read another file, or an address, while it is built.
FORBIDDEN_KEYS = ('init_cfg', 'pretrained', 'checkpoint', '_scope_', '_delete_')
# the last two hold plain layers, which a config names in `norm_cfg`, `act_cfg` and `conv_cfg`
MODULES = ('crossearth.models.', 'mmseg.models.', 'mmcv.cnn.', 'torch.nn.modules.')
OUTPUTS = ('scores', 'logits')


@dataclass(frozen=True)
class Card:
    """What a model is and what it expects.

    Args:
        model: The segmentor as a config of plain values; types are registered names.
        classes: Names of the classes.
        palette: Their colours, (r, g, b) in 0..255.
        crop: Side of a tile (rows, columns) in px, as in training.
        overlap: Least overlap of tiles in px, as in testing; None takes a quarter of the tile.
        bands: Names of the input bands, in order.
        mean: Mean of each band in 0..255.
        std: Standard deviation of each band.
        output: `scores` that are not negative, or `logits`.
        gsd_m: Size of a pixel on the ground in training, in metres, or None.
        training_domain: Names of the domains that it was trained on.
        statistics: Of the training domain, for `crossearth gap`; plain values.
        metrics: Measured numbers by domain.
        licence: SPDX identifier of the licence of the weights.
        provenance: Where it comes from: config, checkpoint, backbone, versions, date.
        sha256: Hash of the weights file.
    """

    model: Mapping[str, Any]
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    crop: Sequence[int]
    overlap: int | None = None
    bands: Sequence[str] = ('R', 'G', 'B')
    mean: Sequence[float] = (123.675, 116.28, 103.53)
    std: Sequence[float] = (58.395, 57.12, 57.375)
    output: str = 'scores'
    gsd_m: float | None = None
    training_domain: Sequence[str] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    licence: str = 'unknown'
    provenance: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ''

    def __post_init__(self) -> None:
        for name, (ok, wanted) in _checks(self).items():
            if not ok:
                raise BundleError(f'the card breaks its schema: {name} must be {wanted}, not '
                                  f'{_short(getattr(self, name))}.')
        _check_model(self.model, 'model')

    def write(self, folder: Path) -> Path:
        """Write `card.json` into a folder, whole or not at all."""
        content = {'format': FORMAT, 'version': VERSION, **asdict(self)}
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        return write_atomically(folder / CARD, f'{text}\n'.encode())


def read_card(folder: str | Path, *, verify: bool = True) -> Card:
    """Read and check the card of a bundle.

    Args:
        folder: The bundle.
        verify: Compare the hash of the weights too.

    Raises:
        BundleError: A file is missing or damaged, or the card breaks its schema.
    """
    folder = Path(folder)
    path = folder / CARD
    if not path.is_file():
        raise BundleError(
            f'{folder} is no model bundle: it holds no {CARD}. Make one of a finished training: '
            'crossearth export bundle WORK_DIR -o DIR.')
    try:
        card = _parse(path)
    except BundleError as error:
        raise BundleError(f'{path}: {error}') from None
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise BundleError(f'{folder} holds a {CARD} but no {WEIGHTS}. Copy the bundle again.')
    if verify and (found := file_sha256(weights)) != card.sha256:
        raise BundleError(
            f'{weights} has the sha256 {found[:12]}..., and its card says {card.sha256[:12]}...: '
            'it is damaged or belongs to another card. Copy the bundle again.')
    return card


def _parse(path: Path) -> Card:
    if path.stat().st_size > MAX_CARD_BYTES:
        raise BundleError(f'a card is at most {MAX_CARD_BYTES:,} bytes.')
    try:
        content = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f'it is no valid JSON ({error}). Copy the bundle again.') from error
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        raise BundleError(f"it is no card of a model: 'format' is not {FORMAT!r}.")
    if content.get('version') != VERSION:
        raise BundleError(f"it is of version {_short(content.get('version'))}, and this program "
                          f'reads version {VERSION}. Install a newer crossearth.')
    known = {item.name for item in fields(Card)}
    values = {key: value for key, value in content.items() if key not in ('format', 'version')}
    if unknown := sorted(values.keys() - known):
        raise BundleError(f'it has the unknown fields {_short(unknown)}.')
    if missing := [name for name in ('model', 'classes', 'palette', 'crop') if name not in values]:
        raise BundleError(f'it lacks {", ".join(missing)}.')
    return Card(**values)


def _refuse_constant(name: str) -> None:
    raise BundleError(f'it holds {name}, which is no number.')


def _checks(card: Card) -> dict[str, tuple[bool, str]]:
    """Of each field: whether it is right, and what would be."""
    bands, classes = _length(card.bands), _length(card.classes)
    return {
        'classes': (_all(card.classes, str) and 1 <= classes <= 254
                    and len(set(card.classes)) == classes, '1 to 254 different names'),
        'palette': (_all(card.palette, list | tuple) and len(card.palette) == classes and all(
            len(color) == 3 and _all(color, int) and all(0 <= c <= 255 for c in color)
            for color in card.palette), 'one [r, g, b] in 0..255 for each class'),
        'crop': (_all(card.crop, int) and len(card.crop) == 2
                 and all(16 <= side <= 8192 for side in card.crop), '[rows, columns] in px'),
        'overlap': (card.overlap is None or (_all([card.overlap], int) and _all(card.crop, int)
                                             and 0 <= card.overlap < min(card.crop, default=0)),
                    'a number of px below the crop, or null'),
        'bands': (_all(card.bands, str) and bands >= 1, 'a list of names'),
        'mean': (_numbers(card.mean) and len(card.mean) == bands, 'one number for each band'),
        'std': (_numbers(card.std) and len(card.std) == bands and all(s > 0 for s in card.std),
                'one positive number for each band'),
        'output': (card.output in OUTPUTS, ' or '.join(OUTPUTS)),
        'gsd_m': (card.gsd_m is None or (_numbers([card.gsd_m]) and card.gsd_m > 0),
                  'a size in metres or null'),
        'training_domain': (_all(card.training_domain, str), 'a list of names'),
        'statistics': (isinstance(card.statistics, dict), 'an object'),
        'metrics': (isinstance(card.metrics, dict), 'an object'),
        'provenance': (isinstance(card.provenance, dict), 'an object'),
        'licence': (isinstance(card.licence, str), 'a name'),
        'sha256': (isinstance(card.sha256, str), 'a hash'),
    }


def _check_model(node: Any, where: str) -> None:
    """Refuse whatever is no description of a registered module."""
    if isinstance(node, list | tuple):
        for index, item in enumerate(node):
            _check_model(item, f'{where}[{index}]')
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if not isinstance(key, str) or key.startswith('__') or (
                key in FORBIDDEN_KEYS and value is not None):
            raise BundleError(f'the card breaks its schema: {where} holds {_short(key)}, which a '
                              'card may not.')
        if key == 'weights' and value not in (None, 'random'):
            raise BundleError(f'the card breaks its schema: {where}.weights names another file. '
                              "All weights lie in the bundle: it must be 'random'.")
        if key == 'type' and not isinstance(value, str):
            raise BundleError(f'the card breaks its schema: {where}.type must be a name, not '
                              f'{_short(value)}.')
        _check_model(value, f'{where}.{key}')


def check_types(node: Any, get: Any, where: str = 'model') -> None:
    """Refuse types that are no modules of crossearth, MMSegmentation, MMCV or torch.

    Args:
        node: A model of a card.
        get: Name -> registered class, or None.
        where: Name of `node` in messages.

    Raises:
        BundleError: A type is unknown or comes from elsewhere.
    """
    if isinstance(node, list | tuple):
        for index, item in enumerate(node):
            check_types(item, get, f'{where}[{index}]')
    if isinstance(node, Mapping):
        if (name := node.get('type')) is not None:
            found = get(name)
            if found is None or not f'{found.__module__}.'.startswith(MODULES):
                raise BundleError(f'the card names {where}.type={_short(name)}, which is no model '
                                  'of this crossearth. Install the version that wrote the bundle.')
        for key, value in node.items():
            check_types(value, get, f'{where}.{key}')


def _all(values: Any, kind: Any) -> bool:
    """Whether a list holds nothing but `kind`; True and False are no whole numbers."""
    return isinstance(values, list | tuple) and all(
        isinstance(value, kind) and not isinstance(value, bool) for value in values)


def _numbers(values: Any) -> bool:
    return _all(values, int | float) and all(math.isfinite(value) for value in values)


def _length(values: Any) -> int:
    return len(values) if isinstance(values, list | tuple) else 0


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + '...'
