"""linly amend: history and cursors are kept, and what follows is a pure function of the log."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from linly.cli.main import main
from linly.config.curriculum import Curriculum
from linly.config.recipe import load_recipe
from linly.curriculum.drift import count_rows
from linly.curriculum.timeline import Timeline, fold
from linly.data.mixing.stream_plan import make_mixer, stream_plan
from linly.errors import CheckpointError, ConfigError
from linly.runs.runs import RunFolder
from linly.training.changes.amendment import without_source
from linly.training.changes.pinned_inputs import read_later_lists, read_shards
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.commands import linly_ok
from tests.support.tiny_world import make_tiny_world

FAST = ("data.producers=0", "evaluation.max_documents=1", "evaluation.prompts=[]")
ROWS = 8

FLATTER = """\
tokens: {tokens}
mixture:
  english: {{ratio: {{curve: linear, from: 60%, to: 10%}}, sources: {{english: 100%}}}}
  tuned: {{ratio: 10%, sources: {{tuned: 75%, more: {{corpus: tuned, share: 25%}}}}}}
  chinese: {{ratio: rest, sources: {{chinese: 60%, songs: 40%}}}}
"""

SONGS = "language: zh\nkind: text\npaths: ['songs/*.jsonl']\nheld_out: 20%\n"


class Killed(Exception):
    """The process ends here."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny world of 12 steps, with a corpus that its curriculum does not use."""
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=12)
    (folder / "corpora" / "songs.yaml").write_text(SONGS)
    (folder / "data" / "songs").mkdir()
    texts = [{"text": f"大小红房子 {index} 看见"} for index in range(200)]
    write(folder / "data" / "songs" / "0.jsonl", texts)
    (folder / "flatter.yaml").write_text(FLATTER.format(tokens=12 * ROWS * 32))
    return folder


@pytest.fixture(scope="module")
def stopped(world: Path, alone: Processes) -> Path:
    """A run with checkpoints of steps 3 and 6."""
    start(world, alone, "stopped", "stop_at_step=6")
    return world / "runs" / "stopped"


@pytest.fixture(scope="module")
def amended(stopped: Path, world: Path, alone: Processes) -> Path:
    """Amended at step 6 by a file with two new sources, and at step 9 without one of them."""
    run = copy(stopped, "amended")
    linly_ok("amend", run, world / "flatter.yaml")
    start(world, alone, "amended", "stop_at_step=9")
    linly_ok("amend", run, "--drop", "songs")
    start(world, alone, "amended")
    return run


def write(path: Path, records: list[dict[str, str]]) -> None:
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))


def start(
    world: Path, alone: Processes, name: str, *overrides: str, step: int | None = None
) -> None:
    run = world / "runs" / name
    settings = [f"run={run}", "checkpoint.every=3", "checkpoint.keep_last=9", *FAST, *overrides]
    train(load_recipe(world / "recipe.yaml", settings), alone, resume_step=step)


def copy(run: Path, name: str) -> Path:
    return Path(shutil.copytree(run, run.parent / name))


def lines(run: Path, name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (run / f"{name}.jsonl").read_bytes().splitlines()]


def trained(run: Path) -> list[tuple[Any, ...]]:
    """(source, epoch, documents) of every row of the row record."""
    tables = (pq.read_table(part) for part in sorted((run / "rows").glob("*.parquet")))
    rows = [row for table in tables for row in table.to_pylist()]
    assert [row["row"] for row in rows] == list(range(len(rows)))
    return [
        (
            row["source"],
            row["epoch"],
            [(d["shard"], d["record"], d["start"], d["end"]) for d in row["documents"]],
        )
        for row in rows
    ]


def timeline_of(run: Path) -> Timeline:
    return fold(RunFolder.open(run).read("decisions"))


def replay(run: Path, timeline: Timeline | None = None) -> list[tuple[Any, ...]]:
    """The same of a stream from its first row on, made of what the run has fixed and decided."""
    folder, timeline = RunFolder.open(run), timeline or timeline_of(run)
    shards, later = read_shards(folder, timeline.sources), read_later_lists(folder, timeline)
    recipe = load_recipe(run / "recipe.yaml")
    plan = stream_plan(recipe, run / "model", shards, timeline, later)
    return [
        (
            mixed.row.source,
            mixed.row.epoch,
            [(p.shard, p.record, p.start, p.end) for p in mixed.row.spans],
        )
        for mixed in make_mixer(plan, plan.new_state())
    ]


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def crashed(run: Path, name: str, step: int) -> Path:
    """A copy of a run as if it had died before it saved any checkpoint after a step."""
    left = copy(run, name)
    for folder in (left / "checkpoints").iterdir():
        if int(folder.name.removeprefix("step-")) > step:
            shutil.rmtree(folder)
    return left


def test_the_order_after_amendments_is_a_replay_from_scratch(amended: Path) -> None:
    rows = trained(amended)
    assert len(rows) == 12 * ROWS
    assert [s.from_row for s in timeline_of(amended).phases] == [0, 6 * ROWS, 9 * ROWS]
    assert rows == replay(amended)
    assert "songs" in {row[0] for row in rows[6 * ROWS : 9 * ROWS]}
    assert {"chinese", "english", "more"} == {row[0] for row in rows[9 * ROWS :]} - {"tuned"}


def test_an_amendment_leaves_history_and_cursors_alone(amended: Path, stopped: Path) -> None:
    """Each source goes on with the very rows that it would have made."""
    rows, plain = trained(amended), replay(stopped)
    assert rows[: 6 * ROWS] == plain[: 6 * ROWS] == trained(stopped)
    for source in ("chinese", "english", "tuned"):
        mine = [row for row in rows if row[0] == source]
        others = [row for row in plain if row[0] == source]
        common = min(len(mine), len(others))
        assert common > 5
        assert mine[:common] == others[:common]
    before = tree(stopped / "checkpoints" / "step-00000006")
    assert tree(amended / "checkpoints" / "step-00000006") == before


def test_every_source_keeps_the_bound_within_each_phase(amended: Path) -> None:
    timeline = timeline_of(amended)
    order = [source for source, _, _ in trained(amended)]
    starts = [phase.from_row for phase in timeline.phases]
    for phase, end in zip(timeline.phases, [*starts[1:], len(order)], strict=True):
        rows = order[phase.from_row : end]
        counted = count_rows(phase, rows, first_row=phase.from_row, made={}, made_before_phase={})
        assert np.abs(counted.drift).max() < 1
    metrics = lines(amended, "metrics")
    for line in metrics:
        for source, distance in line["drift_rows_by_source"].items():
            assert abs(distance) < 1
            planned = line["planned_rows_by_source"][source]
            assert abs(line["rows_by_source"][source] - planned) < 1
    assert metrics[8]["rows_by_source"]["songs"] == metrics[-1]["rows_by_source"]["songs"] > 0


def test_a_run_that_died_after_amendments_resumes_exactly(
    amended: Path, world: Path, alone: Processes
) -> None:
    left = crashed(amended, "died", 9)
    start(world, alone, "died")
    assert trained(left) == trained(amended)
    assert [line["loss"] for line in lines(left, "metrics")] == [
        line["loss"] for line in lines(amended, "metrics")
    ]


def test_going_back_to_before_an_amendment_undoes_it(
    amended: Path, world: Path, alone: Processes
) -> None:
    """Those made before that step still hold."""
    run = copy(amended, "back")
    start(world, alone, "back", step=6)
    timeline = fold(lines(amended, "decisions"), step=6)
    assert [phase.from_row for phase in timeline.phases] == [0, 6 * ROWS]
    assert trained(run) == replay(run, timeline)
    assert "songs" in {row[0] for row in trained(run)[9 * ROWS :]}
    notices = [line["text"] for line in lines(run, "events") if line["kind"] == "notice"]
    assert "the amendment made at step 9 no longer applies" in notices


def test_a_torn_checkpoint_does_not_undo_an_amendment_in_silence(
    stopped: Path, world: Path, alone: Processes
) -> None:
    run = copy(stopped, "torn")
    linly_ok("amend", run, world / "flatter.yaml")
    (run / "checkpoints" / "step-00000006" / "state.json").write_bytes(b"{}")
    with pytest.raises(CheckpointError, match=r"amended at step 6.*of step 3.*--resume step-3"):
        start(world, alone, "torn")
    start(world, alone, "torn", "stop_at_step=4", step=3)
    assert timeline_of(run).curricula[-1].name == "curriculum"


def test_an_amendment_names_the_torn_checkpoints_that_it_passes_by(
    stopped: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy(stopped, "passed-by")
    (run / "checkpoints" / "step-00000006" / "state.json").write_bytes(b"{}")
    linly_ok("amend", run, world / "flatter.yaml", "--dry-run")
    shown = capsys.readouterr().out
    assert "step-00000006 is incomplete; the run resumes from step 3" in shown
    assert "from step 3 (row 24) on" in shown


@pytest.mark.parametrize(
    ("reached", "is_amended"),
    [
        ("linly.training.changes.amendment.write_source", False),
        ("linly.runs.runs.RunFolder.append", False),
        ("linly.runs.runs.RunFolder.fsync", True),
        ("linly.training.changes.amendment.write_recipe", True),
    ],
)
def test_an_amendment_that_was_interrupted_holds_wholly_or_not_at_all(
    stopped: Path,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reached: str,
    is_amended: bool,
) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "stopped"))

    def stop(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(reached, stop)
        main(["amend", str(run), str(world / "flatter.yaml")])
    assert (timeline_of(run).curriculum.name == "flatter") is is_amended
    if not is_amended:
        assert replay(run) == replay(stopped)
        linly_ok("amend", run, world / "flatter.yaml")
    amended = copy(stopped, f"{tmp_path.name}-amended")
    linly_ok("amend", amended, world / "flatter.yaml")
    assert replay(run) == replay(amended)


def test_counters_agree_with_a_recount_after_amendments(amended: Path) -> None:
    linly_ok("report", amended, "--recount")


def test_the_run_folder_shows_the_curriculum_in_force(amended: Path, world: Path) -> None:
    assert "songs" not in (amended / "curriculum.yaml").read_text()
    assert "more" in (amended / "curriculum.yaml").read_text()
    assert (amended / "shards" / "songs.jsonl").stat().st_size > 0
    assert len((amended / "held_out" / "songs.jsonl").read_bytes().splitlines()) == 1
    kinds = [line["kind"] for line in lines(amended, "decisions")]
    assert kinds == ["start", "amend", "resume", "amend", "resume"]


def test_the_recipe_may_say_the_old_curriculum_or_the_new_one(
    stopped: Path, world: Path, alone: Processes, tmp_path: Path
) -> None:
    run = copy(stopped, "either")
    linly_ok("amend", run, world / "flatter.yaml")
    start(world, alone, "either", "stop_at_step=7", f"curriculum={world}/flatter.yaml")
    start(world, alone, "either", "stop_at_step=8")
    assert trained(run) == replay(run)[: 8 * ROWS]
    third = tmp_path / "third.yaml"
    third.write_text((world / "flatter.yaml").read_text().replace("60%, to", "50%, to"))
    with pytest.raises(ConfigError, match=r"points\.0%: 60% -> 50%\n.*linly amend RUN CURRICULUM"):
        start(world, alone, "either", f"curriculum={third}")


def test_the_order_of_sources_in_a_file_is_no_change(
    stopped: Path, world: Path, alone: Processes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, *groups = (world / "curriculum.yaml").read_text().split("\n  ")
    turned = tmp_path / "turned.yaml"
    turned.write_text("\n  ".join([head, *(group.rstrip() for group in reversed(groups))]) + "\n")
    run = copy(stopped, "turned")
    with pytest.raises(SystemExit):
        main(["amend", str(run), str(turned)])
    assert "nothing needs amending" in capsys.readouterr().err
    start(world, alone, "turned", "stop_at_step=8", f"curriculum={turned}")
    assert trained(run) == replay(stopped)[: 8 * ROWS]


def mixed(shares: dict[str, str], *, guard: str = "") -> Curriculum:
    ratio = {"curve": "linear", "from": "60%", "to": "10%"}
    if guard:
        ratio |= {"guard": {"source": guard, "max_rise": "2%", "cap": "90%"}}
    mixture = {
        "english": {"ratio": ratio, "sources": shares},
        "chinese": {"ratio": "rest", "sources": {"chinese": "100%"}},
    }
    return Curriculum.model_validate({"name": "mixed", "tokens": "1M", "mixture": mixture})


def shares_of(curriculum: Curriculum) -> list[float]:
    return [share.share for share in curriculum.mixture["english"].sources.values()]


@pytest.mark.parametrize("percent", range(1, 100))
def test_shares_add_up_whatever_is_dropped(percent: int) -> None:
    """Two sources, then three of which one or two go; a share keeps the digits that it needs."""
    rest = 100 - percent
    pair = mixed({"a": f"{percent}%", "b": f"{rest}%"})
    assert shares_of(without_source(pair, "a")) == shares_of(without_source(pair, "b")) == [1.0]
    three = {"a": f"{percent}%", "b": f"{rest / 4}%", "c": f"{rest * 3 / 4}%"}
    assert shares_of(without_source(mixed(three), "a")) == [0.25, 0.75]
    for dropped, other in (("b", "c"), ("c", "b")):
        left = without_source(mixed(three), dropped)
        assert sum(shares_of(left)) == pytest.approx(1, abs=1e-12)
        assert shares_of(without_source(left, "a")) == shares_of(without_source(left, other))


def test_what_a_guard_watches_is_not_dropped() -> None:
    curriculum = mixed({"a": "20%", "b": "80%"}, guard="a")
    says = r"'a' is watched by the guard of group 'english' .*mixture\.english\.ratio\.guard"
    with pytest.raises(ConfigError, match=says):
        without_source(curriculum, "a")
    assert shares_of(without_source(curriculum, "b")) == [1.0]


def test_a_longer_run_counts_positions_from_its_start(
    stopped: Path, world: Path, alone: Processes, tmp_path: Path
) -> None:
    """A finished run goes on: half-way through 20 steps the curve has come half its way."""
    text = (world / "curriculum.yaml").read_text()
    longer = tmp_path / "longer.yaml"
    longer.write_text(text.replace(f"tokens: {12 * ROWS * 32}", f"tokens: {20 * ROWS * 32}"))
    run = copy(stopped, "longer")
    linly_ok("amend", run, longer)
    start(world, alone, "longer", "stop_at_step=10")
    mixture = timeline_of(run).phases[-1].mixture
    assert mixture.share("english", 10 * ROWS) == pytest.approx(0.5)
    assert lines(run, "metrics")[-1]["target_share_by_source"]["english"] == pytest.approx(
        mixture.shares(range(9 * ROWS, 10 * ROWS))[:, 1].mean()
    )
    assert trained(run) == replay(run)[: 10 * ROWS]
    assert len(replay(run)) == 20 * ROWS


def test_editing_the_file_during_a_run_has_no_effect(
    world: Path, alone: Processes, tmp_path: Path
) -> None:
    """What was read at the start counts; the edit is met at the next start, and refused."""
    folder = Path(shutil.copytree(world, tmp_path / "world", ignore=ignore_runs))
    settings = [f"run={folder}/runs/edited", "stop_at_step=3", *FAST]
    recipe = load_recipe(folder / "recipe.yaml", settings)
    file = folder / "curriculum.yaml"
    file.write_text(file.read_text().replace("80%", "30%"))
    train(recipe, alone, resume_step=None)
    run = folder / "runs" / "edited"
    assert "80%" in (run / "curriculum.yaml").read_text()
    assert Counter(row[0] for row in trained(run))["english"] > 0.6 * 3 * ROWS
    with pytest.raises(ConfigError, match="80% -> 30%"):
        start(folder, alone, "edited")


def ignore_runs(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "runs"]


@pytest.fixture
def small_world(world: Path, tmp_path: Path) -> Path:
    """English is read again and again within the 12 steps."""
    folder = Path(shutil.copytree(world, tmp_path / "small", ignore=ignore_runs))
    for shard in (folder / "data" / "english").iterdir():
        shard.write_bytes(b"".join(shard.read_bytes().splitlines(keepends=True)[:9]))
    file = folder / "curriculum.yaml"
    text = file.read_text()
    file.write_text(text.replace("english: 100%", "english: {share: 100%, max_epochs: 99}"))
    return folder


def test_new_shards_change_nothing_until_they_are_listed_again(
    small_world: Path, alone: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    start(small_world, alone, "shards", "stop_at_step=3")
    run = small_world / "runs" / "shards"
    plain = replay(run)
    new = [{"text": f"a new red house {index} runs to a small tree"} for index in range(9)]
    write(small_world / "data" / "english" / "2.jsonl", new)
    start(small_world, alone, "shards", "stop_at_step=6")
    assert trained(run) == plain[: 6 * ROWS]
    notice = f"1 new shards match its corpus file, ignored until `linly amend {run} --relist"
    assert notice in capsys.readouterr().out
    linly_ok("amend", run, "--relist", "english")
    assert "1 of them new" in capsys.readouterr().out
    start(small_world, alone, "shards", "stop_at_step=9")
    assert "new shards match" not in capsys.readouterr().out
    start(small_world, alone, "shards")
    rows = trained(run)
    assert rows == replay(run)
    english = [row for row in rows if row[0] == "english"]
    fresh = {epoch for _, epoch, pieces in english for piece in pieces if "2.json" in piece[0]}
    relisted = lines(run, "decisions")[-3]["relisted"]["english"]["from_epoch"]
    assert fresh
    assert min(fresh) >= relisted - 1  # a row belongs to the epoch of its first token
    kept = [row for row in english if row[1] < relisted]
    assert kept[:-1] == [row for row in plain if row[0] == "english"][: len(kept) - 1]


def test_a_pattern_is_taken_up_with_the_list_that_it_gives(
    small_world: Path, alone: Processes
) -> None:
    """A changed corpus file is refused until then, and is the run's from then on."""
    start(small_world, alone, "patterns", "stop_at_step=3")
    run = small_world / "runs" / "patterns"
    (small_world / "data" / "late").mkdir()
    write(small_world / "data" / "late" / "0.jsonl", [{"text": "a late red tree"}] * 9)
    corpus = small_world / "corpora" / "english.yaml"
    corpus.write_text(corpus.read_text().replace("['", "['late/*.jsonl', '"))
    with pytest.raises(ConfigError, match=r"corpora\.english\.paths"):
        start(small_world, alone, "patterns")
    linly_ok("amend", run, "--relist", "english")
    start(small_world, alone, "patterns")
    assert trained(run) == replay(run)
    assert "late/0.jsonl" in {piece[0] for row in trained(run) for piece in row[2]}


def test_a_limit_of_epochs_that_cuts_the_one_under_way_is_refused(
    small_world: Path, alone: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    """The block under way would be cut otherwise, and the cursor stand in another place."""
    start(small_world, alone, "limits", "stop_at_step=3")
    text = (small_world / "curriculum.yaml").read_text()
    new = small_world / "new.yaml"
    new.write_text(text.replace("max_epochs: 99", "max_epochs: 1.5"))
    with pytest.raises(SystemExit) as left:
        main(["amend", str(small_world / "runs" / "limits"), str(new)])
    assert left.value.code == 1
    assert "max_epochs: found 1.5 in place of 99, but the source is already in its epoch 2" in (
        capsys.readouterr().err
    )


def test_a_guard_needs_an_evaluation_from_before_the_first_step(
    stopped: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guard = "guard: {source: songs, max_rise: 1%, cap: 80%}"
    text = (world / "flatter.yaml").read_text()
    new = tmp_path / "guarded.yaml"
    new.write_text(text.replace("to: 10%}", f"to: 10%, {guard}}}"))
    with pytest.raises(SystemExit) as left:
        main(["amend", str(stopped), str(new)])
    assert left.value.code == 1
    assert "songs was not evaluated before the first step" in capsys.readouterr().err


def test_a_list_that_was_changed_after_it_was_taken_up_is_refused(
    small_world: Path, alone: Processes
) -> None:
    start(small_world, alone, "changed", "stop_at_step=3")
    run = small_world / "runs" / "changed"
    write(small_world / "data" / "english" / "2.jsonl", [{"text": "a new house"}] * 9)
    linly_ok("amend", run, "--relist", "english")
    file = run / "shards" / "english.2.jsonl"
    file.write_bytes(file.read_bytes().replace(b"2.jsonl", b"1.jsonl"))
    with pytest.raises(CheckpointError, match="not the shard list of source 'english'"):
        start(small_world, alone, "changed")


def test_a_dry_run_writes_nothing(
    stopped: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(stopped)
    linly_ok("amend", stopped, world / "flatter.yaml", "--dry-run")
    shown = capsys.readouterr().out
    assert tree(stopped) == before
    assert "from step 6 (row 48) on" in shown
    assert re.search(r"songs +none -> 22% .* none -> 32% +0 -> 13 +none -> 0\.21", shown)
    assert "songs: new, 1 shards, 1 held-out documents" in shown


def test_a_run_that_trains_cannot_be_amended(
    stopped: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy(stopped, "busy")
    with RunFolder.open(run).lock(), pytest.raises(SystemExit) as left:
        main(["amend", str(run), str(world / "flatter.yaml")])
    assert left.value.code == 1
    assert "holds its lock" in capsys.readouterr().err
    assert [line["kind"] for line in lines(run, "decisions")] == ["start"]


@pytest.mark.parametrize(
    ("old", "new", "words", "found"),
    [
        ("", "", ["--drop", "songs"], "unknown source 'songs'"),
        ("", "", ["--drop", "tuned"], "has all of group 'tuned'"),
        ("", "", ["--relist", "songs"], "unknown source 'songs'"),
        ("", "", ["--relist", "english"], "the run already has its"),
        ("3072", "1536", ["FILE"], "is 6 steps, but the run has taken 6; allowed: 1,792"),
        ("english: 100%", "hymns: 100%", ["FILE"], "unknown corpus 'hymns'"),
        (
            "chinese: 100%",
            "chinese: {corpus: songs, share: 100%}",
            ["FILE"],
            "found songs, but the run has read it with chinese",
        ),
        ("tuned: 100%", "tuned: {share: 100%, template: alpaca}", ["FILE"], "found alpaca"),
        ("from: 80%", "from: 90%", ["FILE"], "add up to"),
        ("3072", "8M", ["FILE"], r"source tuned: \d+\.\d+ epochs"),
    ],
)
def test_an_amendment_that_cannot_be_is_refused(
    stopped: Path,
    world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    words: list[str],
    found: str,
) -> None:
    file = tmp_path / "new.yaml"
    file.write_text((world / "curriculum.yaml").read_text().replace(old, new))
    before = tree(stopped)
    with pytest.raises(SystemExit) as left:
        main(["amend", str(stopped), *(word.replace("FILE", str(file)) for word in words)])
    assert left.value.code == 1
    assert re.search(found, capsys.readouterr().err)
    after = tree(stopped)
    assert {name: after[name] for name in before if name != "lock"} == {
        name: before[name] for name in before if name != "lock"
    }
