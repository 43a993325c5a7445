# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest

import crossearth
from crossearth.cli import data
from crossearth.cli.main import COMMANDS, main
from crossearth.errors import DataError


@pytest.fixture
def fail(monkeypatch):
    """Make `crossearth data list` raise."""
    def make(error):
        def run(args):
            raise error
        monkeypatch.setattr(data, '_list', run)
    return make


def test_help_names_every_sub_command_with_an_example(capsys):
    assert main(['--help']) == 0
    text = ' '.join(capsys.readouterr().out.split())
    assert all(f'e.g. crossearth {command}' in text for command in COMMANDS)


def test_help_of_data_names_its_own(capsys):
    assert main(['data', '--help']) == 0
    text = ' '.join(capsys.readouterr().out.split())
    assert all(f'e.g. crossearth data {command}' in text
               for command in ('list', 'info', 'prepare', 'check'))


def test_version(capsys):
    assert main(['--version']) == 0
    assert capsys.readouterr().out == f'crossearth {crossearth.__version__}\n'


@pytest.mark.parametrize('arguments', [[], ['dta'], ['data'], ['data', 'info']])
def test_wrong_usage_is_status_2(arguments, capsys):
    assert main(arguments) == 2
    assert 'usage: crossearth' in capsys.readouterr().err


def test_users_error_is_one_paragraph_and_status_2(fail, capsys):
    fail(DataError('no images in data/x. Put them there.'))
    assert main(['data', 'list']) == 2
    assert capsys.readouterr().err == 'error: no images in data/x. Put them there.\n'


def test_ctrl_c_is_status_130(fail, capsys):
    fail(KeyboardInterrupt())
    assert main(['data', 'list']) == 130
    assert capsys.readouterr().err == 'interrupted\n'


def test_bug_keeps_its_traceback(fail):
    fail(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(['data', 'list'])


HEAVY = """
import sys
from crossearth.cli.main import main
for arguments in (['--help'], ['data', '--help'], ['data', 'list'], ['data', 'info', 'casid']):
    assert main(arguments) == 0
print([name for name in ('torch', 'mmengine', 'mmseg', 'cv2', 'numpy') if name in sys.modules])
"""


def test_help_list_and_info_load_nothing_heavy():
    done = subprocess.run([sys.executable, '-c', HEAVY], capture_output=True, text=True, timeout=60,
                          check=True)
    assert done.stdout.splitlines()[-1] == '[]'


def test_module_is_the_command():
    done = subprocess.run([sys.executable, '-m', 'crossearth', 'data', 'info', 'nothing'],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: There is no data set 'nothing'.")
