# SPDX-License-Identifier: Apache-2.0
"""The loss of all layers and images in one batch against the plain one, and how often it waits."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_mask2former_loss import plain_losses
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from crossearth.models.heads.mask2former.decoder import Predictions
from crossearth.models.heads.mask2former.loss import Mask2FormerLoss
from crossearth.models.heads.mask2former.matcher import LossWeights
from crossearth.models.heads.mask2former.targets import make_targets

CLASSES = 4


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def predictions(images: int, queries: int, size: tuple[int, int] = (8, 6)) -> Predictions:
    found = (torch.randn(3, images, queries, CLASSES + 1), torch.randn(3, images, queries, 5),
             torch.randn(images, 5, *size))
    return Predictions(*(x.requires_grad_() for x in found))


def label_maps(images: int, height: int = 24) -> list[Tensor]:
    """Blocks of 4 x 4 px, some of 255; the first image has fewer classes."""
    maps = []
    for n in range(images):
        blocks = torch.randint(-1, CLASSES if n else 2, (height // 4, 5))
        maps.append(blocks.where(blocks >= 0, 255).repeat_interleave(4, 0).repeat_interleave(4, 1))
    return maps


def batched(
    found: Predictions, labels: list[Tensor], points: int, exclude: bool
) -> dict[str, Tensor]:
    criterion = Mask2FormerLoss(CLASSES, LossWeights(), points, 3.0, 0.75, exclude)
    targets = make_targets(labels, CLASSES, 255, exclude, ['x'] * len(labels))
    losses: dict[str, Tensor] = criterion(found, targets)
    return losses


@pytest.mark.parametrize('points', [17, 60])  # fewer and more than the pixels of a map
@pytest.mark.parametrize('exclude', [False, True])
@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 2**31), images=st.integers(1, 3), queries=st.sampled_from([2, 7]),
       void=st.sampled_from([None, 0, -1]))
def test_losses_and_gradients_are_the_plain_ones(
    points: int, exclude: bool, seed: int, images: int, queries: int, void: int | None
) -> None:
    torch.manual_seed(seed)
    found, labels = predictions(images, queries), label_maps(images)
    if void is not None:
        labels[void].fill_(255)
    results = []
    for plain in (False, True):
        torch.manual_seed(seed)
        losses = plain_losses(
            found.cls_logits, torch.stack([found.mask_logits(i) for i in range(3)]), labels,
            CLASSES, points, exclude) if plain else batched(found, labels, points, exclude)
        gradients = torch.autograd.grad(sum(losses.values()), found, materialize_grads=True)
        results.append((losses, gradients, torch.rand(())))  # as many draws
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


class _Waits(TorchDispatchMode):
    """Notes operations for whose result, or its size, a program waits."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in ('_local_scalar_dense', 'nonzero', 'masked_select', '_unique2', 'bincount',
                    'equal', 'is_nonzero', 'repeat_interleave'):
            self.seen.append(name)
        if name == 'index' and any(i is not None and i.dtype == torch.bool for i in args[1]):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('exclude', [False, True])
def test_nothing_but_the_transfer_of_all_costs_waits_for_the_device(
    exclude: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, labels = predictions(2, 7), label_maps(2)
    criterion = Mask2FormerLoss(CLASSES, LossWeights(), 20, 3.0, 0.75, exclude)
    targets = make_targets(labels, CLASSES, 255, exclude, ['x', 'y'])
    transfers = []
    to_host = Tensor.cpu
    monkeypatch.setattr(Tensor, 'cpu', lambda x: transfers.append(x.shape) or to_host(x))
    with _Waits() as waits:
        criterion(found, targets)
    masks = sum(len(target.labels) for target in targets)
    assert transfers == [(3 * 7 * masks,)]
    assert waits.seen == []
