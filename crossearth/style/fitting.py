# SPDX-License-Identifier: Apache-2.0
"""Fit style statistics to a set of images of any size: streamed, resumable, tolerant of damage."""

import datetime
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from logging import WARNING
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from crossearth.errors import ConfigError, DataError

from .field_images import evenly, image_files, read_small, survey
from .fit_state import FitState
from .nets import StyleNets
from .statistics import StyleStatistics

__all__ = ['FitResult', 'fit_statistics']

READERS = 4  # threads; decoding releases Python's lock


@dataclass(frozen=True)
class FitResult:
    """Statistics, and what was left out.

    Args:
        statistics: The statistics.
        skipped: Number of files that could not be read.
        log: File that lists them with the reasons.
    """

    statistics: StyleStatistics
    skipped: int
    log: Path


def fit_statistics(
    roots: Sequence[str | Path],
    output: str | Path,
    nets: StyleNets,
    *,
    dataset: str,
    limit: int | None = None,
    batch: int = 16,
    save_every: int = 2000,
    on_start: Callable[[int, int], None] = lambda total, done: None,
    on_batch: Callable[[int], None] = lambda done: None,
) -> FitResult:
    """Compute mean and covariance of the style embeddings of images, and save them.

    Memory does not grow with the number of images. The state is saved beside `output` every
    `save_every` images; the same call goes on from there, and gives bit for bit what an unbroken
    run gives.

    Args:
        roots: Folders and images.
        output: File to write, which must not exist.
        nets: Style nets, whose predictor makes the embeddings on the device where it is.
        dataset: Name of the image set, for the provenance.
        limit: Number of images at most, evenly spread over all; None for all.
        batch: Images that go through the predictor at once.
        save_every: Images between two saved states.
        on_start: Called with the number of images, and how many of them are done already.
        on_batch: Called with the number of images done.

    Raises:
        ConfigError: `output` exists, or a saved state belongs to another set of images.
        DataError: No two images could be read.
    """
    output = Path(output)
    if output.exists():
        raise ConfigError(f'{output} exists already. Delete it, or choose another --output.')
    found, paths_sha256 = survey(roots)
    total = found if limit is None else min(limit, found)
    job = {'predictor_sha256': nets.sha256, 'paths_sha256': paths_sha256, 'images': total}
    state = FitState.resume(output, job)
    on_start(total, state.done)
    paths = islice(evenly(image_files(roots), found, total), state.done, None)
    saved = state.done
    for names, images in _batches(paths, batch):
        readable = [image for image in images if isinstance(image, np.ndarray)]
        state.add(
            len(names),
            nets.predictor(_to_input(readable, nets)) if readable else None,
            [f'{name}\t{image}' for name, image in zip(names, images, strict=True)
             if isinstance(image, DataError)])
        on_batch(state.done)
        if state.done - saved >= save_every:
            state.save()
            saved = state.done
    state.flush_log()
    statistics = _statistics(state, nets, dataset, roots)
    statistics.save(output)
    state.path.unlink(missing_ok=True)
    return FitResult(statistics, state.skipped, state.log)


def _statistics(
    state: FitState, nets: StyleNets, dataset: str, roots: Sequence[str | Path]
) -> StyleStatistics:
    moments = state.moments
    if moments is None or moments.count < 2:
        raise DataError(f'{state.done - state.skipped} of {state.done} images could be read, and a '
                        f'covariance needs two or more. The reasons are in {state.log}.')
    if moments.count <= len(moments.mean):
        print_log(
            f'{moments.count} images give a covariance of rank {moments.count - 1} for embeddings '
            f'of {len(moments.mean)} entries: sampled styles vary in no other directions. Use '
            f'more than {len(moments.mean)} images, better thousands.', 'current', WARNING)
    return StyleStatistics(
        mean=moments.mean, covariance=moments.covariance(), count=moments.count, dataset=dataset,
        predictor_sha256=nets.sha256, created=_now(),
        sources=tuple(str(root) for root in roots))


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')


def _to_input(images: Sequence[np.ndarray], nets: StyleNets) -> Tensor:
    """(H, W, 3) uint8 RGB each -> (B, 3, H, W) in [0, 1] where the predictor is."""
    device = next((p.device for p in nets.predictor.parameters()), torch.device('cpu'))
    pixels = torch.from_numpy(np.stack(images)).to(device)
    return pixels.permute(0, 3, 1, 2).float() / 255


def _batches(
    paths: Iterator[Path], size: int
) -> Iterator[tuple[list[Path], list[np.ndarray | DataError]]]:
    """Read batch by batch, the next one while the current one is used."""
    with ThreadPoolExecutor(READERS) as pool:
        waiting: deque[tuple[list[Path], list[Future]]] = deque()
        while True:
            while len(waiting) < 2 and (names := list(islice(paths, size))):
                waiting.append((names, [pool.submit(_try_to_read, name) for name in names]))
            if not waiting:
                return
            names, futures = waiting.popleft()
            yield names, [future.result() for future in futures]


def _try_to_read(path: Path) -> np.ndarray | DataError:
    try:
        return read_small(path)
    except DataError as error:
        return error
