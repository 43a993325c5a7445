# SPDX-License-Identifier: Apache-2.0
"""Finding reports: which count, and why others do not."""

import json
import re

import pytest
from fake_runs import fake_report, write_run

from crossearth.errors import DataError
from crossearth.evaluation import write_json
from crossearth.evaluation.runs import find_runs


def test_a_run_with_its_facts_and_baselines(tmp_path):
    path = write_run(
        tmp_path / 'a', 'mine', fake_report('dry', {'wet': 40}, foreground=1), 'Rein', 3,
        {'all low': fake_report('dry', {'wet': 10}, foreground=1)})
    (run,), skipped = find_runs([tmp_path])
    assert skipped == {}
    facts = json.loads(path.read_text())['run']
    assert (run.path, run.config, run.method, run.seed) == (path, 'mine', 'Rein', 3)
    assert run.config_sha256 == facts['config_sha256']
    assert run.checkpoint_sha256 == facts['checkpoint_sha256']
    assert run.report.summary('wet')['IoU'] == 40
    assert run.baselines['all low'].summary('wet')['IoU'] == 10
    assert run.origin()['report'] == path.as_posix()


def test_a_folder_in_another_one_counts_once(tmp_path):
    path = write_run(tmp_path / 'a' / 'b', 'mine', fake_report('dry', {'wet': 40}))
    write_run(tmp_path / 'c', 'mine', fake_report('dry', {'wet': 40}), seed=0)
    runs, _ = find_runs([tmp_path, tmp_path / 'a', path])
    assert sorted(run.path.parent.name for run in runs) == ['b', 'c']


@pytest.mark.parametrize(('content', 'reason'), [
    ('{"methods": {}}', r"no report of a test \(KeyError: 'classes'\)"),
    ('[1]', 'no report of a test'), ('{', 'no report of a test'), ('', 'no report of a test')])
def test_other_files_are_left_out_with_the_reason(tmp_path, content, reason):
    (tmp_path / 'report.json').write_text(content)
    runs, skipped = find_runs([tmp_path])
    assert runs == []
    ((path, said),) = skipped.items()
    assert path == tmp_path / 'report.json'
    assert re.search(reason, said)


def test_a_number_without_hashes_is_left_out(tmp_path):
    write_json(fake_report('dry', {'wet': 40}), tmp_path / 'report.json')
    write_json(fake_report('dry', {'wet': 40}), tmp_path / 'b' / 'report.json', {
        'run': {'config_sha256': 'abc'}})
    runs, skipped = find_runs([tmp_path])
    assert runs == []
    assert skipped[tmp_path / 'report.json'].startswith(
        'it names no config_sha256 and no checkpoint_sha256; test the checkpoint again')
    assert skipped[tmp_path / 'b' / 'report.json'].startswith('it names no checkpoint_sha256;')


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r'nowhere does not exist\. Give work folders'):
        find_runs([tmp_path / 'nowhere'])
