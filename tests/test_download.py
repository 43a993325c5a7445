# SPDX-License-Identifier: Apache-2.0
import hashlib
import multiprocessing
import threading

import pytest
from file_server import serve

from crossearth import download as module
from crossearth.download import DownloadError, download, locked

DATA = bytes(range(256)) * 4096  # 1 MiB
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, 'PAUSE_S', 0.001)
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with serve({'/file.zip': DATA}) as running:
        running.url = f'{running.root}/file.zip'
        yield running


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_arrives_verified_and_leaves_nothing_else(server, tmp_path):
    told = []
    path = download(server.url, tmp_path / 'a' / 'b.zip', md5=MD5, sha256=SHA256.upper(),
                    size=len(DATA), progress=lambda *state: told.append(state))
    assert path == tmp_path / 'a' / 'b.zip'
    assert path.read_bytes() == DATA
    assert told[-1] == (len(DATA), len(DATA))
    assert names(tmp_path / 'a') == ['b.zip']


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / 'b.zip').write_bytes(DATA)
    download(server.url, tmp_path / 'b.zip', sha256=SHA256)
    download(server.url, tmp_path / 'b.zip')
    assert server.requests == []


def test_a_wrong_file_that_is_there_is_replaced(server, tmp_path):
    (tmp_path / 'b.zip').write_bytes(DATA[:-1])
    assert download(server.url, tmp_path / 'b.zip', sha256=SHA256).read_bytes() == DATA


def test_interrupted_transfer_is_resumed_within_one_call(server, tmp_path):
    server.cuts = (300_000, 500_000)
    assert download(server.url, tmp_path / 'b.zip').read_bytes() == DATA
    assert server.requests[0] is None
    starts = [int(asked[6:-1]) for asked in server.requests[1:]]
    assert 0 < starts[0] <= 300_000 < starts[1] <= 800_000


def test_part_of_an_earlier_call_is_used(server, tmp_path):
    (tmp_path / 'b.zip.part').write_bytes(DATA[:1000])
    assert download(server.url, tmp_path / 'b.zip', md5=MD5).read_bytes() == DATA
    assert server.requests == ['bytes=1000-']


def test_part_that_is_whole_is_used(server, tmp_path):
    (tmp_path / 'b.zip.part').write_bytes(DATA)
    assert download(server.url, tmp_path / 'b.zip', md5=MD5).read_bytes() == DATA
    assert len(server.requests) == 1


@pytest.mark.parametrize('part', [b'other' * 100, DATA + b'more'])
def test_part_of_another_file_is_thrown_away(server, tmp_path, part):
    (tmp_path / 'b.zip.part').write_bytes(part)
    assert download(server.url, tmp_path / 'b.zip', md5=MD5).read_bytes() == DATA
    assert server.requests[-1] is None


def test_without_a_hash_a_part_is_not_trusted(server, tmp_path):
    (tmp_path / 'b.zip.part').write_bytes(b'other' * 100)
    assert download(server.url, tmp_path / 'b.zip').read_bytes() == DATA
    assert server.requests == [None]


def test_server_without_ranges_starts_anew(server, tmp_path):
    server.ranges = False
    (tmp_path / 'b.zip.part').write_bytes(DATA[:1000])
    assert download(server.url, tmp_path / 'b.zip', md5=MD5).read_bytes() == DATA
    assert server.requests == ['bytes=1000-']


def test_server_without_a_length(server, tmp_path):
    server.length = False
    assert download(server.url, tmp_path / 'b.zip', sha256=SHA256).read_bytes() == DATA


@pytest.mark.parametrize('expected', [{'md5': '0' * 32}, {'sha256': '0' * 64}])
def test_wrong_hash_leaves_no_file(server, tmp_path, expected):
    with pytest.raises(DownloadError, match=r'has the (md5|sha256) \w+, but 0+ was published'):
        download(server.url, tmp_path / 'b.zip', **expected)
    assert names(tmp_path) == []


def test_wrong_size_is_found_before_the_transfer(server, tmp_path):
    with pytest.raises(DownloadError, match=f'is {len(DATA)} bytes long, but 9 were published'):
        download(server.url, tmp_path / 'b.zip', size=9)
    assert names(tmp_path) == []


def test_missing_file_is_not_asked_for_again(server, tmp_path):
    server.codes = (404,)
    with pytest.raises(DownloadError, match=r'file\.zip: the server answers 404'):
        download(server.url, tmp_path / 'b.zip')
    assert len(server.requests) == 1
    assert names(tmp_path) == []


def test_busy_server_is_asked_again(server, tmp_path):
    server.codes = (503, 429)
    assert download(server.url, tmp_path / 'b.zip').read_bytes() == DATA


def test_server_that_ends_every_answer_is_given_up(server, tmp_path):
    server.cuts = (0,) * 99
    with pytest.raises(DownloadError, match=r'ended after 0 of 1048576 bytes'):
        download(server.url, tmp_path / 'b.zip')
    assert len(server.requests) == module.ATTEMPTS


def test_offline_names_address_and_folder(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError) as error:
        download(server.url, tmp_path / 'b.zip')
    text = str(error.value)
    assert server.url in text
    assert f'put it as b.zip into {tmp_path}' in text


@pytest.mark.parametrize('url', ['file:///etc/passwd', 'ftp://x/y', 'data:,x', '/etc/passwd'])
def test_only_the_web(url, tmp_path):
    with pytest.raises(DownloadError, match='is no address of the web'):
        download(url, tmp_path / 'b.zip')
    assert names(tmp_path) == []


@pytest.mark.parametrize('target', ['file:///etc/passwd', 'ftp://127.0.0.1/x'])
def test_only_the_web_after_a_redirection(server, tmp_path, target):
    server.location = target
    with pytest.raises(DownloadError):
        download(server.url, tmp_path / 'b.zip')
    assert not (tmp_path / 'b.zip').exists()


def test_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(DownloadError, match=r'Cannot write .* choose another folder'):
        download(server.url, tmp_path / 'file' / 'b.zip')


def test_two_downloads_of_one_file_are_one(server, tmp_path):
    threads = [threading.Thread(
        target=download, args=(server.url, tmp_path / 'b.zip'), kwargs={'sha256': SHA256})
        for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 1
    assert (tmp_path / 'b.zip').read_bytes() == DATA
    assert names(tmp_path) == ['b.zip']


def test_a_lock_is_held_by_one_and_leaves_no_file(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(20):
            with locked(tmp_path / 'lock'):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 80
    assert names(tmp_path) == []


def _hold(path, ready):
    with locked(path):
        ready.set()
        threading.Event().wait()


def test_the_end_of_a_process_releases_its_lock(tmp_path):
    context = multiprocessing.get_context('spawn')
    ready = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / 'lock', ready))
    holder.start()
    assert ready.wait(60)
    holder.kill()
    holder.join()
    with locked(tmp_path / 'lock'):
        pass
    assert names(tmp_path) == []
