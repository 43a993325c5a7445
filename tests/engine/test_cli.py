# SPDX-License-Identifier: Apache-2.0
import pytest
from torch.utils.data import DataLoader

from crossearth.engine.cli import run_tool
from crossearth.errors import DataError


def fail(error):
    def main():
        raise error
    return main


def test_users_error_is_one_paragraph_and_status_2(capsys):
    with pytest.raises(SystemExit) as caught:
        run_tool(fail(DataError('no images in data/x. Put them there.')))
    assert caught.value.code == 2
    assert capsys.readouterr().err == 'error: no images in data/x. Put them there.\n'


class Broken:
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise DataError('a.png has no mask. Add masks/a.png.')


def test_error_in_a_worker_shows_no_traceback(capsys):
    with pytest.raises(SystemExit):
        run_tool(lambda: list(DataLoader(Broken(), num_workers=1)))
    assert capsys.readouterr().err == 'error: a.png has no mask. Add masks/a.png.\n'


def test_ctrl_c_is_status_130(capsys):
    with pytest.raises(SystemExit) as caught:
        run_tool(fail(KeyboardInterrupt()))
    assert caught.value.code == 130
    assert capsys.readouterr().err == 'interrupted\n'


def test_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_tool(lambda: 1 / 0)


def test_success_passes_through(capsys):
    run_tool(lambda: None)
    assert capsys.readouterr().err == ''
