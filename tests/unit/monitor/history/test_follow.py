"""A run followed while it is written gives what a whole reading gives, and reads nothing twice."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from linly.errors import ConfigError
from linly.monitor.history.follow import LogTail, RunFollower
from linly.monitor.history.history import History, read_history
from tests.support.synthetic_run import SyntheticRun


def assert_same(one: History | None, other: History) -> None:
    assert one is not None
    for field in fields(History):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, np.ndarray):
            np.testing.assert_array_equal(mine, theirs, err_msg=field.name)
            assert mine.dtype == theirs.dtype
        elif field.name == "lines":
            np.testing.assert_equal(mine, theirs)
        else:
            assert mine == theirs, field.name


def followed(
    path: Path, *, num_steps: int, with_curriculum: bool = True
) -> tuple[SyntheticRun, RunFollower]:
    """A run that has taken some steps, and a follower that has looked at them."""
    run = SyntheticRun(path, with_curriculum=with_curriculum)
    run.start()
    run.train(1, num_steps)
    follower = RunFollower(path)
    follower.look()
    return run, follower


def test_looks_add_up_to_a_whole_reading(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run")
    follower = RunFollower(tmp_path / "run")
    assert follower.look().history is None
    run.start()
    versions = []
    for first in range(1, 500, 37):
        run.train(first, min(first + 36, 500))
        look = follower.look()
        versions.append(look.version)
        assert_same(look.history, read_history(tmp_path / "run"))
    assert versions == sorted(set(versions))
    assert follower.look().version == versions[-1]


def test_a_resume_that_cuts_the_logs_back_is_followed(tmp_path: Path) -> None:
    run, follower = followed(tmp_path / "run", num_steps=163)
    step = run.resume()
    assert step == 100
    assert_same(follower.look().history, read_history(tmp_path / "run"))
    run.train(step + 1, 240)  # longer than it was before the crash
    assert_same(follower.look().history, read_history(tmp_path / "run"))


def test_a_resume_between_two_looks_is_seen_though_the_log_grew(tmp_path: Path) -> None:
    run, follower = followed(tmp_path / "run", num_steps=163)
    step = run.resume()
    run.loss = lambda source, step: 2.5  # as after a change of the learning rate
    run.train(step + 1, 400)
    assert_same(follower.look().history, read_history(tmp_path / "run"))


def test_a_half_written_line_waits_for_its_end(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run")
    run.start()
    run.train(1, 20)
    log = tmp_path / "run" / "metrics.jsonl"
    whole = log.read_bytes()
    cut = len(whole) - 40
    log.write_bytes(whole[:cut])
    follower = RunFollower(tmp_path / "run")
    look = follower.look()
    assert look.history is not None and look.history.num_steps == 19
    with log.open("ab") as end:
        end.write(whole[cut:])
    look = follower.look()
    assert look.history is not None and look.history.num_steps == 20
    assert look.problem == ""


def test_a_damaged_line_is_told_and_the_last_good_state_stays(tmp_path: Path) -> None:
    _, follower = followed(tmp_path / "run", num_steps=20)
    log = tmp_path / "run" / "metrics.jsonl"
    good = log.read_bytes()
    log.write_bytes(good + b'{"step": 21, \x00\n')
    look = follower.look()
    assert "metrics.jsonl:21" in look.problem
    assert look.history is not None and look.history.num_steps == 20
    assert follower.look().version == look.version
    log.write_bytes(good)
    mended = follower.look()
    assert mended.problem == ""
    assert_same(mended.history, read_history(tmp_path / "run"))


def test_a_log_that_is_emptied_begins_anew(tmp_path: Path) -> None:
    _, follower = followed(tmp_path / "run", num_steps=20)
    (tmp_path / "run" / "metrics.jsonl").write_bytes(b"")
    assert follower.look().history is None


def test_a_source_that_appears_later_gets_its_column(tmp_path: Path) -> None:
    run, follower = followed(tmp_path / "run", num_steps=20, with_curriculum=False)
    run.rows["late"] = 3
    run.train(21, 25)
    look = follower.look()
    assert look.history is not None and "late" in look.history.sources
    assert_same(look.history, read_history(tmp_path / "run"))


def test_lines_that_were_read_are_not_read_again(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"step":1}\n{"step":2}\n')
    tail = LogTail(log)
    assert tail.added() == [{"step": 1}, {"step": 2}]
    damaged = bytearray(log.read_bytes())
    damaged[0:1] = b"?"  # only a reader that goes back would see it
    log.write_bytes(bytes(damaged) + b'{"step":3}\n')
    assert tail.added() == [{"step": 3}]
    assert tail.added() == []


def test_where_there_is_no_run_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run at"):
        RunFollower(tmp_path / "none")
