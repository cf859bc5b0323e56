"""A lock that is held on the open file, and a holder that notices when its name is another's."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from linly.errors import TrainingError
from linly.records.row_record import RowRecord
from linly.records.span import Span
from linly.runs.locks import hold
from linly.runs.runs import RunFolder


def remove(lock: Path) -> None:
    lock.unlink()


def replace_by_a_file(lock: Path) -> None:
    (lock.parent / "other").write_text("{}")
    (lock.parent / "other").replace(lock)


def replace_by_a_copy(lock: Path) -> None:
    data = lock.read_bytes()
    lock.unlink()
    lock.write_bytes(data)


def replace_by_a_folder(lock: Path) -> None:
    lock.unlink()
    lock.mkdir()


def replace_by_a_link_to_itself(lock: Path) -> None:
    lock.rename(lock.with_name("moved"))
    lock.symlink_to("moved")


def replace_by_a_dangling_link(lock: Path) -> None:
    lock.unlink()
    lock.symlink_to("nowhere")


def replace_by_a_pipe(lock: Path) -> None:
    lock.unlink()
    os.mkfifo(lock)


def move_the_folder(lock: Path) -> None:
    lock.parent.rename(lock.parent.with_name("moved"))


def replace_the_folder(lock: Path) -> None:
    move_the_folder(lock)
    RunFolder.create_or_open(lock.parent)


REPLACEMENTS = [
    remove,
    replace_by_a_file,
    replace_by_a_copy,
    replace_by_a_folder,
    replace_by_a_link_to_itself,
    replace_by_a_dangling_link,
    replace_by_a_pipe,
    move_the_folder,
    replace_the_folder,
]


@pytest.mark.parametrize("replace", REPLACEMENTS)
def test_a_holder_whose_lock_file_is_replaced_is_told_so(
    tmp_path: Path, replace: Callable[[Path], None]
) -> None:
    lock = tmp_path / "run" / "lock"
    lock.parent.mkdir()
    with hold(lock, "run folder x") as held:
        held.check()
        replace(lock)
        with pytest.raises(
            TrainingError, match=r"^run folder x: .*was (moved or )?(removed|replaced) while .*"
        ):
            held.check()


@pytest.mark.parametrize(
    "replace", [replace_by_a_folder, replace_by_a_link_to_itself, replace_by_a_pipe]
)
def test_a_lock_that_is_no_regular_file_is_refused(
    tmp_path: Path, replace: Callable[[Path], None]
) -> None:
    """Without waiting, and without writing through a link."""
    lock = tmp_path / "lock"
    lock.write_text("kept")
    replace(lock)
    with pytest.raises(TrainingError, match=r"^x: its lock file .* regular file"), hold(lock, "x"):
        pass
    assert not (tmp_path / "moved").exists() or (tmp_path / "moved").read_text() == "kept"


def test_a_lock_removed_while_it_is_taken_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two could hold two files of one name."""
    lock, real = tmp_path / "lock", fcntl.flock
    removals = iter((True, False))

    def flock(descriptor: int, operation: int) -> None:
        real(descriptor, operation)
        if next(removals, False):
            lock.unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold(lock, "x") as held:
        held.check()


def test_the_lock_of_a_dead_process_on_another_host_is_taken_over(tmp_path: Path) -> None:
    """What the file says is news for errors; the lock itself went with the process."""
    lock = tmp_path / "lock"
    lock.write_bytes(orjson.dumps({"pid": 1, "host": "gone", "time": "2026-01-01", "token": "t"}))
    with hold(lock, "x") as held:
        assert orjson.loads(lock.read_bytes())["token"] == held.token


START = """
import sys, time
from pathlib import Path
from linly.errors import TrainingError
from linly.runs.runs import RunFolder
time.sleep(max(0, float(sys.argv[2]) - time.time()))
try:
    with RunFolder.create_or_open(Path(sys.argv[1])).lock():
        print("held", flush=True)
        sys.stdin.read()
except TrainingError as error:
    print("refused", flush=True)
"""


def test_of_starts_at_the_same_instant_one_holds_the_run(tmp_path: Path) -> None:
    command = [sys.executable, "-c", START, str(tmp_path / "run"), str(time.time() + 4)]
    pipe = subprocess.PIPE
    starts = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    said = [start.stdout.readline() if start.stdout else "" for start in starts]
    for start in starts:
        start.communicate("")
    assert sorted(said) == ["held\n", "refused\n", "refused\n", "refused\n"]


# -- what a trainer writes ---------------------------------------------------------------------


def row_of(step: int) -> RowRecord:
    return RowRecord(step, step, 0, 1, "wiki", 0, 8, 0, 1.5, (Span("a.jsonl", step, 0, 8),))


def everything_in(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_run_whose_lock_is_gone_is_not_written_to(tmp_path: Path) -> None:
    folder = RunFolder.create_or_open(tmp_path / "run")
    writes: list[Callable[[], object]] = [
        lambda: folder.append("metrics", {"step": 3}),
        lambda: folder.append("decisions", {"step": 3}),
        lambda: folder.write_rows([row_of(3)]),
        lambda: folder.truncate(1),
    ]
    with folder.lock():
        for step in (1, 2):
            folder.append("metrics", {"step": step})
            folder.write_rows([row_of(step)])
        (folder.path / "lock").unlink()
        before = everything_in(folder.path)
        for write in writes:
            with pytest.raises(TrainingError, match=r"lock was removed while process"):
                write()
    assert everything_in(folder.path) == before
