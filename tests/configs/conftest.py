# SPDX-License-Identifier: Apache-2.0
"""Data that all tests of configs share, and the folder where configs look for it."""

from pathlib import Path

import pytest
from tiny_settings import write_benchmark


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
