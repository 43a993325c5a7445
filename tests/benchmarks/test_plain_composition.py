# SPDX-License-Identifier: Apache-2.0
"""The plain composition of benchmarks/reference/ is the model: same names, same results."""

import pytest
import torch
from common import relative_difference
from reference import TWINS, twin
from workload import batch, build, doubled, infer, set_styled, train

from crossearth.models.segmentors.encoder_decoder import PEFTEncoderDecoder


@pytest.fixture(params=['whole', 'segmentation'])
def pair(request, settings):
    """The model in float64, and its plain composition."""
    model = build(settings, request.param)
    with doubled(model):
        yield model, twin(model)


def test_every_part_has_its_twin(pair):
    model, plain = pair
    kinds = {type(module) for module in plain.modules()}
    assert not kinds & TWINS.keys()
    expected = {kind for kind in TWINS if kind in {type(module) for module in model.modules()}}
    assert {TWINS[kind] for kind in expected} <= kinds
    assert len(expected) == (9 if hasattr(model, 'mim_head') else 7)


def test_same_names_and_parameters(pair):
    model, plain = pair
    assert plain.state_dict().keys() == model.state_dict().keys()
    shared = dict(model.named_parameters())
    assert all(shared[name] is parameter for name, parameter in plain.named_parameters())
    plain.load_state_dict(model.state_dict(), strict=True)


@pytest.mark.parametrize(('pair', 'styled'), [
    ('whole', False), ('whole', True), ('segmentation', False)], indirect=['pair'])
def test_losses_and_gradients(pair, settings, styled):
    model, _ = pair
    images, samples = batch(settings)
    results = []
    for one in pair:
        if hasattr(one, 'style'):
            set_styled(one, styled)
        results.append(train(settings, one, images.double(), samples))
    assert max(relative_difference(*results).values()) < 1e-7  # masked image modelling is float32
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(results[0]['gradients']) == len(names)


def test_scores(pair, settings):
    images, _ = batch(settings)
    ours, plain = (infer(settings, one, images.double()) for one in pair)
    assert relative_difference(ours, plain)['scores'] < 1e-12


def test_sliding_windows(pair):
    images = torch.randn(1, 3, 96, 128, dtype=torch.float64)
    with torch.no_grad():
        ours, plain = (one.eval().slide_inference(images) for one in pair)
    torch.testing.assert_close(ours, plain, atol=1e-12, rtol=1e-12)
    assert type(pair[1]).slide_inference is not PEFTEncoderDecoder.slide_inference


def test_the_same_numbers_are_drawn(pair, settings):
    images, samples = batch(settings)
    states = []
    for one in pair:
        train(settings, one, images.double(), samples)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
