# SPDX-License-Identifier: Apache-2.0
"""A bundle -> one file that other programs run: ONNX, or a program of torch.export.

Both hold the segmentor with its normalisation. The input is RGB in 0..1, which is what the QGIS
plugin Deepness and GeoDeep feed; of the two, only recent versions of Deepness read a mean and a
standard deviation from the file, so there they are those that change nothing.
"""

import importlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crossearth import __version__
from crossearth.errors import BundleError, MissingDependencyError
from crossearth.inference.bundle import build_network
from crossearth.inference.card import Card, read_card
from crossearth.inference.predictor import MULTIPLE
from crossearth.weight_files import replacing

__all__ = ['ONNX', 'PT2', 'export_onnx', 'export_pt2', 'onnx_metadata']

ONNX, PT2 = 'model.onnx', 'model.pt2'
OPSET = 18
MAX_BYTES = 1_900_000_000  # of protobuf, which holds a whole ONNX file, 2 GiB


def export_onnx(
    folder: str | Path, out: str | Path | None = None, *, overwrite: bool = False
) -> Path:
    """Export the segmentor of a bundle as ONNX, for any batch of tiles of the training crop.

    Args:
        folder: The bundle.
        out: The file; None puts `model.onnx` into the bundle, where `predict --runtime onnx` finds
            it.
        overwrite: Replace an existing file.

    Returns:
        The file. Its input `images` is (N, bands, side, side) float32 in 0..1, its output `scores`
        (N, classes, side, side), what `encode_decode` gives (after a softmax if that are logits).

    Raises:
        BundleError: The bundle is damaged, or its model cannot be exported.
        MissingDependencyError: onnx or onnxscript is not installed.
    """
    onnx = _import_onnx()
    card = read_card(folder)
    path = _free(Path(out) if out else Path(folder) / ONNX, overwrite)
    scores = _Scores(build_network(folder, card), card)
    if (size := sum(value.nbytes for value in scores.state_dict().values())) > MAX_BYTES:
        raise BundleError(f'{folder}: an ONNX file holds at most 2 GB, and the weights are '
                          f'{size / 1e9:.1f} GB. Export it as pt2 instead.')
    with _quiet():
        program: Any = _attempt('ONNX', folder, lambda: torch.onnx.export(
            scores, (scores.example(),), input_names=['images'], output_names=['scores'],
            opset_version=OPSET, dynamo=True, verbose=False, external_data=False,
            dynamic_shapes=({0: torch.export.Dim('batch')},),
            # its constant folding trips over equal names, and runtimes fold constants themselves
            optimize=False))
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces, with the paths of this machine
    onnx.helper.set_model_props(model, onnx_metadata(card, scores.side))
    return _write(path, lambda temporary: temporary.write_bytes(model.SerializeToString()))


def export_pt2(
    folder: str | Path, out: str | Path | None = None, *, overwrite: bool = False
) -> Path:
    """Export the segmentor of a bundle as a program of torch: `torch.export.load(out).module()`.

    Args:
        folder: The bundle.
        out: The file; None puts `model.pt2` into the bundle.
        overwrite: Replace an existing file.

    Returns:
        The file. Input and output are those of `export_onnx`; `card.json` is inside.

    Raises:
        BundleError: The bundle is damaged, or its model cannot be exported.
    """
    card = read_card(folder)
    path = _free(Path(out) if out else Path(folder) / PT2, overwrite)
    scores = _Scores(build_network(folder, card), card)
    with _quiet():
        program = _attempt('pt2', folder, lambda: torch.export.export(
            scores, (scores.example(),), dynamic_shapes=({0: torch.export.Dim('batch')},)))
    extra = {'metadata.json': json.dumps(onnx_metadata(card, scores.side))}
    return _write(path, lambda temporary: torch.export.save(
        program, temporary, extra_files=extra))


def onnx_metadata(card: Card, side: int) -> dict[str, str]:
    """What Deepness and GeoDeep read from a file, and of which bundle it is.

    Args:
        card: The card of the bundle.
        side: Of a tile in px.
    """
    bands = len(card.bands)
    values: dict[str, Any] = {
        'model_type': 'Segmentor', 'class_names': dict(enumerate(card.classes)),
        'tile_size': side, 'tiles_size': side,  # Deepness reads the first, its manual names both
        # percent; without a known overlap a quarter, as in `predict`
        'tiles_overlap': 25 if card.overlap is None else round(100 * card.overlap / side),
        'standardization_mean': [0.0] * bands, 'standardization_std': [1.0] * bands,
        'seg_thresh': 0.0, 'seg_small_segment': 0}  # the highest score wins, however small
    if card.gsd_m is not None:
        values['resolution'] = 100 * card.gsd_m  # centimetres
    properties = {key: json.dumps(value) for key, value in values.items()}
    return {**properties, 'crossearth_version': __version__, 'bundle_sha256': card.sha256,
            'licence': card.licence}


class _Scores(nn.Module):
    """Images (N, C, side, side) in 0..1 -> scores (N, K, side, side)."""

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, model: nn.Module, card: Card) -> None:
        super().__init__()
        self.model: Any = model
        self.logits = card.output == 'logits'
        # square, since both programs want it, and of a size that `Predictor` leaves as it is
        self.side = max(2, -(-max(card.crop) // MULTIPLE)) * MULTIPLE
        for name, values in (('image_mean', card.mean), ('image_std', card.std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1) / 255)
        self.eval()

    def example(self) -> Tensor:
        """A batch to trace with; of one image, a batch of any size would not be seen."""
        return torch.rand(2, self.image_mean.shape[1], self.side, self.side)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.model.encode_decode((images - self.image_mean) / self.image_std)
        return scores.softmax(1) if self.logits else scores


def _import_onnx() -> Any:
    try:
        importlib.import_module('onnxscript')
        return importlib.import_module('onnx')
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"exporting ONNX needs the package {error.name}. Run: pip install 'crossearth[export]'."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks on its own deprecations and on torchvision to itself."""
    log = logging.getLogger('torch.onnx')
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        log.setLevel(level)


def _attempt(what: str, folder: str | Path, export: Callable[[], Any]) -> Any:
    """Run an export, which fails in ways that no list of errors holds."""
    try:
        with torch.no_grad():
            return export()
    except Exception as error:
        reason = str(error).strip().partition('\n')[0]
        raise BundleError(
            f'{folder}: torch {torch.__version__} cannot export this model as {what} '
            f'({type(error).__name__}: {reason}). What the network computes may depend on the '
            'values in the image or on the size of the batch, or torch is too old: exports are '
            'tested with 2.15.') from error


def _free(path: Path, overwrite: bool) -> Path:
    if path.exists() and not overwrite:
        raise BundleError(f'{path} exists. Give --overwrite to replace it, or another name.')
    return path


def _write(path: Path, write: Callable[[Path], Any]) -> Path:
    """Write a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as temporary:
            write(temporary)
    except OSError as error:
        raise BundleError(f'{path} cannot be written: {error}. Check that the folder is writable '
                          'and has space.') from error
    return path
