# SPDX-License-Identifier: Apache-2.0
"""A whole bundle of a tiny model with random values, for the tests of inference."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from crossearth.inference.bundle import build_network, write_bundle
from crossearth.inference.card import Card
from crossearth.inference.gap import domain_statistics, torch_embedder
from crossearth.registry import MODELS
from crossearth.style.kinds import build_kind

CROP = [64, 64]
MODEL: dict[str, Any] = {
    'type': 'PEFTEncoderDecoder',
    'backbone': {
        'type': 'DINOv2', 'arch': {'embed_dim': 32, 'depth': 4, 'num_heads': 2}, 'img_size': 64,
        'out_indices': [0, 1, 2, 3], 'weights': 'random', 'gse': {},
        'injector': {'dim': 8, 'num_heads': 2, 'scale_init': 0.1},
        'adapter': {'type': 'LoRARein', 'num_tokens': 6, 'rank': 2, 'query_dim': 16}},
    'decode_head': {
        'type': 'ReinMask2FormerHead', 'in_channels': [32, 32, 32, 32], 'num_classes': 3,
        'feat_channels': 16, 'num_points': 64,
        'pixel_decoder': {
            'num_layers': 1, 'num_heads': 2, 'num_points': 2, 'ffn_channels': 16, 'num_groups': 4},
        'transformer_decoder': {'num_layers': 2, 'num_heads': 2, 'ffn_channels': 16}},
}
CARD: dict[str, Any] = {
    'model': MODEL, 'classes': ['water', 'built', 'forest'],
    'palette': [[0, 0, 255], [255, 0, 0], [0, 128, 0]], 'crop': CROP, 'gsd_m': 0.5,
    'training_domain': ['dry'], 'licence': 'CC0-1.0'}


def tiny_bundle(folder: Path, **changes: Any) -> Path:
    """Write a bundle; `changes` are fields of the card."""
    card = Card(**{**deepcopy(CARD), **changes})
    torch.manual_seed(0)
    return write_bundle(folder, _shaken(MODELS.build(deepcopy(dict(card.model)))), card)


def coloured_tiles(
    number: int, seed: int, tint: tuple[int, int, int] = (0, 0, 0), side: int = 64
) -> np.ndarray:
    """Tiles (number, 3, side, side) uint8 of one colour and noise, none 0."""
    generator = np.random.default_rng(seed)
    base = generator.integers(60, 120, (number, 3, 1, 1))
    noise = generator.normal(0, 12, (number, 3, side, side))
    return (base + noise + np.reshape(tint, (3, 1, 1))).clip(1, 255).astype(np.uint8)


def described_bundle(folder: Path) -> Path:
    """Write a bundle whose card knows its training domain: `coloured_tiles(40, 0)`."""
    card, nets = Card(**CARD), build_kind('reinhard_lab')  # a style that needs no weights
    backbone = build_network(tiny_bundle(folder), card).backbone
    return tiny_bundle(folder, statistics=domain_statistics(
        coloured_tiles(40, 0), torch_embedder(nets.predictor),
        torch_embedder(backbone, card.mean, card.std), style_kind='reinhard_lab',
        style_sha256=nets.sha256))


def _shaken(model: nn.Module) -> nn.Module:
    """Make queries disagree, as training does: those of a fresh model all vote for one class."""
    head, adapter = model.eval().decode_head, model.backbone.reins
    with torch.no_grad():
        for linear in (adapter.transform, adapter.merge):
            linear.bias.zero_()
        adapter.merge.weight.mul_(1e3)
        for value in head.parameters():
            if value.ndim > 1:
                value.mul_(2.0)
        logits = head(model.extract_feat(torch.randn(4, 3, *CROP))).cls_logits[-1]
        head.cls_embed.bias.sub_(logits.mean((0, 1)))
    return model
