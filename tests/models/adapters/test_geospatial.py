# SPDX-License-Identifier: Apache-2.0
"""GSE and Injector: sizes of the specification, the attention's formula, and every reading."""

import numpy as np
import pytest
import torch

from crossearth.models.adapters import GeospatialSemanticExtractor, Injector


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts():
    assert count(GeospatialSemanticExtractor(1024)) == 6_270_592
    assert count(GeospatialSemanticExtractor(1024, last_kernel=1)) == 2_076_288
    injector = Injector(1024, num_sites=24)
    norms, gammas = 4 * 1024, 24 * 1024
    assert count(injector) - norms - gammas == 1_050_368
    unshared = Injector(1024, num_sites=4, share=False)
    assert count(unshared) == 4 * (1_050_368 + norms) + 4 * 1024
    assert count(Injector(1024, num_sites=4, dim=0)) == norms + 4 * 1024


def test_gse_gives_one_token_per_patch_in_row_order():
    gse = GeospatialSemanticExtractor(24).eval()
    image = torch.zeros(1, 3, 64, 96)
    base = gse(image)
    assert base.shape == (1, 4 * 6, 24)
    image[..., 34, 50] = 50.0  # patch (row 2, column 3)
    change = (gse(image) - base).abs().sum(-1)[0].view(4, 6)
    assert change.argmax() == 2 * 6 + 3
    assert change[0, 0] == 0


def test_gse_is_convolutions_with_relu():
    gse = GeospatialSemanticExtractor(24)
    x = torch.randn(1, 3, 32, 32)
    convs = [m for m in gse.convs if isinstance(m, torch.nn.Conv2d)]
    assert [c.stride[0] for c in convs] == [2, 2, 2, 2, 1]
    expected = x
    for conv in convs:
        expected = conv(expected).clamp(min=0)
    torch.testing.assert_close(gse(x), expected.flatten(2).mT)


@pytest.mark.parametrize(('dim', 'heads'), [(8, 2), (0, 1)])
def test_injector_equals_the_formula(dim, heads):
    injector = Injector(16, num_sites=3, dim=dim, num_heads=heads, scale_init=0.5).double()
    f, g = torch.randn(2, 2, 5, 16, dtype=torch.float64)
    a = injector.attentions[0]
    norm = torch.nn.functional.layer_norm
    q, k = a.query(norm(g, (16,))), a.key(norm(f, (16,)))
    v = a.value(norm(f, (16,)))
    width = q.shape[-1] // heads
    outs = []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        scores = np.einsum('bnc,bmc->bnm', *(t[..., part].detach().numpy() for t in (q, k)))
        weights = np.exp(scores / np.sqrt(width))
        weights /= weights.sum(-1, keepdims=True)
        outs.append(np.einsum('bnm,bmc->bnc', weights, v[..., part].detach().numpy()))
    expected = f + 0.5 * a.out(torch.from_numpy(np.concatenate(outs, -1)))
    torch.testing.assert_close(injector(f, g, 1), expected)


@pytest.mark.parametrize('dim', [8, 0])
def test_weights_are_the_shares_that_the_injector_sums_with(dim):
    injector = Injector(16, num_sites=2, dim=dim, num_heads=2, share=False, scale_init=1.0)
    f, g = torch.randn(2, 2, 5, 16)
    for site, attention in enumerate(injector.attentions):
        weights = injector.weights(f, g, site)
        value = attention.value(attention.norm_feats(f)).unflatten(-1, (attention.num_heads, -1))
        summed = torch.einsum('bhnm,bmhc->bnhc', weights, value).flatten(2)
        torch.testing.assert_close(f + attention.out(summed), injector(f, g, site))


def test_each_site_has_its_own_gamma_and_unshared_its_own_weights():
    f, g = torch.randn(2, 1, 4, 16)
    shared = Injector(16, num_sites=2, dim=8, num_heads=2, scale_init=1.0)
    torch.testing.assert_close(shared(f, g, 0), shared(f, g, 1))
    with torch.no_grad():
        shared.gamma[1] = 0
    assert torch.equal(shared(f, g, 1), f)
    unshared = Injector(16, num_sites=2, dim=8, num_heads=2, share=False, scale_init=1.0)
    assert not torch.allclose(unshared(f, g, 0), unshared(f, g, 1))
