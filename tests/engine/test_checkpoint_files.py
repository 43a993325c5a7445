# SPDX-License-Identifier: Apache-2.0
"""Names, order and tidying of checkpoint files; crashes and damage are in tests/faults."""

import hashlib
import os
import re
import socket
import subprocess
import sys

import pytest
import torch

from crossearth.engine.checkpoint_files import (
    list_checkpoints,
    newest_valid,
    point_to,
    problem_of,
    prune,
    remove_orphans,
    save_checkpoint,
    set_aside,
)
from crossearth.errors import CheckpointError


def write(folder, *iterations):
    for iteration in iterations:
        save_checkpoint({'iter': iteration}, folder / f'iter_{iteration}.pth')
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_listed_by_number_and_nothing_else(tmp_path):
    write(tmp_path, 9, 10, 100)
    for other in ('iter_x.pth', 'best.pth', 'earlier_iter_7.pth', 'iter_11.pth.bak'):
        (tmp_path / other).touch()
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        'iter_100.pth', 'iter_10.pth', 'iter_9.pth']
    assert list_checkpoints(tmp_path / 'absent') == []


def test_checksum_is_that_of_sha256sum(tmp_path):
    write(tmp_path, 3)
    digest = hashlib.sha256((tmp_path / 'iter_3.pth').read_bytes()).hexdigest()
    assert (tmp_path / 'iter_3.pth.sha256').read_text() == f'{digest}  iter_3.pth\n'


def test_nothing_is_left_of_a_save_that_raises(tmp_path):
    class Unpicklable:
        def __reduce__(self):
            raise ZeroDivisionError

    write(tmp_path, 1)
    before = names(tmp_path)
    with pytest.raises(ZeroDivisionError):
        save_checkpoint({'x': torch.zeros(1000), 'y': Unpicklable()}, tmp_path / 'iter_1.pth')
    assert names(tmp_path) == before
    assert problem_of(tmp_path / 'iter_1.pth') is None


def test_a_file_that_replaces_another_is_never_judged_by_the_old_checksum(tmp_path, monkeypatch):
    write(tmp_path, 1)
    monkeypatch.setattr('crossearth.engine.checkpoint_files._write_text', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # a crash between file and checksum
        save_checkpoint({'iter': 2}, tmp_path / 'iter_1.pth')
    assert names(tmp_path) == ['iter_1.pth']
    assert problem_of(tmp_path / 'iter_1.pth') is None
    assert torch.load(tmp_path / 'iter_1.pth', weights_only=True) == {'iter': 2}


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / 'no' / 'iter_1.pth'))):
        save_checkpoint({}, tmp_path / 'no' / 'iter_1.pth')


def test_an_unreadable_checksum_leaves_the_file_to_its_own_structure(tmp_path):
    write(tmp_path, 1)
    (tmp_path / 'iter_1.pth.sha256').write_bytes(b'\xff\xfe')
    assert problem_of(tmp_path / 'iter_1.pth') is None
    (tmp_path / 'iter_1.pth').write_bytes(b'no archive')
    assert 'truncated or damaged' in problem_of(tmp_path / 'iter_1.pth')


def test_a_file_that_vanished_is_a_problem_and_no_error(tmp_path):
    assert 'cannot be read' in problem_of(tmp_path / 'iter_1.pth')


def test_nothing_to_find(tmp_path):
    assert newest_valid(tmp_path) is None


@pytest.mark.parametrize(('keep', 'left'), [(0, [2, 4, 6, 8]), (1, [6, 8]), (2, [4, 6, 8])])
def test_prune_counts_back_from_what_was_written(tmp_path, keep, left):
    write(tmp_path, 2, 4, 6, 8)
    prune(tmp_path / 'iter_6.pth', keep)
    assert names(tmp_path) == sorted(
        name for n in left for name in (f'iter_{n}.pth', f'iter_{n}.pth.sha256'))


def test_set_aside_keeps_the_pointer_true(tmp_path):
    write(tmp_path, 2, 4, 6)
    point_to(tmp_path / 'iter_6.pth')
    assert [path.name for path in set_aside(tmp_path, 4)] == ['earlier_iter_6.pth']
    assert (tmp_path / 'last_checkpoint').read_text() == 'iter_4.pth'
    assert (tmp_path / 'earlier_iter_6.pth.sha256').is_file()
    set_aside(tmp_path, 0)
    assert list_checkpoints(tmp_path) == []
    assert not (tmp_path / 'last_checkpoint').exists()
    assert set_aside(tmp_path, 0) == []


def test_orphans_are_told_from_files_in_use(tmp_path):
    ended = subprocess.Popen([sys.executable, '-c', ''])
    ended.wait()
    host = socket.gethostname()
    gone = f'.iter_1.pth.{host}.{ended.pid}.tmp'
    ours = f'.last_checkpoint.{host}.{os.getpid()}.tmp'
    living = f'.iter_1.pth.sha256.{host}.{os.getppid()}.tmp'
    elsewhere = f'.iter_1.pth.other.example.org.{ended.pid}.tmp'
    old = '.iter_2.pth.other.example.org.1.tmp'
    foreign = '.editor.tmp'
    for name in (gone, ours, living, elsewhere, old, foreign):
        (tmp_path / name).touch()
    os.utime(tmp_path / old, (0, 0))
    assert {path.name for path in remove_orphans(tmp_path)} == {gone, ours, old}
    assert names(tmp_path) == sorted([living, elsewhere, foreign])
