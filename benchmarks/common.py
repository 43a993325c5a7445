# SPDX-License-Identifier: Apache-2.0
"""How it is measured: settings, clocks, comparison with the reference, and the file of results.

The method is in README.md, the form of the files in schema.json.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # idle threads that spin disturb the others

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from crossearth.engine.run_facts import machine_facts

__all__ = [
    'Job', 'Outputs', 'Row', 'Settings', 'apart', 'compare', 'finish', 'gemm_peak', 'interleaved',
    'measured', 'pair', 'parse', 'peak_mb', 'prepare', 'relative_difference', 'summary', 'timed']

RESULTS = Path(__file__).parent / 'results'
MODELS = ('s', 'b', 'l', 'g', 'tiny')
TOLERANCE = 1e-4  # of the relative difference between the outputs of a pair, in float32
GEMM_SIDE = {'cpu': 2048, 'cuda': 8192}
START = 'spawn'  # how processes begin whose memory is measured: with nothing of this one

Outputs = Mapping[str, Sequence[Tensor]]
Job = Callable[['Settings'], Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What all benchmarks can be told.

    Attributes:
        model: Size of the DINOv2 backbone, or `tiny`.
        size: Side of the crop in px.
        batch: Images.
        repeats: Timed runs of each variant.
        device: `cpu` or `cuda`.
        precision: `fp32`, `tf32` or `bf16`.
        seed: Of weights, images and all that is drawn.
        out: The file of results; None for its place in `results`.
    """

    model: str = 'l'
    size: int = 512
    batch: int = 1
    repeats: int = 3
    device: str = 'cpu'
    precision: str = 'fp32'
    seed: int = 0
    out: Path | None = None

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in the precision of these settings."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == 'bf16')


def parse(
    description: str | None, argv: Sequence[str] | None,
    options: Callable[[argparse.ArgumentParser], Any] = lambda parser: None,
) -> tuple[Settings, argparse.Namespace]:
    """Read the command line: the settings, and the options of one benchmark."""
    parser = argparse.ArgumentParser(description=(description or '').split('\n\n')[0])
    parser.add_argument('--model', choices=MODELS, default='l', help='size of the backbone')
    parser.add_argument('--size', type=int, default=512, help='px, side of the crop')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--repeats', type=int, default=3, help='timed runs of each variant')
    parser.add_argument('--device', choices=('cpu', 'cuda'),
                        default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--precision', choices=('fp32', 'tf32', 'bf16'), default='fp32')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, help='default: results/<name>_<model>_<size>.json')
    options(parser)
    args = parser.parse_args(argv)
    settings = Settings(**{name: vars(args).pop(name) for name in asdict(Settings())})
    prepare(settings)
    return settings, args


def prepare(settings: Settings) -> None:
    """Set what belongs to a process."""
    torch.backends.cuda.matmul.allow_tf32 = settings.precision == 'tf32'
    torch.backends.cudnn.allow_tf32 = settings.precision == 'tf32'


# ------------------------------------------------------------------------- clocks

def timed(settings: Settings, job: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of a job on the wall, and of all threads of this process."""
    _wait(settings)
    wall, processor = time.perf_counter(), time.process_time()
    job()
    _wait(settings)
    return time.perf_counter() - wall, time.process_time() - processor


def _wait(settings: Settings) -> None:
    if settings.device == 'cuda':
        torch.cuda.synchronize()


def interleaved(
    settings: Settings, jobs: Mapping[str, Callable[[], Any]],
    peaks: list[float] | None = None,
) -> dict[str, list[tuple[float, float]]]:
    """Time jobs that have run before: one of each, then the next of each.

    Args:
        settings: Of the run.
        jobs: By name.
        peaks: Gets the GEMM peak of each round, GFLOP/s: that of a shared machine moves.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(settings.repeats):
        if peaks is not None:
            peaks.append(gemm_peak(settings))
        for name, job in jobs.items():
            times[name].append(timed(settings, job))
    return times


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {'median': statistics.median(values), 'min': min(values), 'max': max(values)}


def measured(
    times: Sequence[tuple[float, float]], flop: int | None = None,
    bounds_s: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Describe the runs of one variant.

    Args:
        times: Of its runs.
        flop: Of one run.
        bounds_s: What the FLOPs take at the GEMM peak, round by round.
    """
    wall, processor = zip(*times, strict=True)
    found: dict[str, Any] = {'wall_s': summary(wall), 'cpu_s': summary(processor)}
    if flop is not None:
        found['gflop'] = flop / 1e9
    if bounds_s is not None:
        found['share_of_peak'] = statistics.median(
            bound / taken for bound, taken in zip(bounds_s, wall, strict=True))
    return found


def gemm_peak(settings: Settings, runs: int = 5) -> float:
    """Best speed of a square matrix product in this process, GFLOP/s."""
    side = GEMM_SIDE[settings.device]
    dtype = torch.bfloat16 if settings.precision == 'bf16' else torch.float32
    a, b = torch.randn(2, side, side, device=settings.device).to(dtype)
    best = min(timed(settings, lambda: a @ b)[0] for _ in range(runs))
    return 2 * side**3 / best / 1e9


# ------------------------------------------------------------------------- pairs

def compare(
    settings: Settings, name: str, jobs: Mapping[str, Job],
    exact: Mapping[str, Job] | None = None, view: Callable[[Any], Outputs] = lambda found: found,
) -> Row:
    """Measure `reference` and `ours` side by side.

    Args:
        settings: Of the run.
        name: What they compute.
        jobs: By the names of the variants. What they give in a first run is compared, in float32
            whatever the settings say; its FLOPs are counted.
        exact: The same in float64. If there are any, they have to agree, and what float32 makes of
            the pair's ties is a figure beside.
        view: Makes of what a job gives what is compared.
    """
    flops, outputs = {}, {}
    plain = replace(settings, precision='fp32')
    prepare(plain)
    for variant, job in jobs.items():  # also the warm-up
        with FlopCounterMode(display=False) as counter:
            found = job(plain)
        outputs[variant] = _kept(view(found))
        flops[variant] = counter.get_total_flops()
    difference, figures = relative_difference(outputs['ours'], outputs['reference']), {}
    if exact:
        figures = {f'float32_{key}': value for key, value in difference.items()}
        difference = relative_difference(
            *(_kept(view(exact[variant](plain))) for variant in ('ours', 'reference')))
    prepare(settings)
    if settings != plain:
        for job in jobs.values():
            job(settings)
    peaks: list[float] = []
    times = interleaved(
        settings, {variant: partial(job, settings) for variant, job in jobs.items()}, peaks)
    return {**pair(name, times, flops, peaks), 'difference': difference,
            'gemm_peak_gflops': summary(peaks), 'figures': figures}


def _kept(outputs: Outputs) -> dict[str, list[Tensor]]:
    """Outputs outside of the graph and of the device."""
    return {key: [x.detach().cpu() for x in values] for key, values in outputs.items()}


def pair(
    name: str, times: Mapping[str, Sequence[tuple[float, float]]],
    flops: Mapping[str, int] | None = None, peaks: Sequence[float] = (),
) -> Row:
    """Describe the runs of a pair; both are held against the FLOPs of the one that needs fewer."""
    counts = flops or {}
    bounds = [min(counts.values()) / peak / 1e9 for peak in peaks] if counts else None
    rounds = zip(times['reference'], times['ours'], strict=True)
    return {
        'name': name,
        'variants': {variant: measured(runs, counts.get(variant), bounds)
                     for variant, runs in times.items()},
        'ratio': summary([theirs[0] / ours[0] for theirs, ours in rounds])}


def relative_difference(ours: Outputs, reference: Outputs) -> dict[str, float]:
    """For each output the largest difference, relative to the largest value.

    NaN if there is one in either, infinity if they have not the same shapes.
    """
    if ours.keys() != reference.keys():
        return dict.fromkeys(ours.keys() | reference.keys(), float('inf'))
    return {name: _difference(ours[name], reference[name]) for name in ours}


def _difference(ours: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    if [x.shape for x in ours] != [x.shape for x in reference]:
        return float('inf')
    gaps = torch.stack([(x - y).abs().max() for x, y in zip(ours, reference, strict=True)])
    largest = torch.stack([y.abs().max() for y in reference]).max()
    return float(gaps.max() / largest.clamp(min=torch.finfo(torch.float32).tiny))


# ------------------------------------------------------------------------- processes

def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a process of its own."""
    with multiprocessing.get_context(START).Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_mb(settings: Settings) -> float:
    """Most memory so far: what this process held, or, on CUDA, its tensors.

    `getrusage` would give the peak of the process that started this one, if that was higher.
    """
    if settings.device == 'cuda':
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path('/proc/self/status').read_text()
    return int(status.partition('VmHWM:')[2].split()[0]) / 1024


# ------------------------------------------------------------------------- results

def finish(
    settings: Settings, benchmark: str, rows: Iterable[Row], **options: Any,
) -> int:
    """Print rows as they come, and write them.

    Args:
        settings: Of the run.
        benchmark: Name of the script.
        rows: What was measured, in the form of schema.json.
        **options: Of this benchmark.

    Returns:
        The exit status: 1 if the outputs of a pair differ.
    """
    found = []
    for row in rows:
        print(_line(row), flush=True)
        found.append(row)
    result = {
        'benchmark': benchmark,
        'settings': {key: value for key, value in asdict(settings).items() if key != 'out'},
        'options': options,
        'machine': {**machine_facts(), 'threads': torch.get_num_threads()},
        'rows': found}
    out = settings.out or RESULTS / f'{benchmark}_{settings.model}_{settings.size}.json'
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    print(f'-> {out}')
    bad = [row['name'] for row in found
           if any(not value <= TOLERANCE for value in row.get('difference', {}).values())]
    if bad:
        print(f'The outputs of ours and of the reference differ: {", ".join(bad)}.')
    return int(bool(bad))


def _line(row: Row) -> str:
    """One row as text."""
    parts = [f'{row["name"]:40}']
    for variant, found in row['variants'].items():
        text = f'{variant}'
        if 'wall_s' in found:
            text += ' {median:.3g} s ({min:.3g} to {max:.3g})'.format(**found['wall_s'])
        if 'share_of_peak' in found:
            text += f' {found["share_of_peak"]:.0%} of peak'
        if 'peak_mb' in found:
            text += f' {found["peak_mb"]:.0f} MB'
        parts.append(text)
    if 'ratio' in row:
        parts.append('ratio {median:.2f} ({min:.2f} to {max:.2f})'.format(**row['ratio']))
    parts += [f'{key} {value:.3g}' for key, value in row.get('figures', {}).items()]
    parts += [f'{key} differ by {value:.1e}' for key, value in row.get('difference', {}).items()]
    return ' | '.join(parts)


