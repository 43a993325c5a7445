# SPDX-License-Identifier: Apache-2.0
"""The notebooks: committed without outputs, and each runs in a folder as a user has it."""

import ast
import re
import shutil

import pytest
import rasterio
from docs.pages import ROOT

from crossearth.evaluation import read_report

nbformat = pytest.importorskip('nbformat', reason='nbformat is an extra (dev)')
nbclient = pytest.importorskip('nbclient', reason='nbclient is an extra (dev)')
pytest.importorskip('ipykernel', reason='ipykernel is an extra (dev)')

FOLDER = ROOT / 'docs' / 'notebooks'
NOTEBOOKS = sorted(FOLDER.glob('*.ipynb'))
OWN = ('IPYTHONDIR', 'JUPYTER_CONFIG_DIR', 'JUPYTER_DATA_DIR', 'JUPYTER_RUNTIME_DIR')

with_notebook = pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
with_data = pytest.mark.parametrize('data', ['given', 'painted'])


# ------------------------------------------------------------------------------------ as committed

def test_the_page_lists_all():
    page = (ROOT / 'docs' / 'notebooks.md').read_text(encoding='utf-8')
    assert len(NOTEBOOKS) == 3
    assert sorted(re.findall(r'\(notebooks/(\w+)\.ipynb\)', page)) == [
        path.stem for path in NOTEBOOKS]


@with_notebook
def test_committed_without_outputs(path):
    text = path.read_text(encoding='utf-8')
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == 'python3'
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert [cell.id for cell in code if cell.outputs or cell.execution_count is not None] == []
    assert text == nbformat.writes(notebook) + '\n'  # as Jupyter writes it: small diffs


@with_notebook
def test_links_resolve(path):
    notebook = nbformat.read(path, as_version=4)
    text = '\n'.join(cell.source for cell in notebook.cells if cell.cell_type == 'markdown')
    links = re.findall(r'\]\(([^)]+)\)', text)
    assert links
    assert [link for link in links if not (FOLDER / link).is_file()] == []


# ------------------------------------------------------------------------------------------- as run

@pytest.fixture
def run(workplace, monkeypatch):
    """Run a notebook in the work folder; give the outputs of its code cells."""
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.delenv('MPLBACKEND', raising=False)  # pictures go into the notebook
    monkeypatch.delenv('CROSSEARTH_DATA', raising=False)
    for name in OWN:  # no settings and kernels of the user
        monkeypatch.setenv(name, str(workplace / name))

    def execute(stem):
        notebook = nbformat.read(FOLDER / f'{stem}.ipynb', as_version=4)
        nbclient.NotebookClient(
            notebook, timeout=120, kernel_name='python3',
            resources={'metadata': {'path': str(workplace)}}).execute()
        return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == 'code'}

    return execute


def shown(outputs, kind):
    """What a cell shows of a kind, as one text."""
    return '\n'.join(output.data[kind] for output in outputs if kind in output.get('data', {}))


def value(outputs):
    """The value of a cell's last line."""
    result, = (output for output in outputs if output.output_type == 'execute_result')
    return ast.literal_eval(result.data['text/plain'])


def pictures(cells):
    return {name for name, outputs in cells.items() if shown(outputs, 'image/png')}


@with_data
def test_predict_your_geotiff(run, workplace, data):
    out = workplace / 'work_dirs' / 'notebooks' / 'map'
    scene = workplace / 'scene.tif'
    if data == 'painted':
        scene.unlink()
        scene = out / 'painted.tif'
    cells = run('predict_your_geotiff')
    assert pictures(cells) == {'picture', 'km2', 'outlines'}
    with rasterio.open(scene) as file:
        grid, area = (file.shape, file.crs, file.transform), file.width * file.height
        area *= file.res[0] * file.res[1] / 1e6
    for name in ('map.tif', 'confidence.tif'):
        with rasterio.open(out / name) as file:
            assert (file.shape, file.crs, file.transform) == grid
    areas = value(cells['km2'])
    assert sum(areas.values()) == pytest.approx(area)
    found = value(cells['vectors'])
    assert set(found) <= set(areas)
    assert found or data == 'given'  # its patches are smaller than the least area
    assert (out / 'map.gpkg').is_file()


@with_data
def test_domain_gap_of_your_own(run, workplace, data):
    if data == 'painted':
        shutil.rmtree(workplace / 'data')
    cells = run('domain_gap_of_your_own')
    assert "Did you mean 'mim_head'?" in value(cells['misspelt'])
    assert cells['run'] == []
    assert pictures(cells) == {'losses', 'bars', 'pictures'}
    report = read_report(workplace / 'work_dirs' / 'notebooks' / 'gap' / 'report.json')
    assert (report.seen, set(report.unseen)) == (('dry',), {'wet', 'high'})
    tiles = {'given': 1, 'painted': 8}[data]
    assert {result.num_samples for result in report.domains.values()} == {tiles}
    table = shown(cells['report'], 'text/html')
    for name in ('dry (source)', 'wet', 'high', 'mean over unseen'):
        assert name in table


def test_inside_the_method(run):
    cells = run('inside_the_method')
    assert pictures(cells) == {
        'tile', 'mask-generator', 'masked', 'styles', 'difference', 'chart'}
    assert value(cells['styles']) == {
        'changed where the mask keeps': False, 'changed elsewhere': True}
    assert value(cells['equal']) == {
        'off equals Rein': True, 'on equals Rein': False}
    assert value(cells['gradients']) == {
        'reached by the segmentation': ['Rein', 'GSE', 'Injector', 'Mask2Former head'],
        'reached by the restoration': ['Rein', 'MIM head', 'prompt v'],
        'reached by neither': ['frozen transformer']}
    assert 'frozen transformer' in shown(cells['parameters'], 'text/html')
