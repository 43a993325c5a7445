# SPDX-License-Identifier: Apache-2.0
"""Reports of tests that never ran, with chosen numbers."""

import hashlib
from pathlib import Path

import numpy as np

from crossearth.benchmark import DATA_SETS, setting
from crossearth.evaluation import DomainReport, DomainResult, write_json

__all__ = ['fake_report', 'write_run', 'write_setting']


def _matrix(count: int, iou: int) -> np.ndarray:
    """Counts of `count` classes, each with an IoU of exactly `iou` percent."""
    matrix = np.full((count, count), 100 - iou)
    np.fill_diagonal(matrix, 2 * (count - 1) * iou)
    return matrix


def fake_report(source, numbers, classes=('low', 'high'), images=None, foreground=None):
    """A report whose domains have the given IoU, percent."""
    return DomainReport(tuple(classes), (source,), {
        domain: DomainResult(_matrix(len(classes), iou), (images or {}).get(domain, 7))
        for domain, iou in numbers.items()}, foreground)


def write_run(folder: Path, config, report, method='CrossEarth', seed=42, baselines=None):
    """Write what a test of a checkpoint leaves in its folder; give the file."""
    name = f'{config}{method}{seed}{folder}'.encode()
    run = {
        'config': config, 'method': method, 'seed': seed, 'checkpoint': 'iter_9.pth',
        'config_sha256': hashlib.sha256(f'{config}{method}'.encode()).hexdigest(),
        'checkpoint_sha256': hashlib.sha256(name).hexdigest()}
    extra = {'run': run}
    if baselines:
        extra['baselines'] = {
            key: {'rule': key, **other.to_dict()} for key, other in baselines.items()}
    write_json(report, folder / 'report.json', extra)
    return folder / 'report.json'


def write_setting(folder: Path, name, iou, **kwargs):
    """Write a run of a setting of the benchmark, on as many images as it has."""
    found = setting(name)
    target = found.target.domain
    report = fake_report(
        found.source.domain, {target: iou}, DATA_SETS[found.target.data_set].classes,
        {target: kwargs.pop('images', found.n_test)}, 1 if found.num_classes == 2 else None)
    return write_run(folder, found.config, report, **kwargs)
