# SPDX-License-Identifier: Apache-2.0
"""Rein against its formula in NumPy, its published sizes, and the order of its query weights."""

import math

import numpy as np
import pytest
import torch

from crossearth.models.adapters import LoRARein, Rein


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize('cls', [Rein, LoRARein])
def test_equals_the_formula(cls):
    rein = cls(embed_dim=16, depth=3, num_tokens=5, query_dim=4, scale_init=0.3).double()
    f = torch.randn(2, 7, 16, dtype=torch.float64)
    p = {k: v.detach().numpy() for k, v in rein.named_parameters()}
    t = (p['learnable_tokens'][1] if cls is Rein
         else p['learnable_tokens_a'][1] @ p['learnable_tokens_b'][1])
    x = f.numpy()
    s = softmax(x @ t.T / math.sqrt(16))
    delta = s[:, :, 1:] @ (t[1:] @ p['mlp_token2feat.weight'].T + p['mlp_token2feat.bias'])
    delta = (delta + x) @ p['mlp_delta_f.weight'].T + p['mlp_delta_f.bias']
    expected = x + rein.scale.item() * delta
    ours = rein(f, rein.tokens()[1]).detach().numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-12)


def plain_step(rein, feats):
    """All layers and queries with whole tokens T_i, each layer's products made in its turn."""
    if isinstance(rein, LoRARein):
        tokens = rein.learnable_tokens_a @ rein.learnable_tokens_b
    else:
        tokens = rein.learnable_tokens
    for token in tokens:
        attention = (feats @ token.T / math.sqrt(rein.embed_dim)).softmax(-1)
        delta = rein.mlp_delta_f(attention[..., 1:] @ rein.mlp_token2feat(token[1:]) + feats)
        feats = feats + rein.scale * delta
    queries = rein.transform(tokens)
    queries = torch.stack((queries.amax(0), queries.mean(0), queries[-1]), -1).flatten(1)
    return feats, rein.merge(queries)


def step(rein, feats):
    for tokens in rein.tokens():
        feats = rein(feats, tokens)
    return feats, rein.queries()


@pytest.mark.parametrize('options', [{}, {'rank': 2}, {'rank': 30}])
def test_outputs_and_gradients_equal_those_of_whole_tokens(options):
    cls = LoRARein if options else Rein
    rein = cls(
        embed_dim=16, depth=3, num_tokens=5, query_dim=4, scale_init=0.5, **options).double()
    feats = torch.randn(2, 7, 16, dtype=torch.float64, requires_grad=True)
    results = []
    for run in (step, plain_step):
        refined, queries = run(rein, feats)
        loss = (refined * feats.detach().cos()).sum() + queries.square().sum()
        results.append([refined, queries, *torch.autograd.grad(loss, [feats, *rein.parameters()])])
    torch.testing.assert_close(*results, atol=1e-10, rtol=1e-10)


def test_nothing_made_of_the_parameters_outlives_a_step():
    rein = LoRARein(embed_dim=16, depth=2, num_tokens=4, scale_init=0.5).eval()
    feats = torch.randn(1, 3, 16)
    with torch.no_grad():
        step(rein, feats)
        for parameter in rein.parameters():
            parameter.mul_(1.5)
        torch.testing.assert_close(step(rein, feats), plain_step(rein, feats))


def test_query_weights_are_interleaved():
    rein = Rein(embed_dim=8, depth=3, num_tokens=5, query_dim=4).double()
    t = rein.transform(rein.learnable_tokens).detach().numpy()
    inputs = np.empty((5, 12))
    for channel in range(4):
        inputs[:, 3 * channel] = t[:, :, channel].max(0)
        inputs[:, 3 * channel + 1] = t[:, :, channel].mean(0)
        inputs[:, 3 * channel + 2] = t[2, :, channel]
    merge = rein.merge
    expected = inputs @ merge.weight.detach().numpy().T + merge.bias.detach().numpy()
    np.testing.assert_allclose(rein.queries().detach().numpy(), expected, atol=1e-12)


def test_null_slot_gives_nothing():
    rein = LoRARein(embed_dim=16, depth=2, num_tokens=4)
    with torch.no_grad():
        rein.learnable_tokens_a[0, 0] *= 1e6  # all attention goes to token 0
        token = rein.learnable_tokens_a[0, 0] @ rein.learnable_tokens_b[0]
        f = token.expand(1, 3, 16) / token.norm()
        expected = f + rein.scale * rein.mlp_delta_f(f)
        torch.testing.assert_close(rein(f, rein.tokens()[0]), expected)


def test_published_size_and_range():
    rein = LoRARein(embed_dim=1024, depth=24)
    assert sum(p.numel() for p in rein.parameters()) == 2_990_081
    assert rein.scale.item() == pytest.approx(1e-3)
    bound = math.sqrt(6 / 896)
    for tokens in (rein.learnable_tokens_a, rein.learnable_tokens_b):
        assert 0.99 * bound < tokens.abs().max() <= bound
    full = Rein(embed_dim=1024, depth=2).learnable_tokens
    assert 0.99 * math.sqrt(6 / 1792) < full.abs().max() <= math.sqrt(6 / 1792)


@pytest.mark.parametrize('cls', [Rein, LoRARein])
def test_tokens_that_are_not_linked_make_no_queries(cls):
    sizes = {'embed_dim': 16, 'depth': 2, 'num_tokens': 4, 'query_dim': 8}
    linked, alone = cls(**sizes), cls(**sizes, link_token_to_query=False)
    assert alone.queries() is None
    assert linked.queries().shape == (4, 8)
    missing = linked.state_dict().keys() - alone.state_dict().keys()
    assert missing == {f'{part}.{kind}' for part in ('transform', 'merge')
                       for kind in ('weight', 'bias')}
    alone.load_state_dict(linked.state_dict(), strict=False)
    feats = torch.randn(1, 3, 16)
    torch.testing.assert_close(alone(feats, alone.tokens()[1]), linked(feats, linked.tokens()[1]))
