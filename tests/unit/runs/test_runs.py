"""The run folder keeps what was written, whatever happens to its writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orjson
import pytest

from linly.errors import ConfigError, TrainingError
from linly.records.row_record import RowRecord
from linly.records.span import Span
from linly.runs import locks
from linly.runs.runs import LOGS, RunFolder


def row_record(row: int, step: int, *, source: str = "wiki", loss: float | None = 1.5) -> RowRecord:
    pieces = (Span("a.jsonl", row, 0, 60), Span("b.jsonl", row, 5, 9))
    return RowRecord(row, step, row % 2, 2, source, 0, 62, 2, loss, pieces)


def rows_of(first: int, last: int, rows_per_step: int = 4) -> list[RowRecord]:
    return [
        row_record((step - 1) * rows_per_step + i, step)
        for step in range(first, last + 1)
        for i in range(rows_per_step)
    ]


def recorded_steps(folder: RunFolder) -> list[int]:
    return [step for table in folder.read_rows() for step in table["step"].to_pylist()]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create_or_open(tmp_path / "runs" / "one")


# -- opening -----------------------------------------------------------------------------------


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("")
    with pytest.raises(ConfigError, match=r"one.*run=PATH"):
        RunFolder.create_or_open(tmp_path / "one")


def test_a_new_run_never_lies_inside_another_one(folder: RunFolder, tmp_path: Path) -> None:
    for place in (folder.path / "two", folder.checkpoints / "deep" / "two"):
        with pytest.raises(ConfigError, match=r"two: is inside .* another run, .*/runs/one"):
            RunFolder.create_or_open(place)
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "checkpoints",
        "lock",
        "rows",
    ]
    RunFolder.create_or_open(tmp_path / "runs" / "two")


def test_a_run_that_lies_inside_another_one_already_goes_on(tmp_path: Path) -> None:
    apart = RunFolder.create_or_open(tmp_path / "inner")
    RunFolder.create_or_open(tmp_path / "outer")
    inner = RunFolder(apart.path.rename(tmp_path / "outer" / "inner"))
    assert RunFolder.create_or_open(inner.path).path == inner.path


@pytest.mark.parametrize(
    "names", [["model/"], ["recipe.yaml"], ["rows/", "checkpoints/", "model/"], ["lock", "data/"]]
)
def test_a_folder_that_holds_no_run_is_refused_and_left_as_it_is(
    tmp_path: Path, names: list[str]
) -> None:
    place = tmp_path / "mine"
    for name in names:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).mkdir() if name.endswith("/") else (place / name).write_text("mine")
    before = {path.name: path.stat().st_mtime_ns for path in place.iterdir()}
    with pytest.raises(ConfigError, match=rf"mine: is not a run.* {names[-1]}, which .*run=PATH"):
        RunFolder.create_or_open(place)
    assert {path.name: path.stat().st_mtime_ns for path in place.iterdir()} == before


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["lock"],
        ["lock", "rows/"],
        ["lock", "rows/", "checkpoints/"],  # a start killed at any moment up to here
        ["lock", "rows/", "checkpoints/", "model/", "shards/"],  # or after
        ["decisions.jsonl", "recipe.yaml", "checkpoints/"],  # a copy of a run
        ["slurm-12.out", "train.log", "logs/", ".nfs01"],  # of what starts the run
    ],
)
def test_a_folder_that_holds_a_run_or_nothing_of_worth_is_taken(
    tmp_path: Path, names: list[str]
) -> None:
    place = tmp_path / "run"
    place.mkdir()
    for name in names:
        (place / name).mkdir() if name.endswith("/") else (place / name).write_text("")
    run = RunFolder.create_or_open(place)
    assert run.rows.is_dir() and run.checkpoints.is_dir()
    assert RunFolder.create_or_open(place).path == place


def test_reading_a_run_that_is_not_there_names_those_that_are(
    folder: RunFolder, tmp_path: Path
) -> None:
    folder.append("metrics", {"step": 1})
    with pytest.raises(ConfigError, match=r"two: it has neither.*: .*runs/one$"):
        RunFolder.open(tmp_path / "runs" / "two")
    assert not (tmp_path / "runs" / "two").exists()


# -- logs --------------------------------------------------------------------------------------


def test_a_log_gives_back_what_was_appended(folder: RunFolder) -> None:
    hostile = "</script><img onerror=alert(1)>\n\u2028中文\r\x00"
    folder.append("events", {"step": 3, "text": hostile, "loss": float("nan")})
    folder.append("events", {"step": 4, "loss": np.float32(0.5), "rows": np.int64(7)})
    assert list(folder.read("events")) == [
        {"step": 3, "text": hostile, "loss": None},
        {"step": 4, "loss": 0.5, "rows": 7},
    ]
    assert list(folder.read("metrics")) == []


def test_a_name_that_is_not_utf8_can_be_written(folder: RunFolder) -> None:
    folder.append("quarantine", {"step": 1, "row": 2, "shard": os.fsdecode(b"\xff.jsonl")})
    (record,) = folder.read("quarantine")
    assert record["shard"] == "\\udcff.jsonl"


def test_a_half_written_last_line_is_not_read_and_not_glued_to_the_next(folder: RunFolder) -> None:
    for step in (1, 2):
        folder.append("metrics", {"step": step, "loss": 1.0})
    folder.close()
    log = folder.path / "metrics.jsonl"
    whole = log.read_bytes()
    second = whole.index(b"\n") + 1
    for length in range(second, len(whole)):
        log.write_bytes(whole[:length])
        assert [r["step"] for r in folder.read("metrics")] == [1]
        again = RunFolder.create_or_open(folder.path)
        again.append("metrics", {"step": 2, "loss": 1.0})
        again.close()
        assert log.read_bytes() == whole


def test_a_long_half_written_line_is_cut(folder: RunFolder) -> None:
    log = folder.path / "samples.jsonl"
    log.write_bytes(b'{"step":1}\n' + b"x" * 300_000)
    folder.append("samples", {"step": 2})
    assert log.read_bytes() == b'{"step":1}\n{"step":2}\n'


def test_a_damaged_line_within_a_log_is_an_error_that_names_it(folder: RunFolder) -> None:
    (folder.path / "metrics.jsonl").write_bytes(b'{"step":1}\n{"step"\n{"step":3}\n')
    with pytest.raises(TrainingError, match=r"metrics\.jsonl:2: not JSON"):
        list(folder.read("metrics"))


def test_every_line_is_one_write(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: written.append(data) or write(fd, data))
    folder.append("metrics", {"step": 1, "text": "x" * 100_000})
    assert len(written) == 1
    assert written[0].endswith(b"\n")


def test_a_full_disk_leaves_the_log_as_it_was(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.append("metrics", {"step": 1})
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))
    with pytest.raises(TrainingError, match=r"only 5 of 11 bytes.*disk full"):
        folder.append("metrics", {"step": 2})
    monkeypatch.undo()
    assert (folder.path / "metrics.jsonl").read_bytes() == b'{"step":1}\n'


# -- row record --------------------------------------------------------------------------------


def test_rows_read_back_as_written(folder: RunFolder) -> None:
    folder.write_rows([row_record(0, 1), row_record(1, 1, source="csl", loss=None)])
    (table,) = folder.read_rows()
    assert table.to_pylist()[1] == {
        "row": 1,
        "step": 1,
        "rank": 1,
        "world_size": 2,
        "source": "csl",
        "epoch": 0,
        "supervised_tokens": 62,
        "padding": 2,
        "loss": None,
        "documents": [
            {"shard": "a.jsonl", "record": 1, "start": 0, "end": 60},
            {"shard": "b.jsonl", "record": 1, "start": 5, "end": 9},
        ],
    }
    assert [p.name for p in folder.rows.iterdir()] == ["step-00000001-00000001.parquet"]


def test_no_rows_make_no_part(folder: RunFolder) -> None:
    folder.write_rows([])
    assert list(folder.rows.iterdir()) == []


def test_steps_cannot_be_written_twice(folder: RunFolder) -> None:
    folder.write_rows(rows_of(1, 5))
    with pytest.raises(AssertionError, match="5-6 are written already"):
        folder.write_rows(rows_of(5, 6))


# -- truncation --------------------------------------------------------------------------------


def write_steps(folder: RunFolder, first: int, last: int, part: int) -> None:
    for step in range(first, last + 1):
        for name in LOGS:
            if name != "quarantine" or step % 3 == 0:
                folder.append(name, {"step": step, "row": step * 4, "text": f"步 {step}"})
        if (step - first + 1) % part == 0 or step == last:
            start = first + (step - first) // part * part
            folder.write_rows(rows_of(start, step))
            folder.fsync()


@pytest.mark.parametrize("step", [0, 1, 6, 7, 10, 13, 20, 99])
def test_after_truncation_and_the_same_steps_again_a_run_is_as_if_undisturbed(
    tmp_path: Path, step: int
) -> None:
    disturbed = RunFolder.create_or_open(tmp_path / "disturbed")
    write_steps(disturbed, 1, 20, part=7)
    with (disturbed.path / "metrics.jsonl").open("ab") as log:
        log.write(b'{"step": 21, "los')
    disturbed.truncate(step)
    reached = min(step, 20)
    for name in LOGS:
        kept = [record["step"] for record in disturbed.read(name)]
        assert kept == [
            s
            for s in range(1, 21)
            if (s <= reached or name == "decisions") and (name != "quarantine" or s % 3 == 0)
        ]
    assert recorded_steps(disturbed) == [s for s in range(1, reached + 1) for _ in range(4)]

    write_steps(disturbed, reached + 1, 20, part=7)
    undisturbed = RunFolder.create_or_open(tmp_path / "undisturbed")
    write_steps(undisturbed, 1, 20, part=7)
    for name in LOGS:
        if name != "decisions":
            ours = (disturbed.path / f"{name}.jsonl").read_bytes()
            assert ours == (undisturbed.path / f"{name}.jsonl").read_bytes()
    assert recorded_steps(disturbed) == recorded_steps(undisturbed)


def test_an_evaluation_that_is_made_again_is_forgotten(folder: RunFolder) -> None:
    """A SIGTERM saves at a step before its evaluation; the next start makes that."""
    for step in (0, 10, 20):
        for name in LOGS:
            folder.append(name, {"step": step})
    folder.truncate(20, evaluated_step=10)
    for name in LOGS:
        kept = [record["step"] for record in folder.read(name)]
        assert kept == ([0, 10] if name in ("evaluations", "samples") else [0, 10, 20])


def test_truncation_keeps_late_lines_of_early_steps(folder: RunFolder) -> None:
    for step in (1, 5, 3, 6):
        folder.append("events", {"step": step})
    folder.truncate(4)
    assert [r["step"] for r in folder.read("events")] == [1, 3]


def test_a_crash_between_shortening_a_part_and_removing_it_counts_no_row_twice(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_rows(rows_of(1, 10))

    def crash(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", crash)
    with pytest.raises(KeyboardInterrupt):
        folder.truncate(4)
    monkeypatch.undo()
    assert len(list(folder.rows.iterdir())) == 2
    assert recorded_steps(folder) == [s for s in range(1, 5) for _ in range(4)]
    folder.truncate(3)
    assert recorded_steps(folder) == [s for s in range(1, 4) for _ in range(4)]
    assert [p.name for p in folder.rows.iterdir()] == ["step-00000001-00000003.parquet"]


def test_a_torn_leftover_in_the_row_folder_is_ignored(folder: RunFolder) -> None:
    folder.write_rows(rows_of(1, 2))
    (folder.rows / ".step-00000003-00000004.parquet.tmp").write_bytes(b"PAR1 half")
    assert recorded_steps(folder) == [s for s in (1, 2) for _ in range(4)]


WRITER = """
import sys
from pathlib import Path
from linly.records.row_record import RowRecord
from linly.runs.runs import RunFolder
folder = RunFolder.create_or_open(Path(sys.argv[1]))
step = 0
while True:
    step += 1
    folder.append("metrics", {"step": step, "text": "x" * 5000})
    folder.append("events", {"step": step})
    if step % 10 == 0:
        folder.write_rows([
            RowRecord(s, s, 0, 1, "wiki", 0, 10, 0, 1.0, ()) for s in range(step - 9, step + 1)
        ])
        folder.fsync()
    if step == 10:
        print("ready", flush=True)
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.013, 0.05])
def test_a_writer_killed_between_writes_leaves_a_folder_that_reads_and_goes_back(
    tmp_path: Path, delay_s: float
) -> None:
    path = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(delay_s)
        writer.send_signal(signal.SIGKILL)
    folder = RunFolder.create_or_open(path)
    metrics = [record["step"] for record in folder.read("metrics")]
    steps = recorded_steps(folder)
    assert metrics == list(range(1, len(metrics) + 1))
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) % 10 == 0
    assert len(metrics) >= len(steps) >= 10
    folder.truncate(len(steps))
    for name in ("metrics", "events"):
        assert [record["step"] for record in folder.read(name)] == steps


# -- lock --------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from linly.runs.runs import RunFolder
with RunFolder.create_or_open(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def hold(path: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_start_is_refused_and_told_who_runs(folder: RunFolder) -> None:
    holder = hold(folder.path)
    try:
        started = time.monotonic()
        with (
            pytest.raises(TrainingError, match=rf"process {holder.pid} on host .* since 20"),
            folder.lock(),
        ):
            pass
        assert time.monotonic() - started < 5
    finally:
        holder.kill()
        holder.communicate()


def test_the_lock_of_a_killed_process_is_taken_over(folder: RunFolder) -> None:
    holder = hold(folder.path)
    holder.kill()
    holder.communicate()
    stale = orjson.loads((folder.path / "lock").read_bytes())
    assert stale["pid"] == holder.pid
    with folder.lock():
        assert orjson.loads((folder.path / "lock").read_bytes())["pid"] == os.getpid()


ORPHAN = """
import os, sys, time
from pathlib import Path
from linly.runs.runs import RunFolder
with RunFolder.create_or_open(Path(sys.argv[1])).lock():
    if os.fork() == 0:
        os.close(1)
        time.sleep(float(sys.argv[2]))
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def test_an_orphan_that_outlives_its_killed_parent_for_a_moment_is_waited_for(
    folder: RunFolder,
) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(folder.path), "1.0"], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "held\n"
    parent.kill()
    parent.communicate()
    with folder.lock():
        pass


def test_an_orphan_that_stays_is_an_error(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE_S", 0.2)
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(folder.path), "3.0"], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "held\n"
    parent.kill()
    parent.communicate()
    with pytest.raises(TrainingError, match=f"process {parent.pid}"), folder.lock():
        pass


def test_a_released_lock_is_free(folder: RunFolder) -> None:
    with folder.lock():
        pass
    with folder.lock():
        pass


def test_a_rank_that_sees_another_folder_is_told_so(folder: RunFolder, tmp_path: Path) -> None:
    other = RunFolder.create_or_open(tmp_path / "other-disk")
    with folder.lock() as token:
        RunFolder.create_or_open(folder.path).check_token(token)
        with pytest.raises(TrainingError, match=r"does not see the run folder.*other-disk"):
            other.check_token(token, timeout_s=0.2)
