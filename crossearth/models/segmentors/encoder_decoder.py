# SPDX-License-Identifier: Apache-2.0
"""Backbone and decode head as one segmentor, its inference and its checkpoints."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor, nn

from crossearth.errors import ConfigError
from crossearth.registry import MODELS

from ..backbones.adapted import Features
from ..backbones.pretrained import PretrainedBackbone

__all__ = ['PEFTEncoderDecoder', 'average_windows', 'prefixed', 'sliding_windows']

# parts that a model at test has not
TRAINING_ONLY = (
    'auxiliary_head.', 'hallucination.', 'mim_head.', 'mask_draws.', 'prompt', 'style.')


@MODELS.register_module()
class PEFTEncoderDecoder(BaseSegmentor):
    """Segmentor for parameter-efficient fine-tuning.

    A checkpoint holds the trained part only: parameters of a frozen backbone are neither written
    nor asked for. Of a checkpoint, what only training needs is ignored where the model lacks it.

    Args:
        backbone: Config of the backbone.
        decode_head: Config of the head, with `loss` and `predict` as MMSegmentation's heads have
            them.
        auxiliary_head: Config of a head, or of several, that only help training; None for none.
        data_preprocessor: Config of the normalisation.
        train_cfg: Handed to the head's `loss`.
        test_cfg: `mode='whole'`, or `mode='slide'` with `crop_size` and `stride` (rows, columns)
            in px; `window_batch` windows, by default one, pass the network at a time, which pays on
            a GPU; `keep_scores=True` also returns the scores.
        compile: Whether `torch.compile` makes one program of the backbone, or its arguments.
        init_cfg: As in mmengine.

    Raises:
        ConfigError: `test_cfg` is incomplete, or its mode or number of windows is none.
    """

    align_corners = False
    auxiliary_head: Any

    def __init__(
        self,
        backbone: dict[str, Any],
        decode_head: dict[str, Any],
        auxiliary_head: dict[str, Any] | list[dict[str, Any]] | None = None,
        data_preprocessor: dict[str, Any] | None = None,
        train_cfg: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
        compile: bool | dict[str, Any] = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        # built here, since mmengine would look in its own registry when no default scope is set
        preprocessor = data_preprocessor and MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        self.train_cfg = train_cfg or {}
        self.test_cfg = {'mode': 'whole', **(test_cfg or {})}
        _check_test_cfg(self.test_cfg)
        self.window_batch: int = self.test_cfg.get('window_batch', 1)
        self.backbone = MODELS.build(backbone)
        if compile is not False:
            self.backbone.compile(**({} if compile is True else compile))
        self.decode_head = MODELS.build(decode_head)
        self.num_classes = self.decode_head.num_classes
        self.auxiliary_head = _build_heads(auxiliary_head)
        self._register_state_dict_hook(_drop_frozen)
        self.register_load_state_dict_post_hook(_forgive_frozen)
        self.register_load_state_dict_post_hook(_forgive_training_only)

    def frozen_names(self) -> set[str]:
        """Names of the parameters that checkpoints leave out."""
        backbone = self.backbone
        if not (isinstance(backbone, PretrainedBackbone) and backbone.frozen):
            return set()
        return {f'backbone.{name}' for name in backbone.pretrained_names()}

    def extract_feat(self, inputs: Tensor) -> Features:
        """Extract features of normalised images (B, 3, H, W); see the backbone's `forward`."""
        features: Features = self.backbone(inputs)
        return features

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            inputs: Normalised images (B, 3, H, W).
            data_samples: Their labels, `gt_sem_seg.data` (1, H, W).

        Returns:
            Losses by name, with the prefixes of `segmentation_losses`.
        """
        return self.segmentation_losses(self.extract_feat(inputs), data_samples)

    def segmentation_losses(
        self, features: Features, data_samples: list[Any]
    ) -> dict[str, Tensor]:
        """Compute the losses of all heads; auxiliary ones get the maps, without queries.

        Args:
            features: What the backbone gives.
            data_samples: Labels, `gt_sem_seg.data` (1, H, W).

        Returns:
            Losses by name, with the prefix `decode.`, and `aux.` or `aux_0.`, `aux_1.`...
        """
        losses = self.decode_head.loss(features, data_samples, self.train_cfg)
        return prefixed('decode', losses) | self.auxiliary_losses(features, data_samples)

    def auxiliary_losses(self, features: Features, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the losses of the auxiliary heads alone; see `segmentation_losses`."""
        heads = self.auxiliary_head
        if heads is None:
            return {}
        maps = features[0] if isinstance(features, tuple) else features
        named: list[tuple[str, Any]] = [('aux', heads)]
        if isinstance(heads, nn.ModuleList):
            named = [(f'aux_{index}', head) for index, head in enumerate(heads)]
        losses: dict[str, Tensor] = {}
        for name, head in named:
            losses |= prefixed(name, head.loss(maps, data_samples, self.train_cfg))
        return losses

    def predict(self, inputs: Tensor, data_samples: list[Any] | None = None) -> list[Any]:
        """Segment a batch.

        Args:
            inputs: Normalised images (B, 3, H, W).
            data_samples: Their metainfo; predictions are resized to `ori_shape`.

        Returns:
            One SegDataSample for each image with `pred_sem_seg.data` (1, h, w).
        """
        samples: list[Any] = self.postprocess_result(self.inference(inputs), data_samples)
        if not self.test_cfg.get('keep_scores', False):
            for sample in samples:
                del sample.seg_logits  # (C, h, w) floats of every tested image would be held
        return samples

    def inference(self, inputs: Tensor) -> Tensor:
        """Give the class scores (B, C, H, W) of normalised images (B, 3, H, W)."""
        if self.test_cfg['mode'] == 'whole':
            return self.encode_decode(inputs)
        return self.slide_inference(inputs)

    def encode_decode(self, inputs: Tensor, batch_data_samples: Any = None) -> Tensor:
        """Give the class scores (B, C, h, w) of one window (B, 3, h, w)."""
        # the head's output size is the window's, whatever the whole image's metainfo says; heads
        # look at the first entry only, and one for each image would fix the batch of an export
        metas = [{'img_shape': inputs.shape[-2:]}]
        scores: Tensor = self.decode_head.predict(self.extract_feat(inputs), metas, self.test_cfg)
        return scores

    def slide_inference(self, inputs: Tensor) -> Tensor:
        """Average the scores of overlapping windows.

        Args:
            inputs: Normalised images (B, 3, H, W) of any size; a side shorter than the crop is one
                window.

        Returns:
            Scores (B, C, H, W).
        """
        size = (inputs.shape[-2], inputs.shape[-1])
        windows = sliding_windows(size, self.test_cfg['crop_size'], self.test_cfg['stride'])
        return average_windows(
            self.encode_decode, inputs, self.num_classes, windows, batch=self.window_batch)

    def _forward(self, inputs: Tensor, data_samples: Any = None) -> Any:
        """Run backbone and head without post-processing."""
        return self.decode_head(self.extract_feat(inputs))


def prefixed(prefix: str, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name losses `<prefix>.<name>`."""
    return {f'{prefix}.{name}': value for name, value in losses.items()}


def _build_heads(config: dict[str, Any] | list[dict[str, Any]] | None) -> Any:
    if isinstance(config, Sequence):
        return nn.ModuleList(MODELS.build(head) for head in config)
    return config and MODELS.build(config)


def sliding_windows(
    size: tuple[int, int], crop: Sequence[int], stride: Sequence[int]
) -> list[tuple[slice, slice]]:
    """Windows that cover an image; the last row and column are shifted back inside.

    Args:
        size: Image (H, W) in px.
        crop: Window (h, w) in px; clipped to the image.
        stride: Step (rows, columns) in px.

    Returns:
        Pairs of row and column slices, row by row.
    """
    starts = []
    for length, window, step in zip(size, crop, stride, strict=True):
        window = min(window, length)
        steps = -(-(length - window) // step)
        starts.append([slice(s, s + window)
                       for s in (min(i * step, length - window) for i in range(steps + 1))])
    return [(rows, columns) for rows in starts[0] for columns in starts[1]]


def average_windows(
    score: Callable[[Tensor], Tensor], images: Tensor, channels: int,
    windows: Sequence[tuple[slice, slice]], stride: int = 1, batch: int = 1,
) -> Tensor:
    """Score windows of images, and average where they overlap.

    Of the size of the images there are only the scores and the number of windows at each place.

    Args:
        score: Scores (B, C, h / s, w / s) of windows (B, 3, h, w).
        images: (B, 3, H, W).
        channels: C.
        windows: Rows and columns in px, multiples of s, that cover the images; all of one size.
        stride: s, px of the images for one score.
        batch: Windows of each image that are scored at a time.

    Returns:
        Scores (B, C, H / s, W / s), at least float32.
    """
    size = [side // stride for side in images.shape[-2:]]
    dtype = torch.promote_types(images.dtype, torch.float32)
    # not len(images), which would fix the batch of an export
    scores = images.new_zeros((images.shape[0], channels, *size), dtype=dtype)
    count = images.new_zeros((1, 1, *size), dtype=dtype)
    for start in range(0, len(windows), batch):
        places = windows[start:start + batch]
        found = score(torch.cat([images[..., rows, columns] for rows, columns in places]))
        parts = found.reshape(len(places), -1, *found.shape[1:])
        for place, part in zip(places, parts, strict=True):
            rows, columns = (slice(s.start // stride, s.stop // stride) for s in place)
            scores[..., rows, columns] += part
            count[..., rows, columns] += 1
    return scores.div_(count)


def _check_test_cfg(test_cfg: dict[str, Any]) -> None:
    if test_cfg['mode'] not in ('whole', 'slide'):
        raise ConfigError(f"model.test_cfg.mode={test_cfg['mode']!r} is unknown. "
                          "Choose 'whole' or 'slide'.")
    batch = test_cfg.get('window_batch', 1)
    if not isinstance(batch, int) or batch < 1:
        raise ConfigError(f'model.test_cfg.window_batch={batch!r} is no number of windows. '
                          'Choose 1, or more on a GPU.')
    if test_cfg['mode'] == 'whole':
        return
    crop, stride = test_cfg.get('crop_size'), test_cfg.get('stride')
    if not crop or not stride or any(s < 1 or s > c for s, c in zip(stride, crop, strict=True)):
        raise ConfigError(
            f"model.test_cfg: mode 'slide' with crop_size={crop} and stride={stride} leaves pixels "
            'uncovered. Give both as (rows, columns) with 1 <= stride <= crop_size, e.g. '
            '(512, 512) and (341, 341).')


def _drop_frozen(
    module: PEFTEncoderDecoder, state_dict: dict[str, Tensor], prefix: str, _: Any
) -> None:
    for name in module.frozen_names():
        state_dict.pop(prefix + name, None)


def _forgive_frozen(module: nn.Module, incompatible: Any) -> None:
    """Take frozen parameters off the list of missing keys, unless nothing ever filled them."""
    backbone = module.backbone
    if not isinstance(backbone, PretrainedBackbone):
        return
    if backbone.weights_loaded or backbone.weights == 'random':
        frozen = module.frozen_names()  # type: ignore[operator]  # hooks are typed for any Module
        incompatible.missing_keys[:] = [
            key for key in incompatible.missing_keys if key.removeprefix('module.') not in frozen]


def _forgive_training_only(module: nn.Module, incompatible: Any) -> None:
    """Take what this model leaves out of a training off the list of unexpected keys."""
    incompatible.unexpected_keys[:] = [
        key for key in incompatible.unexpected_keys
        if not key.removeprefix('module.').startswith(TRAINING_ONLY)]
