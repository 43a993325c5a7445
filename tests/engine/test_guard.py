# SPDX-License-Identifier: Apache-2.0
"""Steps that a loss which is not finite must not take; whole runs are in tests/faults."""

import multiprocessing

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.model.base_model import BaseModel
from torch import distributed, nn

from crossearth.engine.guard import GuardedOptimWrapper
from crossearth.engine.optim import AutocastOptimWrapper

NAN = float('nan')


@pytest.mark.parametrize('kind', [GuardedOptimWrapper, AutocastOptimWrapper])
@pytest.mark.parametrize('bad', [NAN, float('inf'), -float('inf')])
def test_skipped_and_counted(kind, bad):
    parameter = nn.Parameter(torch.ones(()))
    wrapper = kind(torch.optim.SGD([parameter], lr=0.1))
    values = []
    for factor in (1.0, bad, bad, 1.0):
        wrapper.update_params(parameter * factor)
        values.append((round(parameter.item(), 6), wrapper.skipped, wrapper.skipped_in_a_row))
    assert values == [(0.9, False, 0), (0.9, True, 1), (0.9, True, 2), (0.8, False, 0)]
    assert wrapper.inner_count == 4


def test_a_group_of_accumulated_losses_is_skipped_as_a_whole():
    parameter = nn.Parameter(torch.ones(()))
    wrapper = GuardedOptimWrapper(
        torch.optim.SGD([parameter], lr=0.1), accumulative_counts=2)
    values = []
    for factor in (1.0, NAN, NAN, 1.0, 1.0, 3.0):
        wrapper.update_params(parameter * factor)
        values.append(round(parameter.item(), 6))
    assert values == [1.0, 1.0, 1.0, 1.0, 1.0, 0.8]  # mean of 1 and 3, of the last group alone


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, factor, mode='loss'):
        return {'loss': (self.weight * factor).sum()}


def train_rank(rank, folder, results):
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    model = MMDistributedDataParallel(Line(), broadcast_buffers=False)
    wrapper = GuardedOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    seen = []
    for iteration in range(4):
        bad = iteration == 1 and rank == 1
        wrapper.stop_signal = 15 if iteration == 2 and rank == 1 else 0
        model.train_step({'factor': torch.tensor(NAN if bad else 1.0 + rank)}, wrapper)
        seen.append((round(model.module.weight.item(), 5), wrapper.skipped, wrapper.stop_signal))
    results.put((rank, seen))
    distributed.destroy_process_group()


def test_two_ranks_agree_on_skipping_and_stopping(tmp_path):
    context = multiprocessing.get_context('fork')
    results = context.Queue()
    ranks = [context.Process(target=train_rank, args=(rank, tmp_path, results))
             for rank in range(2)]
    for process in ranks:
        process.start()
    seen = dict(results.get(timeout=60) for _ in ranks)
    for process in ranks:
        process.join(10)
        assert process.exitcode == 0
    assert seen[0] == seen[1] == [
        (0.85, False, 0), (0.85, True, 0), (0.7, False, 15), (0.55, False, 0)]
