# SPDX-License-Identifier: Apache-2.0
"""Official downloads -> prepared copies, whole, in parts and interrupted."""

import io
import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from official_copies import (
    FORMS,
    NAMES,
    WINDOWS,
    OfficialCopy,
    encode,
    official_copy,
    zipped,
)
from official_copies import prepare_tiny as do
from PIL import Image

from crossearth import datasets
from crossearth.benchmark import DATA_SETS
from crossearth.datasets.prepare import check, prepare, run
from crossearth.datasets.prepare.windows import windows
from crossearth.errors import DataError

COPIED = {'loveda': '.png', 'whu': '.tif', 'deepglobe': '.jpg', 'massachusetts': '.tiff',
          'rescuenet': '.jpg'}


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob('*')
            if path.is_file() and not path.name.startswith('.')}


def expected_tiles(name, copy: OfficialCopy):
    """Every tile by its path: image (None where it was JPEG) and train ids."""
    tiles = {}
    for (split, domain, stem), (image, ids) in copy.truth.items():
        height, width = ids.shape
        corners = windows(width, height, *WINDOWS[name]) if name in WINDOWS else [None]
        for box in corners:
            x0, y0, x1, y1 = box or (0, 0, width, height)
            tile = f'{stem}_{x0}_{y0}_{x1}_{y1}' if box else stem
            tiles[f'{split}/{domain}', tile] = image[y0:y1, x0:x1], ids[y0:y1, x0:x1]
    return tiles


CASES = [(name, 'zips') for name in NAMES] + [('potsdam', form) for form in FORMS[1:]] + [
    ('whu', 'nested'), ('casid', 'folder')]


@pytest.mark.parametrize(('name', 'form'), CASES)
def test_prepared_copy_holds_the_truth_and_passes_its_check(tmp_path, name, form):
    copy = official_copy(name)
    index = do(name, copy.write(tmp_path / 'src', form), tmp_path / 'dst')
    tiles, suffix = expected_tiles(name, copy), COPIED.get(name, '.png')
    assert set(tree(tmp_path / 'dst')) == {'index.json'} | {
        f'{part}/{kind}' for part, tile in tiles
        for kind in (f'images/{tile}{suffix}', f'labels/{tile}.png')}
    for (part, tile), (image, ids) in tiles.items():
        with Image.open(tmp_path / 'dst' / part / 'labels' / f'{tile}.png') as file:
            assert file.mode == 'L'
            np.testing.assert_array_equal(np.asarray(file), ids)
        written = tmp_path / 'dst' / part / 'images' / f'{tile}{suffix}'
        if name in COPIED:
            assert any(written.read_bytes() in files.values() for files in copy.archives.values())
        else:
            np.testing.assert_array_equal(np.asarray(Image.open(written)), image)
    assert index == json.loads((tmp_path / 'dst' / 'index.json').read_text())
    for part, entry in parts(index).items():
        of_part = np.concatenate([ids.ravel() for (p, _), (_, ids) in tiles.items() if p == part])
        counts = np.bincount(of_part, minlength=256)
        assert entry['class_counts'] == [*counts[:len(index['classes'])], counts[255]]
        assert (entry['tiles'], entry['off_palette']) == (
            sum(p == part for p, _ in tiles), 0)
    report = check(name, tmp_path / 'dst')
    assert report.troubles == []
    assert {f'{part.split}/{part.domain}': list(part.class_counts) for part in report.parts} == {
        part: entry['class_counts'] for part, entry in parts(index).items()}


def parts(index):
    return {f'{split}/{domain}': entry for split, domains in index['summary'].items()
            for domain, entry in domains.items()}


@pytest.mark.parametrize(('name', 'size', 'count'), [
    ('potsdam', 530, 4), ('vaihingen', 520, 4)])
def test_windows_of_the_benchmark(tmp_path, name, size, count):
    source = official_copy(name, size).write(tmp_path / 'src')
    domain = DATA_SETS[name].domains[0]
    index = do(name, source, tmp_path / 'dst', window=None, domains=[domain])
    assert index['summary']['test'][domain]['tiles'] == count
    names = sorted(path.name for path in (tmp_path / 'dst/test' / domain / 'images').iterdir())
    if name == 'potsdam':
        assert names == ['2_13_0_0_512_512.png', '2_13_0_18_512_530.png',
                         '2_13_18_0_530_512.png', '2_13_18_18_530_530.png']


@pytest.mark.parametrize('name', ['potsdam', 'casid', 'loveda', 'deepglobe'])
def test_uncompressed_files_hold_the_same_pixels(tmp_path, name):
    source = official_copy(name, 64).write(tmp_path / 'src')
    index = do(name, source, tmp_path / 'packed')
    assert do(name, source, tmp_path / 'stored', uncompressed=True) == index
    packed, stored = tree(tmp_path / 'packed'), tree(tmp_path / 'stored')
    assert set(stored) == set(packed)
    for file, content in stored.items():
        if file.endswith('.png'):
            pixels, expected = (np.asarray(Image.open(io.BytesIO(one)))
                                for one in (content, packed[file]))
            np.testing.assert_array_equal(pixels, expected)
            assert len(content) > pixels.nbytes
        else:
            assert content == packed[file]
    assert check(name, tmp_path / 'stored').troubles == []


def test_a_folder_is_uncompressed_as_a_whole(tmp_path):
    source = official_copy('potsdam').write(tmp_path / 'src')
    do('potsdam', source, tmp_path / 'dst', domains=['potsdam_rgb'])
    with pytest.raises(DataError, match='Give the same options again'):
        do('potsdam', source, tmp_path / 'dst', uncompressed=True)


def test_potsdam5_reads_the_prepared_potsdam(tmp_path):
    copy = official_copy('potsdam')
    do('potsdam5', copy.write(tmp_path / 'src'), tmp_path / 'dst')
    report = check('potsdam5', tmp_path / 'dst')
    assert report.troubles == []
    assert report.classes == ('impervious_surface', 'building', 'tree', 'car', 'clutter')


# ---------------------------------------------------------------- again, in parts, interrupted

def count_cuts(monkeypatch):
    done = []
    original = run.cut
    monkeypatch.setattr(run, 'cut', lambda job, root: done.append(job.unit) or original(job, root))
    return done


def test_what_is_complete_is_not_done_again(tmp_path, monkeypatch):
    source = official_copy('potsdam').write(tmp_path / 'src')
    first = do('potsdam', source, tmp_path / 'dst')
    before = tree(tmp_path / 'dst')
    done = count_cuts(monkeypatch)
    assert do('potsdam', source, tmp_path / 'dst') == first
    assert (done, tree(tmp_path / 'dst')) == ([], before)


def test_lost_and_changed_files_are_done_again(tmp_path, monkeypatch):
    copy = official_copy('loveda')
    do('loveda', copy.write(tmp_path / 'src'), tmp_path / 'dst')
    (tmp_path / 'dst/train/urban/labels/0.png').unlink()
    copy.archives['Val']['Val/Rural/masks_png/6.png'] = encode(np.zeros((40, 40), np.uint8), '.png')
    done = count_cuts(monkeypatch)
    index = do('loveda', copy.write(tmp_path / 'src'), tmp_path / 'dst')
    assert sorted(done) == ['train/urban/0', 'val/rural/6']
    assert index['summary']['val']['rural']['class_counts'][-1] >= 1600


def test_domains_one_after_the_other_are_as_both_at_once(tmp_path, monkeypatch):
    source = official_copy('potsdam').write(tmp_path / 'src')
    both = do('potsdam', source, tmp_path / 'both')
    part = do('potsdam', source, tmp_path / 'dst', domains=['potsdam_irrg'])
    assert set(part['summary']['train']) == {'potsdam_irrg'}
    assert check('potsdam', tmp_path / 'dst').notes[0].startswith('train of potsdam_rgb is missing')
    done = count_cuts(monkeypatch)
    index = do('potsdam', source, tmp_path / 'dst', domains=['potsdam_rgb'])
    assert len(done) == 3
    assert index['summary'] == both['summary']
    assert sorted(map(str, index['sources'])) == sorted(map(str, both['sources']))


def test_an_error_in_the_middle_keeps_what_is_complete(tmp_path, monkeypatch):
    source = official_copy('potsdam').write(tmp_path / 'src')
    whole = do('potsdam', source, tmp_path / 'whole')
    original, calls = run._write, []

    def full(content, path, root):
        calls.append(path)
        if len(calls) == 25:  # within the second source image: nine windows of two files each
            raise OSError(28, 'No space left on device')
        original(content, path, root)

    monkeypatch.setattr(run, '_write', full)
    with pytest.raises(DataError, match=r'No space left on device\. Make room'):
        do('potsdam', source, tmp_path / 'dst')
    assert not (tmp_path / 'dst/index.json').exists()
    monkeypatch.setattr(run, '_write', original)
    done = count_cuts(monkeypatch)
    assert do('potsdam', source, tmp_path / 'dst') == whole
    assert len(done) == 5
    assert tree(tmp_path / 'dst') == tree(tmp_path / 'whole')


def be_killed(source, out):
    """Prepare, and end without a word within the second source image."""
    original, calls = run._write, []

    def write(content, path, root):
        calls.append(path)
        if len(calls) == 30:
            (root / run.SCRATCH / 'half').write_bytes(content[:9])
            os.kill(os.getpid(), signal.SIGKILL)
        original(content, path, root)

    run._write = write
    do('potsdam', source, out)


@pytest.mark.skipif(sys.platform == 'win32', reason='processes cannot fork')
def test_a_kill_in_the_middle_keeps_what_is_complete(tmp_path, monkeypatch):
    source, out = official_copy('potsdam').write(tmp_path / 'src', 'nested'), tmp_path / 'dst'
    whole = do('potsdam', source, tmp_path / 'whole')
    process = multiprocessing.get_context('fork').Process(target=be_killed, args=(source, out))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    written, wanted = tree(out), tree(tmp_path / 'whole')
    assert 'index.json' not in written
    assert len(written) > 20
    assert all(content == wanted[path] for path, content in written.items()
               if not path.startswith(run.SCRATCH))
    with (out / '.prepare.jsonl').open('a') as journal:
        journal.write('\n{"record": {"unit": "torn')
    done = count_cuts(monkeypatch)
    assert do('potsdam', source, out) == whole
    assert len(done) == 5
    assert tree(out) == wanted


def test_processes_give_the_same_files(tmp_path):
    source = official_copy('vaihingen').write(tmp_path / 'src', 'nested')
    told = []
    index = do('vaihingen', source, tmp_path / 'two', workers=2,
               progress=lambda *state: told.append(state))
    assert index == do('vaihingen', source, tmp_path / 'one')
    assert tree(tmp_path / 'two') == tree(tmp_path / 'one')
    assert told == [('prepare', done, 3) for done in range(4)]


def test_an_error_in_a_process_names_the_file(tmp_path):
    copy = official_copy('vaihingen')
    labels = copy.archives['ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE']
    labels['top_mosaic_09cm_area2_noBoundary.tif'] = encode(np.zeros((40, 60), np.uint16), '.tif')
    with pytest.raises(DataError, match=r'area2_noBoundary\.tif has the pixel type'):
        do('vaihingen', copy.write(tmp_path / 'src'), tmp_path / 'dst', workers=2)


class Deadly:
    def read(self):
        os._exit(9)


def test_a_process_that_is_killed(tmp_path):
    jobs = [SimpleNamespace(image=Deadly())] * 2
    with pytest.raises(DataError, match=r'A process was killed .* fewer --workers'):
        list(run._records(jobs, tmp_path, 2))


# ---------------------------------------------------------------- what labels may hold

def test_pixels_off_the_palette_are_counted_by_file(tmp_path):
    copy = official_copy('potsdam')
    labels = copy.archives['5_Labels_all_noBoundary']
    path = 'top_potsdam_2_13_label_noBoundary.tif'
    painted = np.asarray(Image.open(io.BytesIO(labels[path]))).copy()
    painted[15:17, 30:33] = 252, 255, 0
    labels[path] = encode(painted, '.tif')
    index = do('potsdam', copy.write(tmp_path / 'src'), tmp_path / 'dst', domains=['potsdam_rgb'])
    entry = index['summary']['test']['potsdam_rgb']
    assert entry['off_palette'] == 6
    assert entry['off_palette_files'] == {f'src/5_Labels_all_noBoundary.zip/{path}': 6}
    report = check('potsdam', tmp_path / 'dst')
    assert any(note.startswith('6 px in 1 label(s) of test of potsdam_rgb')
               for note in report.notes)


@pytest.mark.parametrize('encoding', ['colours', 'from 1'])
def test_casid_in_its_other_encodings(tmp_path, encoding):
    plain = official_copy('casid')
    copy = official_copy('casid')
    palette = np.array(datasets.CASID.METAINFO['palette'], np.uint8)
    for files in copy.archives.values():
        for path, data in files.items():
            if path.endswith('-label.png'):
                ids = np.asarray(Image.open(io.BytesIO(data)))
                files[path] = encode(palette[ids] if encoding == 'colours' else ids + 1, '.png')
    first = do('casid', plain.write(tmp_path / 'plain'), tmp_path / 'a')
    assert do('casid', copy.write(tmp_path / 'other'), tmp_path / 'b')['summary'] == (
        first['summary'])


def test_casid_prefers_ids_to_a_painting_of_them(tmp_path):
    copy = official_copy('casid')
    copy.archives['TroMs']['TroMs/all_test/label/TroMs_1-label.png'] = encode(
        np.zeros((40, 40, 3), np.uint8), '.png')
    index = do('casid', copy.write(tmp_path / 'src'), tmp_path / 'dst', domains=['tms'])
    assert all(index['summary']['test']['tms']['class_counts'][:5])


def test_casid_that_does_not_tell_asks(tmp_path):
    copy = official_copy('casid')
    for path in copy.archives['SubMs']:
        if path.endswith('-label.png'):
            copy.archives['SubMs'][path] = encode(np.full((40, 40), 3, np.uint8), '.png')
    source = copy.write(tmp_path / 'src')
    with pytest.raises(DataError, match=r'test/sub hold the ids \[3\].*--option ids=0 or --option'):
        do('casid', source, tmp_path / 'dst', domains=['sub'])
    index = do('casid', source, tmp_path / 'dst', domains=['sub'], options={'ids': '1'})
    assert index['summary']['test']['sub']['class_counts'][2] == 9 * 16 * 16
    assert index['options'] == {'ids': '1'}


def test_masks_of_ones(tmp_path):
    copy = official_copy('whu')
    for files in copy.archives.values():
        for path, data in files.items():
            if '/label/' in path:
                files[path] = encode(np.asarray(Image.open(io.BytesIO(data))) // 255, '.tif')
    plain = do('whu', official_copy('whu').write(tmp_path / 'plain'), tmp_path / 'a')
    assert do('whu', copy.write(tmp_path / 'ones'), tmp_path / 'b')['summary'] == plain['summary']


def test_white_areas_of_massachusetts_can_be_left_out(tmp_path):
    copy = official_copy('massachusetts')
    files = copy.archives['mass_roads']
    image = np.asarray(Image.open(io.BytesIO(
        files['mass_roads/test/sat/10378780_15.tiff']))).copy()
    image[:10] = 255
    files['mass_roads/test/sat/10378780_15.tiff'] = encode(image, '.tiff')
    source = copy.write(tmp_path / 'src')
    ignored = [do('massachusetts', source, tmp_path / value, options={'white': value})
               ['summary']['test']['massachusetts']['class_counts'][-1]
               for value in ('score', 'ignore')]
    assert ignored == [0, 400]


def test_domain_that_a_path_does_not_tell(tmp_path):
    copy = official_copy('whu')
    sources = []
    for files, domain in zip(copy.archives.values(), ('aerial', 'satellite2'), strict=True):
        (tmp_path / f'{domain[0]}.zip').write_bytes(zipped(
            {path.rpartition('labels/')[2]: data for path, data in files.items()}))
        sources.append(f'{domain}={tmp_path / domain[0]}.zip')
    with pytest.raises(DataError, match=r'does not tell its domain.*--src aerial=PATH satellite2='):
        prepare('whu', [sources[0].partition('=')[2]], tmp_path / 'dst')
    with pytest.raises(DataError, match="names the domain 'areal', but whu has aerial, satellite2"):
        prepare('whu', [f'areal={tmp_path}/a.zip'], tmp_path / 'dst')
    index = prepare('whu', sources, tmp_path / 'dst', workers=1)
    assert set(parts(index)) == {'train/aerial', 'val/aerial', 'test/aerial',
                                 'train/satellite2', 'test/satellite2'}
