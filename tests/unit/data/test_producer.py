"""linly.data.producer: rows made beside the training; a dead or stuck producer is found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest
from tiny_corpora import load_plan, write_corpora

from linly.data.mixed_row import MixedRow
from linly.data.producer import ProducedRows, RowStream, _Buffer
from linly.data.spec import StreamPlan
from linly.data.state import MixerState
from linly.data.stream import data_stream
from linly.errors import DataError


@pytest.fixture(scope="module")
def plan(tiny_recipe: Path, tiny_tokenizer_path: Path) -> StreamPlan:
    return load_plan(tiny_recipe, tiny_tokenizer_path)


@contextmanager
def opened(
    plan: StreamPlan,
    producers: int,
    *,
    state: MixerState | None = None,
    timeout_s: float = 60.0,
    prefetch_rows: int = 16,
) -> Iterator[RowStream]:
    stream = data_stream(
        plan,
        state if state is not None else plan.new_state(),
        producers=producers,
        prefetch_rows=prefetch_rows,
        timeout_s=timeout_s,
    )
    try:
        yield stream
    finally:
        stream.close()


def value(mixed: MixedRow) -> tuple[object, ...]:
    row = mixed.row
    return (mixed.index, mixed.digest, row.source, row.epoch, row.pieces, mixed.bad, mixed.cursor)


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] + [
        below for child in children for below in descendants(int(child))
    ]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for(condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_rows_are_identical_for_any_number_of_producers(plan: StreamPlan) -> None:
    with opened(plan, 0) as here:
        rows = [value(mixed) for mixed in here]
    assert len(rows) == 200
    for producers in (1, 2):
        with opened(plan, producers) as stream:
            assert [value(mixed) for mixed in stream] == rows


def test_a_change_of_producers_at_any_row_changes_nothing(plan: StreamPlan) -> None:
    with opened(plan, 0) as here:
        undisturbed = [value(mixed) for mixed in here]
    rows, state = [], plan.new_state()
    for producers, num_rows in ((0, 13), (2, 29), (1, 41), (3, 50), (0, 200)):
        with opened(plan, producers, state=state) as stream:
            for mixed in islice(stream, num_rows):
                state.advance(mixed)
                rows.append(value(mixed))
    assert rows == undisturbed


@pytest.mark.parametrize("producers", [1, 2])
def test_a_killed_producer_is_found_at_once_and_its_source_named(
    producers: int, plan: StreamPlan
) -> None:
    with opened(plan, producers, prefetch_rows=4) as stream:
        assert isinstance(stream, ProducedRows)
        next(stream)
        helpers = descendants(stream.process_id)
        os.kill(stream.process_id, signal.SIGKILL)
        with pytest.raises(DataError, match=r"killed by SIGKILL\).*source '\w+'"):
            list(stream)
    assert wait_for(lambda: not any(map(is_running, helpers)))


def test_a_stopped_producer_is_found_within_the_timeout_and_its_source_named(
    plan: StreamPlan,
) -> None:
    with opened(plan, 2, prefetch_rows=4, timeout_s=4.0) as stream:
        assert isinstance(stream, ProducedRows)
        next(stream)
        producer = stream.process_id
        helpers = descendants(producer)
        assert len(helpers) == 2
        os.kill(producer, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(DataError, match=r"no row came for 4 s .* source '"):
            list(stream)
        assert time.monotonic() - began < 10
    assert wait_for(lambda: not any(map(is_running, [producer, *helpers])))


def test_a_stopped_tokenizing_process_is_found_within_the_timeout(plan: StreamPlan) -> None:
    with opened(plan, 2, prefetch_rows=4, timeout_s=4.0) as stream:
        assert isinstance(stream, ProducedRows)
        next(stream)
        producer = stream.process_id
        helpers = descendants(producer)
        for helper in helpers:
            os.kill(helper, signal.SIGSTOP)
        with pytest.raises(DataError, match=r"no row came for 4 s .* source '"):
            list(stream)
    assert wait_for(lambda: not any(map(is_running, [producer, *helpers])))


def test_a_killed_tokenizing_process_is_an_error_that_names_the_source(plan: StreamPlan) -> None:
    with opened(plan, 2, prefetch_rows=4) as stream:
        assert isinstance(stream, ProducedRows)
        next(stream)
        for helper in descendants(stream.process_id):
            os.kill(helper, signal.SIGKILL)
        with pytest.raises(DataError, match=r"source '\w+': a tokenizing process ended"):
            list(stream)


def test_a_shard_that_never_answers_is_found_within_the_timeout_and_named(
    tmp_path: Path, tiny_tokenizer_path: Path
) -> None:
    plan = load_plan(write_corpora(tmp_path), tiny_tokenizer_path)
    shard = tmp_path / "data/pairs/pairs.jsonl"
    shard.unlink()
    os.mkfifo(shard)  # opening it waits for a writer, for ever
    with opened(plan, 1, timeout_s=4.0) as stream:
        match = r"hangs while it read pairs/pairs.jsonl of source 'pairs'"
        with pytest.raises(DataError, match=match):
            list(stream)


def test_an_error_of_the_producer_comes_after_the_rows_before_it_and_is_the_same_text(
    tmp_path: Path, tiny_tokenizer_path: Path
) -> None:
    plan = load_plan(write_corpora(tmp_path), tiny_tokenizer_path)
    shard = tmp_path / "data/texts/shard-3.jsonl.zst"
    shard.write_bytes(shard.read_bytes()[:-5])
    seen = []
    for producers in (0, 1, 2):
        rows = []
        with opened(plan, producers) as stream, pytest.raises(DataError) as caught:
            rows.extend(value(mixed) for mixed in stream)
        seen.append((str(caught.value), rows))
    assert seen[0] == seen[1] == seen[2]


def test_closing_leaves_no_process(plan: StreamPlan) -> None:
    with opened(plan, 2) as stream:
        assert isinstance(stream, ProducedRows)
        next(stream)
        pids = [stream.process_id, *descendants(stream.process_id)]
    assert wait_for(lambda: not any(map(is_running, pids)))
    assert next(stream, None) is None


PARENT = """
import sys
from pathlib import Path
from tiny_corpora import load_plan
from linly.data.stream import data_stream
plan = load_plan(Path(sys.argv[1]), Path(sys.argv[2]))
stream = data_stream(plan, plan.new_state(), producers=2, prefetch_rows=4, timeout_s=60)
next(stream)
print(stream.process_id, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_no_process_outlives_a_killed_parent(
    stopped: bool, tiny_recipe: Path, tiny_tokenizer_path: Path
) -> None:
    """Also when the producer is stopped and cannot see its parent's end itself."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tiny_recipe), str(tiny_tokenizer_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    ) as parent:
        assert parent.stdout is not None
        producer = int(parent.stdout.readline())
        pids = [producer, *descendants(producer)]
        assert len(pids) == 3
        assert all(map(is_running, pids))
        if stopped:
            os.kill(producer, signal.SIGSTOP)
        parent.kill()
        parent.wait()
    assert wait_for(lambda: not any(map(is_running, pids)))


STUCK_PARENT = """
import sys, threading
from pathlib import Path
from tiny_corpora import load_plan
from linly.data.stream import data_stream
plan = load_plan(Path(sys.argv[1]), Path(sys.argv[2]))
print("listed", flush=True)
input()
def start():
    options = dict(producers=1, prefetch_rows=64, timeout_s=60)
    global stream
    stream = data_stream(plan, plan.new_state(), **options)
    next(stream)
    print(stream.process_id, flush=True)
thread = threading.Thread(target=start)
thread.start()
thread.join()
input()
"""


def test_a_producer_that_hangs_in_a_read_does_not_outlive_a_killed_parent(
    tmp_path: Path, tiny_tokenizer_path: Path
) -> None:
    """Started by a thread that has ended, so that the kernel's signal at its end cannot help."""
    recipe = write_corpora(tmp_path)
    shard = tmp_path / "data/pairs/pairs.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", STUCK_PARENT, str(recipe), str(tiny_tokenizer_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        assert parent.stdout.readline() == b"listed\n"
        shard.unlink()
        os.mkfifo(shard)
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        producer = int(parent.stdout.readline())
        time.sleep(0.5)  # into the read
        assert is_running(producer)
        parent.kill()
        parent.wait()
    assert wait_for(lambda: not is_running(producer))


def test_signals_to_the_whole_group_leave_the_producer_to_its_parent(plan: StreamPlan) -> None:
    """A step that is under way when SIGTERM comes must end in peace."""
    with opened(plan, 2, prefetch_rows=4) as stream:
        assert isinstance(stream, ProducedRows)
        next(stream)
        for pid in (stream.process_id, *descendants(stream.process_id)):
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)
        assert len(list(stream)) == 199


def test_producer_and_tokenizing_processes_import_no_torch(plan: StreamPlan) -> None:
    import torch  # noqa: F401 (here it is loaded, there it must not be)

    with opened(plan, 2, prefetch_rows=4) as stream:
        assert isinstance(stream, ProducedRows)
        next(stream)
        for pid in (stream.process_id, *descendants(stream.process_id)):
            assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize(("max_rows", "max_bytes"), [(3, 1000), (1000, 25)])
def test_rows_made_ahead_are_bounded_by_number_and_by_bytes(max_rows: int, max_bytes: int) -> None:
    buffer = _Buffer(max_rows, max_bytes)
    put: list[int] = []

    def fill() -> None:
        for item in range(10):
            buffer.put(item, 10)
            put.append(item)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    assert wait_for(lambda: len(put) == 3)
    time.sleep(0.1)
    assert len(put) == 3
    taken = buffer.get(2)
    while len(taken) < 10:
        taken += buffer.get(100)
    assert taken == list(range(10))
    thread.join(5)
    assert not thread.is_alive()
