#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Training samples per second of one process and of several with gloo or, on CUDA, NCCL.

On a CPU the processes share the threads that one has.

Run: python benchmarks/dist.py --model s --size 256 [--processes 1 2]
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import common
import torch
from common import Row, Settings, finish, measured, parse, prepare, timed
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel
from workload import FLOWS, batch, build


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    settings, args = parse(__doc__, argv, add_options)
    rows = (measure(settings, args.flow, count) for count in args.processes)
    return finish(settings, 'dist', rows, **vars(args))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this benchmark knows."""
    parser.add_argument('--processes', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--flow', choices=FLOWS, default='whole')


def measure(settings: Settings, flow: str, processes: int) -> Row:
    """Measure a number of processes, each with a batch of its own."""
    threads = max(1, torch.get_num_threads() // processes)
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.start_processes(
            run_rank, (settings, flow, processes, threads, folder), nprocs=processes,
            start_method=common.START)
        times = json.loads(Path(folder, 'times.json').read_text())
    found = measured(times)
    return {'name': f'{processes} processes', 'variants': {'ours': found}, 'figures': {
        'samples_per_s': processes * settings.batch / found['wall_s']['median'],
        'threads_each': threads}}


def run_rank(
    rank: int, settings: Settings, flow: str, processes: int, threads: int, folder: str
) -> None:
    """Time the steps of one process; the first one writes its times."""
    torch.set_num_threads(threads)
    if settings.device == 'cuda':
        torch.cuda.set_device(rank)
    prepare(settings)
    distributed.init_process_group(
        'nccl' if settings.device == 'cuda' else 'gloo', f'file://{folder}/rendezvous', rank=rank,
        world_size=processes)
    model = DistributedDataParallel(build(settings, flow), broadcast_buffers=False)
    images, samples = batch(settings)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with settings.autocast():
            losses = model(images, samples, mode='loss')
        sum(value for name, value in losses.items() if 'loss' in name).backward()

    step()
    times = [timed(settings, step) for _ in range(settings.repeats)]
    if rank == 0:
        Path(folder, 'times.json').write_text(json.dumps(times))
    distributed.destroy_process_group()


if __name__ == '__main__':
    sys.exit(main())
