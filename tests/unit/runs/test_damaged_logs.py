"""Damaged logs and row records are one error that names the place, for every reader of a run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linly.config.sections.watching_sections import AlarmSettings, GuardSettings
from linly.errors import TrainingError
from linly.monitor.history.documents import rows_of_step
from linly.monitor.history.follow import RunFollower
from linly.monitor.history.history import read_history
from linly.monitor.history.recount import recount
from linly.runs.log_lines import MAX_LINE_BYTES
from linly.runs.runs import LOGS, RunFolder
from linly.training.recording.alarms import AlarmWatch
from linly.training.recording.spikes import find_skipped_by_fork, find_spikes
from tests.support.synthetic_run import SyntheticRun

VALUES: tuple[Any, ...] = (None, -1, 2**63, 1.5, "x", [], {}, True, [[1]], {"a": None})


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SyntheticRun(tmp_path_factory.mktemp("runs") / "small", num_steps=110).whole()


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "run"))


def read_all(run: Path) -> None:
    """Everything that reads logs without training: report and compare, monitor, trace, alarms."""
    folder = RunFolder.open(run)
    history = read_history(run)
    recount(history)
    rows_of_step(run, 5)
    find_spikes(folder.read_steps(), folder.read("events"), GuardSettings())
    find_skipped_by_fork(folder.read("events"))
    watch = AlarmWatch(AlarmSettings())
    for evaluation in folder.read_evaluations():
        watch.evaluation(evaluation)
    for step in folder.read_steps():
        watch.step(step)


def assert_refused(run: Path, place: str) -> None:
    with pytest.raises(TrainingError, match=place):
        read_all(run)
    assert place in RunFollower(run).look().problem


def half_line(log: Path) -> None:
    with log.open("ab") as file:
        file.write(b'{"step": 1000, "ti')


def half_line_of_nulls(log: Path) -> None:
    with log.open("ab") as file:
        file.write(bytes(5000))


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("damage", [half_line, half_line_of_nulls])
def test_half_lines_at_the_end_are_no_lines(
    run: Path, name: str, damage: Callable[[Path], None]
) -> None:
    before = list(RunFolder.open(run).read(name))
    damage(run / f"{name}.jsonl")
    read_all(run)
    folder = RunFolder.open(run)
    assert list(folder.read(name)) == before
    assert RunFollower(run).look().problem == ""
    folder.truncate(110)
    assert list(folder.read(name)) == before


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize(
    "line",
    [
        bytes(100),
        b"",
        b'\0\0{"step": 5}',
        b'{"step": 5',
        b"[5]",
        b"null",
        b'"step"',
        b"{}",
        b'{"step": null}',
        b'{"step": true}',
        b'{"step": -1}',
        b'{"step": 1e3}',
        b'{"step": 99999999999999999999}',
        b'{"step": 5, "x": "\xff"}',
        b"[" * 100_000,
    ],
)
def test_lines_that_are_not_records_are_named(run: Path, name: str, line: bytes) -> None:
    log = run / f"{name}.jsonl"
    whole = log.read_bytes()
    log.write_bytes(line + b"\n" + whole)
    assert_refused(run, f"{name}.jsonl:1: ")
    with pytest.raises(TrainingError, match=f"{name}.jsonl:1: "):
        list(RunFolder.open(run).read(name))


@pytest.mark.parametrize("name", sorted(set(LOGS) - {"decisions"}))
def test_damage_after_the_resumed_step_is_forgotten_with_it(run: Path, name: str) -> None:
    log = run / f"{name}.jsonl"
    folder = RunFolder.open(run)
    kept = [record for record in folder.read(name) if record["step"] <= 100]
    with log.open("ab") as file:
        file.write(bytes(4096) + b"\n" + b'{"step": 111}\n' + bytes(512))
    folder.truncate(100)
    assert list(folder.read(name)) == kept


def test_damage_before_the_resumed_step_is_named(run: Path) -> None:
    log = run / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:7], b"\0\0\n", *lines[8:]]))
    whole = log.read_bytes()
    with pytest.raises(TrainingError, match=r"metrics\.jsonl:8: not JSON"):
        RunFolder.open(run).truncate(100)
    assert log.read_bytes() == whole


@pytest.mark.parametrize("name", ["metrics", "evaluations"])
def test_lines_out_of_order_are_named(run: Path, name: str) -> None:
    log = run / f"{name}.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
    assert_refused(run, f"{name}.jsonl:2: step")
    log.write_bytes(b"".join([*lines[:2], lines[0], *lines[2:]]))
    assert_refused(run, f"{name}.jsonl:3: step")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, below in value.items() if isinstance(value, dict) else ():
        yield from places(below, (*path, key))


@pytest.mark.parametrize("count", [-1, 2**62, 2**63, 1.5, None])
def test_a_count_out_of_range_is_named(run: Path, count: float | None) -> None:
    log = run / "metrics.jsonl"
    lines = log.read_bytes().splitlines()
    last = orjson.loads(lines[-1])
    last["rows_by_source"]["belle"] = count
    log.write_bytes(b"\n".join([*lines[:-1], orjson.dumps(last)]) + b"\n")
    assert_refused(run, r"metrics.jsonl:110: rows_by_source.belle: ")


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", LOGS)
def test_no_value_of_a_record_ends_in_a_traceback(run: Path, name: str) -> None:
    log = run / f"{name}.jsonl"
    lines = log.read_bytes().splitlines()
    record = orjson.loads(lines[-1])
    refused = 0
    for path in places(record):
        for new in (*VALUES, "left out"):
            changed = orjson.loads(lines[-1]) if path else new
            place = changed
            for key in path[:-1]:
                place = place[key]
            if path and new == "left out":
                del place[path[-1]]
            elif path:
                place[path[-1]] = new
            log.write_bytes(b"\n".join([*lines[:-1], orjson.dumps(changed)]) + b"\n")
            try:
                read_history(run)
                find_spikes(
                    RunFolder.open(run).read_steps(),
                    RunFolder.open(run).read("events"),
                    GuardSettings(),
                )
            except TrainingError:
                refused += 1
            except Exception as error:
                raise AssertionError(f"{path} as {new!r}: {error!r}") from error
    assert refused > 10


@pytest.mark.parametrize("has_end", [False, True])
def test_a_line_of_a_gigabyte_is_read_in_bounded_memory(run: Path, has_end: bool) -> None:
    with (run / "metrics.jsonl").open("ab") as log:
        log.truncate(log.tell() + (1 << 30))  # a hole of zeros
        log.seek(0, os.SEEK_END)
        log.write(b"\n" if has_end else b"")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from linly.errors import TrainingError\n"
        "from linly.monitor.history.follow import RunFollower\n"
        "from linly.runs.runs import RunFolder\n"
        "run = Path(sys.argv[1])\n"
        "from tests.support.peak_memory import peak_bytes\n"
        "before = peak_bytes()\n"
        "try:\n"
        "    print(len(list(RunFolder.open(run).read('metrics'))))\n"
        "except TrainingError as error:\n"
        "    print(error)\n"
        "print(RunFollower(run).look().problem)\n"
        "RunFolder.open(run).truncate(100)\n"
        "print(peak_bytes() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(run)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    first, problem, grown = done.stdout.splitlines()
    if has_end:
        assert "metrics.jsonl:111: longer than 16,777,216 bytes" in first
        assert problem == first
    else:
        assert (first, problem) == ("110", "")
    assert int(grown) < 8 * MAX_LINE_BYTES
    assert [r["step"] for r in RunFolder.open(run).read("metrics")] == list(range(1, 101))


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("thing", [os.mkfifo, Path.mkdir, device])
def test_a_log_that_is_not_a_regular_file_is_refused(
    run: Path, name: str, thing: Callable[[Path], None]
) -> None:
    (run / f"{name}.jsonl").unlink()
    thing(run / f"{name}.jsonl")
    assert_refused(run, f"{name}.jsonl: the log cannot be read")
    with pytest.raises(TrainingError, match="the log cannot be read"):
        RunFolder.open(run).truncate(100)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def no_bytes(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for position in range(len(data) // 4, len(data) // 4 + 400):
        data[position] ^= 0xFF
    path.write_bytes(data)


def other_types(path: Path) -> None:
    table = pq.read_table(path)
    texts = pa.array([str(step) for step in table["step"].to_pylist()])
    index = table.schema.names.index("step")
    pq.write_table(table.set_column(index, "step", texts), path)


def fewer_columns(path: Path) -> None:
    pq.write_table(pq.read_table(path, columns=["row"]), path)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage", [cut, no_bytes, zeros, flipped, other_types, fewer_columns, pipe, folder]
)
def test_a_torn_part_of_the_row_record_is_named(run: Path, damage: Callable[[Path], None]) -> None:
    part = RunFolder.open(run).row_parts()[0][2]
    damage(part)
    history = read_history(run)
    for read in (
        lambda: recount(history),
        lambda: rows_of_step(run, 5),
        lambda: RunFolder.open(run).truncate(50),
    ):
        with pytest.raises(TrainingError, match=rf"{part.name}: this part of the row record is"):
            read()


def test_an_evaluation_that_is_written_twice_is_read_once(run: Path) -> None:
    """Earlier versions evaluated twice when a source ran out at an evaluated step."""
    before = read_history(run)
    follower = RunFollower(run)
    follower.look()
    log = run / "evaluations.jsonl"
    *_, last = log.read_bytes().splitlines()
    again = orjson.loads(last)
    with log.open("ab") as file:
        file.write(orjson.dumps(again | {"time": again["time"] + 60}) + b"\n")
    read_all(run)
    for history in (read_history(run), follower.look().history):
        assert history is not None
        assert history.evaluations == before.evaluations
        (remark,) = (event.text for event in history.events if event.kind == "repeat")
        assert "the evaluation of step 110 twice" in remark
    again["sources"]["belle"]["loss"] += 1
    with log.open("ab") as file:
        file.write(orjson.dumps(again) + b"\n")
    assert_refused(run, "evaluations.jsonl:4: step 110 comes after step 110")
