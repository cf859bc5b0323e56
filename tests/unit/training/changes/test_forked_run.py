"""linly fork: the same past under another name, and rows that are passed over."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linly.cli.main import main
from linly.config.recipe import load_recipe
from linly.curriculum.timeline import fold
from linly.runs.runs import RunFolder
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.commands import linly_ok
from tests.support.tiny_world import make_tiny_world

FAST = ("data.producers=0", "evaluation.max_documents=1", "evaluation.prompts=[]")
ROWS, STEPS = 8, 12


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=STEPS)
    return folder


@pytest.fixture(scope="module")
def whole(world: Path, alone: Processes) -> Path:
    """A run of 12 steps with checkpoints of every fourth; its row record has one part for each."""
    start(world, alone, "whole")
    return world / "runs" / "whole"


def start(world: Path, alone: Processes, name: str, *overrides: str) -> None:
    run = world / "runs" / name
    settings = [f"run={run}", "checkpoint.every=4", "checkpoint.keep_last=9", *FAST, *overrides]
    train(load_recipe(world / "recipe.yaml", settings), alone, resume_step=None)


def lines(run: Path, name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (run / f"{name}.jsonl").read_bytes().splitlines()]


def row_table(run: Path) -> list[dict[str, Any]]:
    parts = sorted((run / "rows").glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def order(run: Path) -> list[tuple[Any, ...]]:
    return [(row["row"], row["step"], row["source"], row["documents"]) for row in row_table(run)]


def losses(run: Path) -> list[float | None]:
    return [line["loss"] for line in lines(run, "metrics")]


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_a_fork_without_changes_is_the_original_run_again(
    whole: Path, world: Path, alone: Processes
) -> None:
    before = tree(whole)
    linly_ok("fork", whole, "--step", "4", "--run", world / "runs" / "same")
    run = world / "runs" / "same"
    assert order(run) == order(whole)[: 4 * ROWS]
    assert [line["step"] for line in lines(run, "metrics")] == [1, 2, 3, 4]
    start(world, alone, "same", "stop_at_step=9")
    start(world, alone, "same")
    assert row_table(run) == row_table(whole)
    assert losses(run) == losses(whole)
    assert tree(whole) == before
    linly_ok("report", run, "--recount")


def test_a_fork_says_where_it_comes_from(whole: Path, world: Path) -> None:
    run = world / "runs" / "named"
    linly_ok("fork", whole, "--step", "step-8", "--run", run)
    decisions = lines(run, "decisions")
    assert [line["kind"] for line in decisions] == ["start", "fork"]
    assert (decisions[1]["run"], decisions[1]["step"]) == (str(whole), 8)
    assert lines(run, "events")[-1]["text"] == f"forked from step 8 of {whole}"
    assert load_recipe(run / "recipe.yaml").run == run
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000008"]


def test_a_checkpoint_is_linked_not_copied_where_links_can_be_made(
    whole: Path, world: Path
) -> None:
    run = world / "runs" / "linked"
    linly_ok("fork", whole, "--step", "8", "--run", run)
    for path in (run / "checkpoints" / "step-00000008").iterdir():
        assert path.samefile(whole / "checkpoints" / "step-00000008" / path.name)
    assert not (run / "metrics.jsonl").samefile(whole / "metrics.jsonl")


def test_a_checkpoint_is_copied_where_no_link_can_be_made(
    whole: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As to another disk; a run that trains may be forked all the same."""

    def no_link(*paths: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", no_link)
    run, folder = world / "runs" / "copied", Path("checkpoints") / "step-00000008"
    with RunFolder.open(whole).lock():
        linly_ok("fork", whole, "--step", "8", "--run", run)
    assert tree(run / folder) == tree(whole / folder)
    assert not (run / folder / "state.json").samefile(whole / folder / "state.json")


def test_exactly_the_rows_of_skipped_steps_are_left_out(
    whole: Path, world: Path, alone: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every step keeps its number, its rows and its learning rate; it is counted as skipped."""
    run = world / "runs" / "skipping"
    linly_ok(
        "fork", whole, "--step", "4", "--run", run, "--skip-steps", "6-7", "--skip-steps", "11"
    )
    start(world, alone, "skipping", "stop_at_step=6")  # a resume within what is passed over
    start(world, alone, "skipping")
    assert order(run) == order(whole)
    rows, metrics = row_table(run), lines(run, "metrics")
    has_loss = {row["step"] for row in rows if row["loss"] is not None}
    assert set(range(1, STEPS + 1)) - has_loss == {6, 7, 11}
    assert {line["step"] for line in metrics if line["skipped"]} == {6, 7, 11}
    for rate in ("loss", "tokens_per_second", "data_wait_fraction"):  # nothing was computed there
        assert {line["step"] for line in metrics if line[rate] is None} == {6, 7, 11}
    assert [line["lr"] for line in metrics] == [line["lr"] for line in lines(whole, "metrics")]
    assert losses(run)[:5] == losses(whole)[:5]
    assert losses(run)[7:10] != losses(whole)[7:10]
    passed = [line["rows"] for line in lines(run, "events") if line["kind"] == "pass"]
    assert passed == [[first, first + ROWS - 1] for first in (5 * ROWS, 6 * ROWS, 10 * ROWS)]
    state = orjson.loads((run / "checkpoints" / "step-00000012" / "state.json").read_bytes())
    assert state["optimizer_steps"] == STEPS - 3
    assert state["guards"]["total"] == 0
    linly_ok("report", run, "--recount")
    capsys.readouterr()
    linly_ok("trace", run, "--spikes")
    assert capsys.readouterr().out.splitlines() == [
        "steps 6 to 7 skipped by the fork: rows 40 to 55 were consumed but not trained on",
        "step 11 skipped by the fork: rows 80 to 87 were consumed but not trained on",
        "no guard skipped a step and no loss jumped",
    ]
    linly_ok("trace", run, "--step", "6", "--top", "1")
    assert "skipped, no loss over 28 tokens" in capsys.readouterr().out


def test_a_fork_that_passes_steps_over_resumes_exactly(
    world: Path, whole: Path, alone: Processes
) -> None:
    run = world / "runs" / "skips"
    linly_ok("fork", whole, "--step", "4", "--run", run, "--skip-steps", "7-9")
    again = Path(shutil.copytree(run, world / "runs" / "skips-again"))
    start(world, alone, "skips")
    start(world, alone, "skips-again", "stop_at_step=8")
    start(world, alone, "skips-again")
    assert row_table(again) == row_table(run)
    assert losses(again) == losses(run)


def test_a_fork_may_have_another_future(whole: Path, world: Path, alone: Processes) -> None:
    file = world / "reversed.yaml"
    text = (world / "curriculum.yaml").read_text()
    file.write_text(text.replace("from: 80%, to: 20%", "from: 20%, to: 80%"))
    run = world / "runs" / "other"
    linly_ok("fork", whole, "--step", "4", "--run", run, "--curriculum", file)
    timeline = fold(RunFolder.open(run).read("decisions"))
    assert [phase.from_row for phase in timeline.phases] == [0, 4 * ROWS]
    assert [line["kind"] for line in lines(run, "decisions")] == ["start", "fork", "amend"]
    start(world, alone, "other")
    assert order(run)[: 4 * ROWS] == order(whole)[: 4 * ROWS]
    english = [row[2] == "english" for row in order(run)]
    assert sum(english[8 * ROWS :]) > sum(english[4 * ROWS : 8 * ROWS])
    assert lines(whole, "decisions")[-1]["kind"] == "start"


def test_steps_that_are_skipped_are_those_of_the_forks_own_curriculum(
    whole: Path, tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which may be longer or shorter than the one before."""
    text, now = (world / "curriculum.yaml").read_text(), f"tokens: {STEPS * ROWS * 32}"
    file, run = tmp_path / "other.yaml", tmp_path / "other"
    words = ["fork", str(whole), "--step", "8", "--run", str(run), "--curriculum", str(file)]
    file.write_text(text.replace(now, f"tokens: {10 * ROWS * 32}"))
    with pytest.raises(SystemExit) as left:
        main([*words, "--skip-steps", "9-11"])
    assert left.value.code == 1
    assert "allowed: A-B with 9 <= A <= B <= 10" in capsys.readouterr().err
    assert not run.exists()
    file.write_text(text.replace(now, f"tokens: {16 * ROWS * 32}"))
    linly_ok(*words, "--skip-steps", "13-16")
    assert lines(run, "decisions")[1]["skip_steps"] == [[13, 16]]


def test_a_fork_of_a_run_in_the_middle_of_a_part_of_its_row_record(
    whole: Path, world: Path
) -> None:
    """As after a run that wrote its rows in other steps than its checkpoints."""
    odd = Path(shutil.copytree(whole, world / "runs" / "odd"))
    folder = RunFolder.open(odd)
    tables = list(folder.read_rows())
    for _, _, path in folder.row_parts():
        path.unlink()
    pq.write_table(pa.concat_tables(tables), odd / "rows" / "step-00000001-00000012.parquet")
    linly_ok("fork", odd, "--step", "8", "--run", world / "runs" / "from-odd")
    assert order(world / "runs" / "from-odd") == order(whole)[: 8 * ROWS]
    assert len(order(odd)) == STEPS * ROWS


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--step", "5"], "step-00000005 was requested; found step-00000012"),
        (["--step", "4", "--skip-steps", "4-6"], "allowed: A-B with 5 <= A <= B <= 12"),
        (["--step", "4", "--skip-steps", "9-7"], "allowed: A-B with 5 <= A <= B <= 12"),
        (["--step", "4", "--skip-steps", "9-13"], "allowed: A-B with 5 <= A <= B <= 12"),
        (["--step", "4", "--skip-steps", "nine"], "found 'nine', allowed: A-B"),
        (
            ["--step", "4", "--curriculum", "SAME"],
            "curriculum curriculum: the future rows already follow it",
        ),
        (["--step", "four"], "write step-N"),
    ],
)
def test_a_fork_that_cannot_be_leaves_nothing_behind(
    whole: Path, world: Path, capsys: pytest.CaptureFixture[str], words: list[str], found: str
) -> None:
    before = sorted((world / "runs").iterdir())
    words = [word.replace("SAME", str(world / "curriculum.yaml")) for word in words]
    with pytest.raises(SystemExit) as left:
        main(["fork", str(whole), "--run", str(world / "runs" / "none"), *words])
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert found in said and ".fork" not in said  # the folder that it was made in is gone
    assert sorted((world / "runs").iterdir()) == before


def test_a_fork_never_goes_into_a_folder_that_holds_something(
    whole: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = world / "runs" / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit):
        main(["fork", str(whole), "--step", "4", "--run", str(taken)])
    assert "exists and is not an empty folder" in capsys.readouterr().err
    assert tree(taken).keys() == {"mine.txt"}


def test_a_fork_never_lies_inside_another_run(
    whole: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(whole)
    before = tree(whole)
    for place in (whole / "sub", whole / "checkpoints" / "sub", tmp_path / "link" / "sub"):
        with pytest.raises(SystemExit) as left:
            main(["fork", str(whole), "--step", "4", "--run", str(place)])
        assert left.value.code == 1
        assert f"--run {place}: is inside the folder of a run, {whole}; " in (
            capsys.readouterr().err
        )
    assert tree(whole) == before
