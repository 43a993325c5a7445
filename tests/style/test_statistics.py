# SPDX-License-Identifier: Apache-2.0
"""Style statistics: file, validation, provenance; running moments against NumPy."""

import json
import logging

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from safetensors.torch import save_file

from crossearth.datasets.bluemarble import CLIMATE_ZONES, BlueMarbleClimate
from crossearth.errors import ConfigError, DataError
from crossearth.style import magenta_onnx
from crossearth.style.kinds import SHIPPED, build_kind, load_statistics, shipped_statistics
from crossearth.style.moments import RunningMoments
from crossearth.style.statistics import StyleStatistics, warn_if_target

SHA = 'a' * 64


def statistics(mean=None, covariance=None, **changes):
    facts = {'count': 500, 'dataset': 'Field', 'predictor_sha256': SHA,
             'created': '2026-01-01T00:00:00+00:00', 'sources': ('field/a', 'field/b')}
    return StyleStatistics(torch.zeros(3, dtype=torch.float64) if mean is None else mean,
                           torch.eye(3, dtype=torch.float64) if covariance is None else covariance,
                           **facts | changes)


def test_file_gives_back_everything(tmp_path):
    covariance = torch.tensor([[2, 1, 0], [1, 2, 0], [0, 0, 1e-9]], dtype=torch.float64)
    saved = statistics(torch.arange(3.0).double() / 7, covariance)
    saved.save(tmp_path / 'new' / 's.safetensors')
    loaded = StyleStatistics.load(tmp_path / 'new' / 's.safetensors')
    for name in ('mean', 'covariance'):
        assert torch.equal(getattr(loaded, name), getattr(saved, name))
    for name in ('count', 'dataset', 'predictor_sha256', 'created', 'sources'):
        assert getattr(loaded, name) == getattr(saved, name)


def test_diag_svd_takes_singular_values_as_variances():
    covariance = torch.tensor([[1, 0, 0], [0, 5, 3], [0, 3, 5]], dtype=torch.float64)  # 8, 2, 1
    samples = statistics(covariance=covariance).sample(
        20_000, torch.Generator().manual_seed(0), 'diag_svd')
    np.testing.assert_allclose(
        np.cov(samples.numpy().T), np.diag(np.linalg.svd(covariance)[1]), atol=0.25)


# -------------------------------------------------------------------------------------- refused

BAD = {
    'NaN': (torch.full((3,), float('nan')), None, {}, 'NaN or infinite'),
    'infinite': (None, torch.diag(torch.tensor([1, 1, float('inf')])), {}, 'NaN or infinite'),
    'not PSD': (None, torch.diag(torch.tensor([1, 1, -0.01])), {}, 'not positive semi-definite'),
    'lopsided': (None, torch.eye(3) + torch.triu(torch.ones(3, 3), 1), {}, 'not symmetric'),
    'shapes': (torch.zeros(4), None, {}, r'\(4,\) and a covariance of shape \(3, 3\)'),
    'matrix': (torch.zeros(3, 3), None, {}, r'a mean of shape \(3, 3\)'),
    'nothing': (torch.zeros(0), torch.zeros(0, 0), {}, r'a mean of shape \(0,\)'),
    'one image': (None, None, {'count': 1}, 'needs two images or more, this one has 1'),
}


@pytest.mark.parametrize('case', BAD)
def test_impossible_numbers_are_refused_when_made_and_when_loaded(case, tmp_path):
    mean, covariance, changes, message = BAD[case]
    with pytest.raises(DataError, match=rf"'Field' cannot be used: .*{message}.*fit_style_stat"):
        statistics(mean, covariance, **changes)
    good = statistics()
    path = tmp_path / 's.safetensors'
    facts = {'count': 5, 'dataset': 'Field', 'predictor_sha256': SHA, 'created': '', 'sources': []}
    save_file({'mean': good.mean if mean is None else mean,
               'covariance': good.covariance if covariance is None else covariance.contiguous()},
              path, metadata={'provenance': json.dumps(facts | changes)})
    with pytest.raises(DataError, match=message):
        StyleStatistics.load(path)


def test_rounding_is_not_refused():
    # rank 1, once stored in half the precision: eigenvalues of about -1e-8
    column = torch.linspace(0.1, 1, 40)
    covariance = torch.outer(column, column).double()
    assert torch.linalg.eigvalsh(covariance)[0] < 0
    assert statistics(torch.zeros(40), covariance).sample(5).isfinite().all()


def test_missing_file_names_the_command_and_the_way_out(tmp_path):
    with pytest.raises(DataError, match=r'no file of style statistics at .*fit_style_statistics'
                                        r'.*style=none'):
        StyleStatistics.load(tmp_path / 'absent.safetensors')


@pytest.mark.parametrize('content', ['text', 'truncated', 'other tensors', 'no provenance'])
def test_damaged_file(content, tmp_path):
    path = tmp_path / 's.safetensors'
    statistics().save(path)
    match content:
        case 'text':
            path.write_text('mean,covariance')
        case 'truncated':
            path.write_bytes(path.read_bytes()[:-20])
        case 'other tensors':
            save_file({'weight': torch.zeros(3)}, path, metadata={'provenance': '{"sources": []}'})
        case 'no provenance':
            save_file({'mean': torch.zeros(3), 'covariance': torch.eye(3)}, path)
    with pytest.raises(DataError, match='cannot be read as style statistics'):
        StyleStatistics.load(path)


def test_statistics_of_another_predictor():
    statistics().require_predictor(SHA)
    with pytest.raises(ConfigError, match=r'fitted with the style predictor aaaaaaaaaaaa\.\.\., '
                                          r'but this run has bbbbbbbbbbbb'):
        statistics().require_predictor('b' * 64)


# ----------------------------------------------------------------------------------- provenance

@pytest.fixture
def warnings():
    """Records of the logger that mmengine calls current."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@pytest.mark.parametrize(('targets', 'found'), [
    (['arid'], ['arid']),  # a folder of the sources
    (['Temperate-Monsoon'], ['Temperate-Monsoon']),  # a word of the name, written differently
    (['climate_tiles, train'], ['climate_tiles, train']),  # the whole name
    (['rid', 'til', 'boreal', ''], []),  # a part of a word is no name
    ([], [])])
def test_a_named_target_is_warned_about(targets, found, warnings):
    made = statistics(dataset='Climate tiles: train', sources=(
        'data/train/arid/images', 'C:\\tiles\\temperate_monsoon'))
    assert warn_if_target(made, targets) == found
    assert [record.levelname for record in warnings] == ['WARNING'] * bool(found)
    assert all(f'come from {found[0]}' in record.getMessage() for record in warnings)


# -------------------------------------------------------------------------------------- shipped

@pytest.mark.parametrize('kind', SHIPPED)
def test_shipped_statistics_name_no_climate_of_the_default_and_no_test_tile(kind):
    shipped = StyleStatistics.load(shipped_statistics(kind))
    default = BlueMarbleClimate.DEFAULT_DOMAINS
    assert warn_if_target(shipped, default) == []
    others = sorted(set(CLIMATE_ZONES) - set(default))
    assert warn_if_target(shipped, others) == others
    assert all('/train/' in source for source in shipped.sources)
    assert shipped.count == 1121


@pytest.mark.parametrize('kind', SHIPPED)
def test_shipped_statistics_belong_to_the_nets(kind):
    if kind == 'magenta':  # its weights are not everywhere, but their hash is known
        StyleStatistics.load(shipped_statistics(kind)).require_predictor(magenta_onnx.SHA256)
    else:
        assert load_statistics(kind, build_kind(kind)).count == 1121


def test_nothing_shipped_for_jackson():
    with pytest.raises(ConfigError, match=r"kind='jackson', and none are given.*--kind jackson"):
        shipped_statistics('jackson')


# ------------------------------------------------------------------------------- running moments

def test_moments_equal_numpy_in_any_batches():
    vectors = np.random.default_rng(0).normal(1e4, [1e-3, 1, 1e3], (257, 3))  # far from zero
    moments = RunningMoments(3)
    for part in np.split(vectors, [0, 1, 3, 100]):
        moments.update(torch.from_numpy(part))
    assert moments.count == 257
    np.testing.assert_allclose(moments.mean, vectors.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance(), np.cov(vectors.T), rtol=1e-6, atol=1e-9)


def test_moments_take_float32_and_refuse_to_guess():
    moments = RunningMoments(2)
    moments.update(torch.tensor([[1.0, 2.0]]))
    assert moments.mean.dtype == torch.float64
    assert moments.covariance().isnan().all()
