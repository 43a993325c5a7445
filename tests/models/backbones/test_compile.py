# SPDX-License-Identifier: Apache-2.0
"""torch.compile sees a backbone with all its adapters as one graph, forwards and backwards."""

import pytest
import torch
from made_weights import dinov2
from torch import Tensor

ADAPTERS = {
    'adapter': {'type': 'LoRARein', 'num_tokens': 6, 'rank': 2, 'query_dim': 8}, 'gse': {},
    'injector': {'dim': 8, 'num_heads': 2}}


def outputs(found: tuple[list[Tensor], Tensor]) -> list[Tensor]:
    maps, queries = found
    return [*maps, queries]


@pytest.mark.parametrize(('backend', 'size', 'checkpointing'), [
    ('eager', (50, 70), False),  # padded
    pytest.param('aot_eager', (64, 64), False, marks=pytest.mark.slow),
    pytest.param('aot_eager', (64, 64), True, marks=pytest.mark.slow)])
def test_backbone_is_one_graph_with_the_same_outputs_and_gradients(backend, size, checkpointing):
    torch._dynamo.reset()
    model = dinov2(weights='random', checkpointing=checkpointing, **ADAPTERS).train()
    compiled = torch.compile(model, backend=backend, fullgraph=True)  # a break is an error
    image, results = torch.randn(2, 3, *size), []
    trained = [p for p in model.parameters() if p.requires_grad]
    for run in (model, compiled):
        found = outputs(run(image, geospatial=1))  # as in training: GSE for half of the batch
        loss = sum((x ** 2).sum() for x in found)
        results.append((found, torch.autograd.grad(loss, trained, materialize_grads=True)))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
