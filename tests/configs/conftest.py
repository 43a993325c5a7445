# SPDX-License-Identifier: Apache-2.0
"""Data that all tests of configs share, and the folder where configs look for it."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmengine.config import Config
from tiny_settings import write_benchmark


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave out what costs a second for each run and tests nothing here."""
    monkeypatch.setattr(Config, 'pretty_text', property(lambda _: ''))  # formatted by yapf
    gc.collect()
    gc.freeze()  # mmengine collects garbage whenever a data set is built
    yield
    gc.unfreeze()


@pytest.fixture(scope='session')
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every data set of the benchmark, generated, in the prepared layout."""
    root = tmp_path_factory.mktemp('benchmark')
    write_benchmark(root)
    return root


@pytest.fixture
def benchmark_data(generated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let configs find the generated data, as a user would: by the environment."""
    monkeypatch.setenv('CROSSEARTH_DATA', str(generated))
    return generated
