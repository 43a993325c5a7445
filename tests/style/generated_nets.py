# SPDX-License-Identifier: Apache-2.0
"""Weights and images in the form of the published ones, without their content."""

import numpy as np
import torch
import torch.nn.functional as F


def generated_state(net):
    """Every tensor of the network's state dict, the same on every machine, at a sane scale."""
    rng = np.random.default_rng(0)
    state = {}
    for name, tensor in sorted(net.state_dict().items()):
        values = rng.standard_normal(tuple(tensor.shape))
        if name.endswith('num_batches_tracked'):
            values = 1000 + np.zeros_like(values)
        elif name.endswith(('running_var', 'bn.weight')):
            values = 0.5 + rng.random(tuple(tensor.shape))
        elif tensor.ndim > 1:
            values *= (2 / np.prod(tensor.shape[1:])) ** 0.5
        state[name] = torch.from_numpy(np.asarray(values)).to(tensor.dtype)
    return state


def generated(net):
    net.load_state_dict(generated_state(net))
    return net


def images(number, height, width):
    """RGB images (number, 3, height, width) in [0, 1] with the spectrum of natural ones.

    Octaves of noise, each of half the amplitude of the next coarser one, mostly grey.
    """
    rng = np.random.default_rng(0)
    total = torch.zeros(number, 3, height, width)
    for octave in range(2, 8):
        grid = (2 ** octave, 2 ** octave)
        grey, colour = (
            rng.standard_normal((number, bands, *grid), dtype=np.float32) for bands in (1, 3))
        noise = torch.from_numpy(0.8 * grey + 0.2 * colour) * 0.5 ** (octave - 2)
        total += F.interpolate(noise, (height, width), mode='bicubic')
    return torch.sigmoid(1.5 * total)
