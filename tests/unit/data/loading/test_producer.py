"""linly.data.loading.producer: rows made beside the training; a dead or stuck producer is found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from linly.config.recipe import load_recipe
from linly.curriculum.apportion import Phase
from linly.curriculum.mixture import Mixture
from linly.data.loading.assignment import assign_sources
from linly.data.loading.producer import ProducedRows, RowStream, _Buffer
from linly.data.loading.stream import data_stream
from linly.data.mixing.mixed_row import MixedRow
from linly.data.mixing.state import MixerState
from linly.data.mixing.stream_plan import StreamPlan
from linly.errors import DataError
from tests.support.remote_servers import FileServer, serving
from tests.support.tiny_corpora import SOURCES, load_plan, write_corpora


@pytest.fixture(scope="module")
def plan(tiny_recipe: Path, tiny_tokenizer_path: Path) -> StreamPlan:
    return load_plan(tiny_recipe, tiny_tokenizer_path)


@pytest.fixture(scope="module")
def long_plan(plan: StreamPlan, tiny_recipe: Path) -> StreamPlan:
    """More rows than fit between two processes."""
    mixture = Mixture.from_curriculum(load_recipe(tiny_recipe).curriculum, num_rows=20_000)
    sources = tuple(replace(spec, max_epochs=1e6) for spec in plan.sources)
    return replace(plan, phases=(Phase(0, mixture),), sources=sources)


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
    return mixed.index, mixed.digest, row.source, row.epoch, row.spans, row.bad, row.cursor


def state_of(pid: int) -> str:
    """As the kernel tells it: `T` stopped, `Z` ended and not yet asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def is_running(pid: int) -> bool:
    return state_of(pid) != "Z"


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
    for producers in (1, 3, 9):
        with opened(plan, producers) as stream:
            assert isinstance(stream, ProducedRows)
            assert len(stream.process_ids) == min(producers, len(SOURCES))
            assert [value(mixed) for mixed in stream] == rows


def test_a_change_of_producers_at_any_row_changes_nothing(plan: StreamPlan) -> None:
    with opened(plan, 0) as here:
        undisturbed = [value(mixed) for mixed in here]
    rows, state = [], plan.new_state()
    for producers, num_rows in ((0, 13), (2, 29), (1, 41), (9, 50), (0, 200)):
        with opened(plan, producers, state=state) as stream:
            for mixed in islice(stream, num_rows):
                state.advance(mixed)
                rows.append(value(mixed))
    assert rows == undisturbed


def test_an_exhausted_source_ends_the_stream_at_the_same_row_and_for_the_same_reason(
    plan: StreamPlan,
) -> None:
    sources = tuple(
        replace(spec, max_epochs=2, on_exhausted="stop") if spec.source.name == "texts" else spec
        for spec in plan.sources
    )
    short = replace(plan, sources=sources)
    seen = []
    for producers in (0, 1, 3):
        with opened(short, producers) as stream:
            seen.append(([value(mixed) for mixed in stream], stream.exhausted))
            assert next(stream, None) is None
    assert 0 < len(seen[0][0]) < 200
    assert seen[0][1] is not None
    assert seen[0][1].source == "texts"
    assert all(other == seen[0] for other in seen)


@pytest.mark.parametrize(("producers", "which"), [(1, 0), (2, 0), (2, 1)])
def test_a_killed_producer_is_found_at_once_and_its_source_named(
    producers: int, which: int, long_plan: StreamPlan
) -> None:
    with opened(long_plan, producers, prefetch_rows=4) as stream:
        assert isinstance(stream, ProducedRows)
        list(islice(stream, 10))
        os.kill(stream.process_ids[which], signal.SIGKILL)
        names = "|".join(assign_sources(long_plan.phases, 0, producers)[which])
        with pytest.raises(DataError, match=rf"killed by SIGKILL\).*source '({names})'"):
            list(stream)


@pytest.mark.parametrize("which", [0, 1])
def test_a_stopped_producer_is_found_within_the_timeout_and_its_source_named(
    which: int, long_plan: StreamPlan
) -> None:
    with opened(long_plan, 2, prefetch_rows=4, timeout_s=4.0) as stream:
        assert isinstance(stream, ProducedRows)
        list(islice(stream, 10))
        process_ids = stream.process_ids
        os.kill(process_ids[which], signal.SIGSTOP)
        names = "|".join(assign_sources(long_plan.phases, 0, 2)[which])
        began = time.monotonic()
        with pytest.raises(DataError, match=rf"no row arrived for 4 s .* source '({names})'"):
            list(stream)
        assert time.monotonic() - began < 10
    assert wait_for(lambda: not any(map(is_running, process_ids)))


def write_remote_pairs(folder: Path, server: FileServer) -> Path:
    """The tiny corpora, the shard of pairs on a server."""
    recipe = write_corpora(folder)
    server.files["/pairs.jsonl"] = (folder / "data/pairs/pairs.jsonl").read_bytes()
    corpus = folder / "corpora/pairs.yaml"
    corpus.write_text(corpus.read_text().replace("pairs/*.jsonl", f"{server.url}/pairs.jsonl"))
    return recipe


def test_a_shard_that_never_answers_is_found_within_the_timeout_and_named(
    tmp_path: Path, tiny_tokenizer_path: Path
) -> None:
    with serving({}) as server:
        plan = load_plan(write_remote_pairs(tmp_path, server), tiny_tokenizer_path)
        server.faults.is_silent = True
        with opened(plan, 1, timeout_s=4.0) as stream:
            match = r"hangs while it read http://127.0.0.1:\d+/pairs.jsonl of source 'pairs'"
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
        pids = stream.process_ids
        assert len(pids) == 2
    assert wait_for(lambda: not any(map(is_running, pids)))
    assert next(stream, None) is None


PARENT = """
import sys
from pathlib import Path
from tests.support.tiny_corpora import load_plan
from linly.data.loading.stream import data_stream
plan = load_plan(Path(sys.argv[1]), Path(sys.argv[2]))
stream = data_stream(plan, plan.new_state(), producers=2, prefetch_rows=4, timeout_s=60)
next(stream)
print(*stream.process_ids, flush=True)
sys.stdin.read()
"""


def start_parent(program: str, recipe: Path, tokenizer: Path) -> subprocess.Popen[bytes]:
    """Start a program that starts producers, its input and output piped."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(
        [sys.executable, "-c", program, str(recipe), str(tokenizer)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )


def test_no_process_outlives_a_killed_parent(tiny_recipe: Path, tiny_tokenizer_path: Path) -> None:
    """Neither one that runs nor one that is stopped and cannot see its parent's end itself."""
    with start_parent(PARENT, tiny_recipe, tiny_tokenizer_path) as parent:
        assert parent.stdout is not None
        pids = list(map(int, parent.stdout.readline().split()))
        assert len(pids) == 2
        assert all(map(is_running, pids))
        os.kill(pids[0], signal.SIGSTOP)
        assert wait_for(lambda: state_of(pids[0]) == "T")
        parent.kill()
        parent.wait()
    assert wait_for(lambda: not any(map(is_running, pids)))


STUCK_PARENT = """
import sys, threading
from pathlib import Path
from tests.support.tiny_corpora import load_plan
from linly.data.loading.stream import data_stream
plan = load_plan(Path(sys.argv[1]), Path(sys.argv[2]))
print("listed", flush=True)
input()
def start():
    options = dict(producers=1, prefetch_rows=64, timeout_s=60)
    global stream
    stream = data_stream(plan, plan.new_state(), **options)
    next(stream)
    print(*stream.process_ids, flush=True)
thread = threading.Thread(target=start)
thread.start()
thread.join()
input()
"""


def test_a_producer_that_hangs_in_a_read_does_not_outlive_a_killed_parent(
    tmp_path: Path, tiny_tokenizer_path: Path
) -> None:
    """Started by a thread that has ended, so that the kernel's signal at its end cannot help."""
    with serving({}) as server:
        recipe = write_remote_pairs(tmp_path, server)
        producer = start_and_kill_parent(recipe, tiny_tokenizer_path, server)
        assert wait_for(lambda: not is_running(producer))


def start_and_kill_parent(recipe: Path, tokenizer: Path, server: FileServer) -> int:
    """Kill the parent of a producer that hangs in a read; return the producer's process id."""
    with start_parent(STUCK_PARENT, recipe, tokenizer) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        assert parent.stdout.readline() == b"listed\n"
        server.faults.is_silent = True
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        producer = int(parent.stdout.readline())
        time.sleep(0.5)  # into the read
        assert is_running(producer)
        parent.kill()
        parent.wait()
    return producer


def test_signals_to_the_whole_group_leave_producers_to_their_parent(plan: StreamPlan) -> None:
    """A step that is under way when SIGTERM comes must end in peace."""
    with opened(plan, 2, prefetch_rows=4) as stream:
        assert isinstance(stream, ProducedRows)
        next(stream)
        for pid in stream.process_ids:
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)
        assert len(list(stream)) == 199


def test_producers_import_no_torch(plan: StreamPlan) -> None:
    import torch  # noqa: F401 (here it is loaded, there it must not be)

    with opened(plan, 2, prefetch_rows=4) as stream:
        assert isinstance(stream, ProducedRows)
        next(stream)
        for pid in stream.process_ids:
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
