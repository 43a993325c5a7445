# SPDX-License-Identifier: Apache-2.0
"""The scripts of benchmarks/ on a tiny model: their files, their sums, and when they fail."""

import json
from pathlib import Path

import jsonschema
import pytest
import torch

from crossearth.models.adapters.rein import LoRARein

BENCHMARKS = Path(__file__).resolve().parents[2] / 'benchmarks'
SCHEMA = json.loads((BENCHMARKS / 'schema.json').read_text())


def rows_of(file):
    """Check a file of results, and give its rows by name."""
    result = json.loads(file.read_text())
    jsonschema.validate(result, SCHEMA)
    return {row['name']: row for row in result['rows']}


def test_schema_and_committed_results():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for file in (BENCHMARKS / 'results').glob('*.json'):
        rows_of(file)


def test_train_step(bench):
    status, file = bench('train_step')
    assert (status, file.name) == (0, 'train_step_tiny_64.json')
    rows = rows_of(file)
    assert rows.keys() == {'plain iteration', 'styled iteration', 'whole method'}
    plain, styled, mean = (
        rows[name]['variants']['ours']['gflop'] for name in rows)
    assert mean == pytest.approx(0.9 * plain + 0.1 * styled)
    assert styled > 1.2 * plain  # a third image version


def test_training_with_checkpointing_of_one_flow(bench):
    status, file = bench('train_step', '--flow', 'segmentation', '--checkpointing')
    assert (status, file.name) == (0, 'train_step_segmentation_tiny_64.json')
    [row] = rows_of(file).values()
    assert row['difference'].keys() == {'losses', 'gradients'}


def test_inference(bench):
    status, file = bench('inference', '--slide', '160')
    assert status == 0
    rows = rows_of(file)
    crop, whole = rows['one crop'], rows['160 x 160 px']
    added = rows['accumulation of 16 windows']  # 160 = 64 + 3 * 43 - 33
    for variant, found in whole['variants'].items():
        assert found['wall_s']['median'] == pytest.approx(
            16 * crop['variants'][variant]['wall_s']['median']
            + added['variants'][variant]['wall_s']['median'])


def test_modules(bench):
    status, file = bench('modules')
    assert status == 0
    rows = rows_of(file)
    assert len(rows) == 18
    for part in {name.split(',')[0] for name in rows} - {'loss'}:  # costs without a graph
        forward, both = (rows[f'{part}, {passes}']['variants']
                         for passes in ('forward', 'forward and backward'))
        assert all(both[variant]['gflop'] > found['gflop'] for variant, found in forward.items())


def test_memory(bench):
    status, file = bench('memory', '--flow', 'segmentation', '--variants', 'reference', 'ours')
    assert (status, file.name) == (0, 'memory_segmentation_tiny_64.json')
    [row] = rows_of(file).values()
    peaks = {name: found['peak_mb'] for name, found in row['variants'].items()}
    assert row['figures']['ours / reference'] == peaks['ours'] / peaks['reference']


def test_scaling(bench):
    status, file = bench('scaling', '--sizes', '32', '64', '--batches', '2', '--models', 'tiny')
    assert status == 0
    rows = rows_of(file)
    assert list(rows) == ['crop 32', 'crop 64', 'batch 2', 'ViT-tiny']
    flops = {name: row['variants']['ours']['gflop'] for name, row in rows.items()}
    assert flops['crop 64'] == flops['ViT-tiny'] > 3 * flops['crop 32']
    assert flops['batch 2'] == pytest.approx(2 * flops['crop 64'], rel=0.01)


def test_two_processes(bench):
    status, file = bench('dist', '--processes', '2', '--flow', 'segmentation')
    assert status == 0
    row = rows_of(file)['2 processes']
    assert row['figures']['samples_per_s'] == pytest.approx(
        2 / row['variants']['ours']['wall_s']['median'])


@pytest.mark.parametrize('options', [(), ('--uncompressed',)])
def test_data_loading(bench, options):
    status, file = bench(
        'data_loading', '--tile', '64', '--tiles', '3', '--samples', '4', '--workers', '0', '1',
        '--step', '2', *options, size=128)
    assert status == 0
    for row in rows_of(file).values():
        rate, share = row['figures']['samples_per_s'], row['figures']['share_of_step']
        assert rate * share == pytest.approx(1 / 2)
        plain = row['variants']['reference']['wall_s']['median']
        assert plain * row['figures']['reference_samples_per_s'] == pytest.approx(1)


@pytest.mark.parametrize(('script', 'options'), [
    ('train_step', ['--flow', 'segmentation']), ('inference', []), ('modules', ['--only', 'rein'])])
def test_other_outputs_are_an_error(bench, monkeypatch, capsys, script, options):
    forward = LoRARein.forward
    monkeypatch.setattr(
        LoRARein, 'forward', lambda self, *inputs: forward(self, *inputs) * 1.01)
    status, file = bench(script, *options)
    assert status == 1
    assert 'The outputs of ours and of the reference differ' in capsys.readouterr().out
    assert all(max(row['difference'].values()) > 1e-4 for row in rows_of(file).values())


@pytest.mark.parametrize('broken', [torch.nan, torch.inf])
def test_nan_is_a_difference(broken):
    from common import TOLERANCE, relative_difference

    good, bad = [torch.ones(3)], [torch.tensor([1, broken, 1])]
    assert relative_difference({'x': good}, {'x': good}) == {'x': 0}
    assert not relative_difference({'x': bad}, {'x': good})['x'] <= TOLERANCE
    assert not relative_difference({'x': good}, {'x': bad})['x'] <= TOLERANCE
    assert relative_difference({'x': good}, {'x': [torch.ones(2)]}) == {'x': torch.inf}
    assert relative_difference({'x': good}, {}) == {'x': torch.inf}
