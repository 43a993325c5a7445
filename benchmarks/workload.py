# SPDX-License-Identifier: Apache-2.0
"""What is measured: a model of random weights, the reference beside it, and a batch of images."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from common import Job, Outputs, Settings
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

import crossearth.models  # noqa: F401  (registers the modules)
from crossearth.models.layers.deformable_attention import MultiScaleDeformableAttention
from crossearth.registry import MODELS
from crossearth.style.draws import IterationDraws
from crossearth.style.frozen import EMBEDDING_DIM
from crossearth.style.nets import StyleNets
from crossearth.style.predictor import MagentaPredictor
from crossearth.style.statistics import StyleStatistics
from crossearth.style.transformer import MagentaTransformer

__all__ = [
    'CLASSES', 'FLOWS', 'batch', 'build', 'doubled', 'infer', 'jobs', 'set_styled', 'train',
    'train_exactly']

CONFIGS = Path(__file__).resolve().parents[1] / 'configs' / '_base_' / 'models'
FLOWS = {'whole': 'crossearth', 'segmentation': 'rein'}  # -> first part of the config's name
CLASSES = 5
IGNORED = 255
TINY: dict[str, Any] = {
    'backbone.arch': {'_delete_': True, 'embed_dim': 32, 'depth': 4, 'num_heads': 2},
    'backbone.out_indices': (0, 1, 2, 3),
    'backbone.adapter': {'type': 'LoRARein', 'num_tokens': 8, 'rank': 2, 'query_dim': 16},
    'decode_head.in_channels': (32,) * 4, 'decode_head.feat_channels': 16,
    'decode_head.num_points': 64,
    'decode_head.pixel_decoder': {
        'num_layers': 2, 'num_heads': 2, 'num_groups': 4, 'ffn_channels': 16},
    'decode_head.transformer_decoder': {'num_layers': 3, 'num_heads': 2, 'ffn_channels': 16},
}
TINY_WHOLE: dict[str, Any] = {
    'backbone.injector.dim': 16, 'backbone.injector.num_heads': 2, 'mim_head.channels': 8,
    'mim_head.size': 32, 'mask.block': 16}


def build(settings: Settings, flow: str = 'segmentation', *, checkpointing: bool = False) -> Any:
    """Build the published configuration of a flow, in training mode.

    Args:
        settings: Of the run; its `size` is the crop.
        flow: `whole`, with GSE, Injector, masked image modelling and style, or `segmentation`,
            with Rein alone.
        checkpointing: Recompute the blocks in the backward pass.
    """
    tiny = settings.model == 'tiny'
    name = f'{FLOWS[flow]}_dinov2-{"s" if tiny else settings.model}.py'
    cfg = Config({'model': Config.fromfile(CONFIGS / name).model})
    size = (settings.size, settings.size)
    options = {
        'backbone.weights': 'random', 'backbone.img_size': settings.size,
        'backbone.checkpointing': checkpointing, 'data_preprocessor.size': size,
        'decode_head.num_classes': CLASSES, 'test_cfg.crop_size': size,
        'test_cfg.stride': (round(settings.size * 2 / 3),) * 2,
        **(TINY if tiny else {}), **(TINY_WHOLE if tiny and flow == 'whole' else {})}
    # copied, as mmengine takes `_delete_` out of what it is given
    cfg.merge_from_dict(deepcopy({f'model.{key}': value for key, value in options.items()}))
    torch.manual_seed(settings.seed)
    model = MODELS.build(cfg.model)
    for module in model.modules():
        if isinstance(module, MultiScaleDeformableAttention):
            # away from the pixel centres, where the derivative by the place is not unique
            nn.init.normal_(module.sampling_offsets.weight, std=0.1)
    if getattr(model, 'style', None) is not None:
        model.style._loaded = _random_style()
    return model.to(settings.device).train()


def _random_style() -> tuple[StyleNets, StyleStatistics]:
    """The style nets of the default kind, which cost the same with random weights."""
    mean = torch.zeros(EMBEDDING_DIM, dtype=torch.float64)
    statistics = StyleStatistics(mean, torch.diag(mean + 1), 2, 'none', '', '2026-01-01', ())
    return StyleNets(MagentaPredictor(), MagentaTransformer(), ''), statistics


def batch(settings: Settings) -> tuple[Tensor, list[SegDataSample]]:
    """Make images (B, 3, S, S) of noise, with labels of all classes and some without one."""
    generator = torch.Generator().manual_seed(settings.seed)
    images = torch.randn(
        settings.batch, 3, settings.size, settings.size, generator=generator)
    samples = []
    for _ in range(settings.batch):
        ids = torch.randperm(16, generator=generator) % (CLASSES + 1)  # fields of a 4 x 4 board
        ids[ids == CLASSES] = IGNORED
        label = ids.view(4, 4).repeat_interleave(-(-settings.size // 4), 0)
        label = label.repeat_interleave(-(-settings.size // 4), 1)
        label = label[: settings.size, : settings.size]
        sample = SegDataSample(metainfo={'img_shape': tuple(label.shape)})
        sample.gt_sem_seg = PixelData(data=label[None].to(settings.device))
        samples.append(sample)
    return images.to(settings.device), samples


def set_styled(model: Any, styled: bool) -> None:
    """Style every iteration of a model, or none."""
    model.style.probability = float(styled)


def train(
    settings: Settings, model: Any, images: Tensor, samples: list[SegDataSample]
) -> Outputs:
    """Run loss and backward pass, with the same random numbers in every call.

    Returns:
        The losses, and the gradients of all parameters that are trained.
    """
    for module in model.modules():
        if isinstance(module, IterationDraws):
            module.state[1] = 0
    model.zero_grad(set_to_none=True)
    torch.manual_seed(settings.seed)
    with settings.autocast():
        losses = model.loss(images, samples)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    return {'losses': [value.detach() for value in losses.values()],
            'gradients': [p.grad for p in model.parameters() if p.grad is not None]}


def train_exactly(
    settings: Settings, model: Any, images: Tensor, samples: list[SegDataSample]
) -> Outputs:
    """Do as `train`, in float64.

    In float32 queries that cost almost the same can be assigned the other way round, which
    changes losses and gradients by far more than rounding does.
    """
    with doubled(model):
        return train(settings, model, images.double(), samples)


@contextmanager
def doubled(model: Any) -> Iterator[None]:
    """Have a model in float64 for a while."""
    model.double()
    if getattr(model, 'style', None) is not None:
        model.style.float()  # as its nets
    try:
        yield
    finally:
        model.float()


@torch.no_grad()
def infer(settings: Settings, model: Any, images: Tensor) -> Outputs:
    """Score every pixel of images of the crop's size."""
    # slices of parameters that ask for gradients would confuse the counter of FLOPs
    model.eval().requires_grad_(False)
    with settings.autocast():
        return {'scores': [model.encode_decode(images)]}


def jobs(
    function: Callable[..., Outputs], models: Mapping[str, nn.Module], *args: Any
) -> dict[str, Job]:
    """Make a job of each model: `train` or `infer` with the settings that it is called with."""
    return {name: lambda settings, model=model: function(settings, model, *args)
            for name, model in models.items()}
