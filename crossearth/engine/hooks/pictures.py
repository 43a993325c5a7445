# SPDX-License-Identifier: Apache-2.0
"""Pictures of the training: the image, what the tasks make of it, and the prediction."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from crossearth.registry import HOOKS

from .tracking import TRACKERS

__all__ = ['TrainingPictureHook', 'mosaic', 'task_pictures']

GAP, TITLE = 4, 14  # px between panels and above them
UNKNOWN = (0, 0, 0)  # colour of pixels without a class


@HOOKS.register_module()
class TrainingPictureHook(Hook):
    """Write `pictures/iter_<n>.png` of the first image of a batch into the work folder.

    It shows X, the restyled X_S, the masked X_M and its restoration, prediction and label. They are
    made anew after the iteration, which costs a forward pass or two of one image. Trackers that the
    config names (TensorBoard, W&B, MLflow) get the picture as `training.png`.

    Args:
        interval: Iterations between two pictures.
    """

    priority = 'VERY_LOW'

    def __init__(self, interval: int = 500) -> None:
        self.interval = interval

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Write a picture if one is due, on the main process."""
        if not (self.every_n_train_iters(runner, self.interval) and is_main_process()):
            return
        model = getattr(runner.model, 'module', runner.model)
        palette = runner.train_dataloader.dataset.metainfo['palette']
        model.eval()
        panels = _panels(model, data_batch, np.array([*palette], dtype=np.uint8))
        model.train()
        path = Path(runner.work_dir) / 'pictures' / f'iter_{runner.iter + 1:06d}.png'
        path.parent.mkdir(exist_ok=True)
        picture = mosaic(panels)
        picture.save(path)
        for name in TRACKERS:
            if tracker := runner.visualizer.get_backend(name):
                tracker.add_image('training.png', np.asarray(picture), runner.iter + 1)


@torch.no_grad()
def _panels(
    model: Any, batch: Mapping[str, Any], palette: NDArray[np.uint8]
) -> dict[str, NDArray[np.uint8]]:
    """RGB panels (H, W, 3) by title, of the first image of a batch."""
    sample = batch['data_samples'][0]
    data = model.data_preprocessor({'inputs': batch['inputs'][:1], 'data_samples': [sample]})
    image = data['inputs']
    labels = {
        'prediction': model.inference(image)[0].argmax(0), 'label': sample.gt_sem_seg.data[0]}
    return {
        **task_pictures(model, image),
        **{title: _colours(x, palette) for title, x in labels.items()}}


def task_pictures(model: Any, image: Tensor) -> dict[str, NDArray[np.uint8]]:
    """Show an image as the tasks of its training see it.

    Args:
        model: A segmentor.
        image: Normalised image (1, 3, H, W).

    Returns:
        RGB pictures (H, W, 3): `X` and, as far as the model has them, `X_S`, `X_M` and
        `X_M restored`.
    """
    shown = {'X': image, **(model.pictures(image) if hasattr(model, 'pictures') else {})}
    return {title: _pixels(x, model.data_preprocessor) for title, x in shown.items()}


def _pixels(image: Tensor, preprocessor: Any) -> NDArray[np.uint8]:
    """Undo the normalisation of (1, 3, H, W)."""
    pixels = image[0].float() * preprocessor.std + preprocessor.mean
    return pixels.clamp(0, 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _colours(label: Tensor, palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colour (H, W) class ids."""
    ids = label.cpu().numpy()
    known = ids < len(palette)
    colours: NDArray[np.uint8] = palette[np.where(known, ids, 0)]
    colours[~known] = UNKNOWN
    return colours


def mosaic(panels: Mapping[str, NDArray[np.uint8]]) -> Image.Image:
    """Put panels side by side under their titles, at the size of the first.

    Args:
        panels: RGB images (H, W, 3) by title.
    """
    height, width = next(iter(panels.values())).shape[:2]
    size = ((width + GAP) * len(panels) - GAP, height + TITLE)
    picture = Image.new('RGB', size, 'white')
    draw = ImageDraw.Draw(picture)
    for index, (title, panel) in enumerate(panels.items()):
        left = index * (width + GAP)
        picture.paste(Image.fromarray(panel).resize((width, height)), (left, TITLE))
        draw.text((left, 1), title, fill='black')
    return picture
