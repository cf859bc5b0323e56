"""linly.storage.open_files: reads that fail for a while go on, at the byte reached; others stop."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from linly.errors import DamagedShardError, DataError
from linly.storage import local
from linly.storage.open_files import BLOCK_BYTES, File, open_file, state_of
from linly.storage.retries import Retries
from linly.storage.urls import Url
from tests.support.remote_servers import FileServer, serving, use_s3

DATA = random.Random(1).randbytes(4 * BLOCK_BYTES + 12_345)
QUICK = Retries(attempts=4, delay_s=1e-4)


@pytest.fixture(params=["http", "s3"])
def url(request: pytest.FixtureRequest, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Url:
    """The server's file, asked for as a web page or as an S3 object."""
    if request.param == "http":
        return Url(f"{server.url}/bucket/a.bin")
    use_s3(monkeypatch, server.url)
    return Url("s3://bucket/a.bin")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving({"/bucket/a.bin": DATA, "/bucket/empty.bin": b""}) as server:
        yield server


def read_all(file: File, size: int = 300_000) -> bytes:
    with file:
        return b"".join(iter(lambda: file.read(size), b""))


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_remote_file_is_read_as_it_is(url: Url, is_stream: bool) -> None:
    assert read_all(open_file(url, QUICK, is_stream=is_stream)) == DATA


def test_any_range_of_a_remote_file_can_be_read(url: Url) -> None:
    with open_file(url, QUICK) as file:
        for start, size in ((0, 1), (5, 100), (BLOCK_BYTES - 1, 2), (len(DATA) - 3, 100)):
            file.seek(start)
            assert file.read(size) == DATA[start : start + size]
        assert file.read(1) == b""


def test_a_transfer_dropped_many_times_gives_every_byte_once(url: Url, server: FileServer) -> None:
    drops = [0, 1, 70_000, BLOCK_BYTES - 1, BLOCK_BYTES, 2_000_000, 2_000_001, len(DATA) - 1]
    server.faults.drops = list(drops)
    assert read_all(open_file(url, QUICK, is_stream=True)) == DATA
    assert server.faults.drops == []
    # What came before a drop is not asked for again: at most a block is.
    assert server.asked_bytes() < len(DATA) + len(drops) * BLOCK_BYTES


def test_a_body_that_ends_early_is_continued_at_the_byte_it_reached(
    url: Url, server: FileServer
) -> None:
    server.faults.short = [700_000, 3_000_000]
    assert read_all(open_file(url, QUICK, is_stream=True)) == DATA
    assert server.faults.short == []
    assert {700_000, 3_000_000} <= {request.start for request in server.requests}
    server.faults.short = [700_000, 900_000]
    with open_file(url, QUICK) as file:
        assert file.read(2 * BLOCK_BYTES) == DATA[: 2 * BLOCK_BYTES]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(url: Url, server: FileServer, status: int) -> None:
    with open_file(url, QUICK, is_stream=True) as file:
        server.faults.statuses = [status] * (QUICK.attempts - 1)
        assert read_all(file) == DATA
    server.faults.statuses = [status] * (QUICK.attempts - 1)
    assert state_of(url, QUICK).size_bytes == len(DATA)
    assert server.faults.statuses == []


def test_a_server_that_stays_away_is_an_error_with_position_and_what_to_do(
    url: Url, server: FileServer
) -> None:
    with open_file(url, QUICK) as file:
        assert file.read(BLOCK_BYTES) == DATA[:BLOCK_BYTES]
        server.faults.always, asked = 503, server.num_answers
        with pytest.raises(DataError) as caught:
            file.read(BLOCK_BYTES)
    assert server.num_answers - asked == QUICK.attempts
    assert not isinstance(caught.value, DamagedShardError)
    for part in (str(url), "byte 1,048,576 of 4,206,649", "4 attempts", "503", "read_attempts"):
        assert part in str(caught.value)


def test_a_server_that_hangs_up_is_an_error(url: Url, server: FileServer) -> None:
    with open_file(url, QUICK) as file:
        server.faults.hangs_up, asked = True, server.num_answers
        with pytest.raises(DataError, match="gave up after 4 attempts"):
            file.read(10)
    assert server.num_answers - asked >= QUICK.attempts


def test_a_host_that_nobody_listens_at_is_an_error(server: FileServer) -> None:
    server.close()
    with pytest.raises(DataError, match="gave up after 4 attempts, the last: ClientConnectorError"):
        open_file(Url(f"{server.url}/bucket/a.bin"), QUICK)


@pytest.mark.parametrize(
    ("status", "words"), [(401, "refuses access"), (403, "refuses access"), (404, "does not exist")]
)
def test_what_a_server_answers_on_purpose_is_an_error_at_once(
    url: Url, server: FileServer, status: int, words: str
) -> None:
    with open_file(url, QUICK) as file:
        server.faults.always, asked = status, server.num_answers
        with pytest.raises(DataError, match=words) as caught:
            file.read(10)
    assert str(url) in str(caught.value)
    assert server.num_answers - asked == 1


def test_a_file_that_changes_while_it_is_read_is_refused(url: Url, server: FileServer) -> None:
    with open_file(url, QUICK, is_stream=True) as file:
        file.read(10)
        server.files["/bucket/a.bin"] = DATA[:-1] + b"x"
        with pytest.raises(DataError, match="it changed while it was read"):
            read_all(file)


def test_a_web_file_of_another_size_is_refused_where_there_is_no_etag(server: FileServer) -> None:
    server.gives_etags = False
    with open_file(Url(f"{server.url}/bucket/a.bin"), QUICK, is_stream=True) as file:
        file.read(10)
        server.files["/bucket/a.bin"] = DATA + b"x"
        with pytest.raises(DataError, match=r"4,206,650 bytes now, but had 4,206,649"):
            read_all(file)


def test_a_server_without_ranges_is_refused(server: FileServer) -> None:
    server.gives_ranges = False
    with pytest.raises(DataError, match="does not support range requests"):
        open_file(Url(f"{server.url}/bucket/a.bin"), QUICK)


def test_an_empty_remote_file_has_no_bytes(server: FileServer) -> None:
    assert read_all(open_file(Url(f"{server.url}/bucket/empty.bin"), is_stream=True)) == b""


def test_no_more_than_two_blocks_are_fetched_before_they_are_read(
    url: Url, server: FileServer
) -> None:
    with open_file(url, QUICK, is_stream=True) as file:
        assert file.read(1) == DATA[:1]
    assert server.asked_bytes() <= 2 * BLOCK_BYTES


def failing(error: int, times: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have reads of local files fail from byte 1000 on, so many times; gives the positions."""
    positions: list[int] = []
    pread = os.pread

    def read(descriptor: int, size: int, start: int) -> bytes:
        if start >= 1000 and len(positions) < times:
            positions.append(start)
            raise OSError(error, os.strerror(error))
        return pread(descriptor, min(size, 1000), start)

    monkeypatch.setattr(local.os, "pread", read)
    return positions


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_mounted_file_whose_server_is_away_for_a_while_is_read_on(
    tmp_path: Path, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bin").write_bytes(DATA[:5000])
    positions = failing(error, QUICK.attempts - 1, monkeypatch)
    assert read_all(open_file(tmp_path / "a.bin", QUICK, is_stream=True)) == DATA[:5000]
    assert positions == [1000] * (QUICK.attempts - 1)


def test_a_mounted_file_whose_server_stays_away_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bin").write_bytes(DATA[:5000])
    failing(errno.EIO, 100, monkeypatch)
    with pytest.raises(DataError, match=r"a\.bin: reading byte 1,000 of 5,000: gave up after 4"):
        read_all(open_file(tmp_path / "a.bin", QUICK))


def test_an_error_that_does_not_pass_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bin").write_bytes(DATA[:5000])
    positions = failing(errno.EACCES, 100, monkeypatch)
    with pytest.raises(DataError, match="Permission denied"):
        read_all(open_file(tmp_path / "a.bin", QUICK))
    assert positions == [1000]


def test_pauses_leave_the_seeded_generators_alone(server: FileServer) -> None:
    state = random.getstate()
    server.faults.statuses = [503, 503]
    state_of(Url(f"{server.url}/bucket/a.bin"), QUICK)
    assert server.faults.statuses == []
    assert random.getstate() == state
