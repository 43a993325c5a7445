# SPDX-License-Identifier: Apache-2.0
"""`crossearth predict --engine ray` on a real cluster of two workers, of which one is killed."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from inference.bundles import tiny_bundle
from inference.rasters import rgb, write_raster

from crossearth.cli.main import main
from crossearth.inference import scene as scene_module
from crossearth.inference.scene import load_model, predict
from crossearth.weight_files import file_sha256

ENGINE = ('--engine', 'ray', '--ray-workers', 2, '--device', 'cpu')


@pytest.fixture(scope='module')
def cluster():
    """Ray on this machine, with two CPUs."""
    ray = pytest.importorskip('ray', reason="needs ray: pip install 'crossearth[scale]'")
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 << 20,
             log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp('bundle'))


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    """The first worker that comes to its third batch is killed."""
    flag = tmp_path / 'killed'

    def load_deadly(*arguments, **options):
        predictor = load_model(*arguments, **options)
        score, batches = predictor.scorer, []

        def scorer(images):
            batches.append(len(images))
            if len(batches) == 3 and not flag.exists():
                flag.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            return score(images)

        predictor.scorer = scorer
        return predictor

    monkeypatch.setattr(scene_module, 'load_model', load_deadly)
    return flag


def run(*arguments: object) -> int:
    return main(['predict', *map(str, arguments)])


def lines(manifest: Path) -> dict[str, dict]:
    found = [json.loads(line) for line in manifest.read_text().splitlines()]
    return {Path(entry['scene']).name: entry for entry in found}


def test_scenes_survive_a_killed_worker_with_the_bytes_of_the_local_engine(
    cluster, bundle, tmp_path, monkeypatch, capsys, deadly
):
    monkeypatch.chdir(tmp_path)
    scenes, maps, local = (tmp_path / name for name in ('scenes', 'maps', 'local'))
    scenes.mkdir()
    for number, name in enumerate('abcd'):
        write_raster(scenes / f'{name}.tif', rgb(200, 150, seed=number))
    with monkeypatch.context() as context:
        context.setattr(scene_module, 'load_model', load_model)
        assert run(scenes, '-m', bundle, '-o', local, '--confidence', local) == 0
    maps.mkdir()
    for name in ('c.tif', 'c.confidence.tif'):  # an earlier run's
        shutil.copy(local / name, maps)
    (scenes / 'bad.tif').write_text('no raster')
    capsys.readouterr()
    # paths that are relative to this process's folder
    assert run('scenes', '-m', os.path.relpath(bundle), '-o', 'maps', '--confidence', 'maps',
               '--resume', '--gap', '--json', *ENGINE) == 1
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert said.err.rstrip().endswith(f'1 of 5 scenes failed:\n  {scenes / "bad.tif"}')
    for path in local.glob('*.tif'):
        assert (maps / path.name).read_bytes() == path.read_bytes()
    manifest = lines(maps / 'manifest.jsonl')
    assert {name: entry['status'] for name, entry in manifest.items()} == {
        'a.tif': 'done', 'b.tif': 'done', 'c.tif': 'skipped', 'd.tif': 'done', 'bad.tif': 'failed'}
    assert sorted(entry['attempts'] for entry in manifest.values()) == [1, 1, 1, 1, 2]
    assert {name: entry['sha256'] for name, entry in manifest.items()} == {'bad.tif': '', **{
        f'{name}.tif': file_sha256(local / f'{name}.tif') for name in 'abcd'}}
    assert deadly.read_text() not in {
        entry['worker'].rpartition(':')[2] for entry in manifest.values()}
    assert 'no statistics' in manifest['a.tif']['gap']['error']
    assert {entry['source']: entry['attempts'] for entry in report['scenes']} == {
        entry['scene']: entry['attempts'] for entry in manifest.values() if entry['sha256']}
    assert [entry['source'] for entry in report['failed']] == [str(scenes / 'bad.tif')]


@pytest.mark.slow
def test_a_lone_scene_is_cut_into_bands_and_survives_too(cluster, bundle, tmp_path, deadly):
    scene = write_raster(tmp_path / 'scene.tif', rgb(600, 150))
    out = tmp_path / 'map.tif'
    assert run(scene, '-m', bundle, '-o', out, *ENGINE) == 0
    assert deadly.is_file()
    (entry,) = lines(tmp_path / 'map.manifest.jsonl').values()
    assert (entry['status'], entry['attempts']) == ('done', 2)
    assert not (tmp_path / 'map.tif.resume').exists()
    predict(scene, bundle, tmp_path / 'local.tif')
    assert out.read_bytes() == (tmp_path / 'local.tif').read_bytes()


def test_a_model_that_is_not_there_is_missed_before_a_cluster_starts(tmp_path, capsys):
    scene = write_raster(tmp_path / 'scene.tif', rgb(70, 70))
    assert run(scene, '-m', tmp_path / 'nowhere', '-o', tmp_path / 'map.tif', *ENGINE) == 2
    assert 'nowhere' in capsys.readouterr().err
    assert not (tmp_path / 'map.manifest.jsonl').exists()


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--split-rows', '0'], 'need --engine ray'),
    (['--split-rows', '-1', '--engine', 'ray'], '-1 is below 0'),
    (['--ray-workers', '2'], 'need --engine ray'),
])
def test_options_of_a_cluster_need_the_engine(bundle, tmp_path, capsys, arguments, message):
    scene = write_raster(tmp_path / 'scene.tif', rgb(70, 70))
    assert run(scene, '-m', bundle, '-o', tmp_path / 'map.tif', *arguments) == 2
    assert message in capsys.readouterr().err
