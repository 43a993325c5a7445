# SPDX-License-Identifier: Apache-2.0
"""An exported model in ONNX Runtime, in the place of torch."""

from pathlib import Path
from typing import Any

import numpy as np

from crossearth.errors import BundleError, MissingDependencyError
from crossearth.inference.card import Card, read_card
from crossearth.inference.export import ONNX
from crossearth.inference.predictor import Predictor

__all__ = ['OnnxScorer', 'load_onnx_predictor']


def load_onnx_predictor(folder: str | Path, *, tta: str = 'none') -> Predictor:
    """Load the exported model of a bundle, ready to score tiles.

    Args:
        folder: The bundle, with its `model.onnx`.
        tta: `none` or `d4`.

    Raises:
        BundleError: There is no such file, or it belongs to another bundle.
        MissingDependencyError: onnxruntime is not installed.
    """
    card = read_card(folder, verify=False)  # the file that it vouches for is not used
    path = Path(folder) / ONNX
    if not path.is_file():
        raise BundleError(f'{folder} holds no {ONNX}. Make it: crossearth export onnx {folder}.')
    return Predictor(OnnxScorer(path, card), len(card.classes), card, tta)


class OnnxScorer:
    """Score images of one size.

    Args:
        path: A file of `export_onnx`.
        card: The card of the bundle that it was made from.

    Attributes:
        size: (h, w) of the images in px.

    Raises:
        BundleError: The file is damaged, or belongs to another bundle.
        MissingDependencyError: onnxruntime is not installed.
    """

    def __init__(self, path: str | Path, card: Card) -> None:
        runtime = _import_runtime()
        wanted = ('CUDAExecutionProvider', 'CPUExecutionProvider')
        providers = [name for name in wanted if name in runtime.get_available_providers()]
        try:
            self.session: Any = runtime.InferenceSession(str(path), providers=providers)
        except Exception as error:  # its errors have no common root
            raise BundleError(f'{path} cannot be loaded by onnxruntime {runtime.__version__} '
                              f'({error}). Export it again.') from error
        found = self.session.get_modelmeta().custom_metadata_map.get('bundle_sha256', '')
        if found != card.sha256:
            raise BundleError(
                f'{path} was made from weights of the sha256 {found[:12] or "(none)"}, and those '
                f'of the bundle are {card.sha256[:12]}. Export it again: crossearth export onnx.')
        height, width = self.session.get_inputs()[0].shape[-2:]
        self.size = (int(height), int(width))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Images (N, C, h, w) float32 in 0..255 -> scores (N, K, h, w) float32 >= 0."""
        try:
            outputs = self.session.run(['scores'], {'images': images / np.float32(255)})
        except Exception as error:  # its errors have no common root
            if 'alloc' in str(error).lower():
                raise MemoryError(str(error)) from error
            raise
        scores: np.ndarray = outputs[0]
        return scores


def _import_runtime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "running an ONNX file needs the package onnxruntime. Run: pip install "
            "'crossearth[export]'.") from error
    return onnxruntime
