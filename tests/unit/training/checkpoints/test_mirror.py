"""A run's copy elsewhere: whole checkpoints or none, and a run that goes on from it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from linly.cli.main import main
from linly.config.recipe import load_recipe
from linly.errors import ConfigError
from linly.runs.runs import RunFolder
from linly.training.checkpoints.manifest import folder_name, note_checkpoint, verified
from linly.training.checkpoints.mirror import Copied, Mirror
from linly.training.checkpoints.mirror_place import MirrorPlace
from linly.training.checkpoints.restored_run import restore_run
from linly.training.loop.trainer import Outcome, train
from linly.training.ranks.processes import Processes
from tests.support.mirrored_run import (
    add_decision,
    begin_run,
    copy_now,
    everything_in,
    go_back,
    mark_of,
    marks_of,
    take_steps,
)
from tests.support.rank_processes import TIMES, lines_of, rows_of, without
from tests.support.remote_servers import s3_store, use_s3
from tests.support.tiny_world import make_tiny_world

NUM_STEPS = 10


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=NUM_STEPS)
    return folder


def start(world: Path, alone: Processes, name: str, *overrides: str) -> Outcome:
    settings = ["data.producers=0", "checkpoint.every=3", "checkpoint.keep_last=1", *overrides]
    recipe = load_recipe(world / "recipe.yaml", [f"run={world}/runs/{name}", *settings])
    return train(recipe, alone, resume_step=None)


def test_a_run_goes_on_from_its_copy_as_if_it_had_stayed(world: Path, alone: Processes) -> None:
    """In s3://, by another machine that has nothing of the run."""
    start(world, alone, "whole")
    with pytest.MonkeyPatch.context() as patch, s3_store("shelf", {}) as address:
        use_s3(patch, address)
        mirror = "checkpoint.mirror=s3://shelf/runs"
        assert start(world, alone, "moved", mirror, "stop_at_step=5").step == 5
        shutil.rmtree(world / "runs" / "moved")
        with pytest.raises(SystemExit) as left:
            main(["restore", "s3://shelf/runs/moved", str(world / "runs" / "moved")])
        assert left.value.code in (None, 0)
        assert start(world, alone, "moved", mirror).is_complete
        names = MirrorPlace("s3://shelf/runs/moved").names("checkpoints")
    moved, whole = world / "runs" / "moved", world / "runs" / "whole"
    assert rows_of(moved) == rows_of(whole)
    assert without(lines_of(moved, "metrics"), *TIMES) == without(
        lines_of(whole, "metrics"), *TIMES
    )
    assert "checkpoints/step-00000010/manifest.json" in names
    assert "checkpoints/step-00000005/manifest.json" in names  # removed here, kept there
    assert not (moved / "checkpoints" / "step-00000005").exists()
    told = [line["text"] for line in lines_of(moved, "events") if line["kind"] == "mirror"]
    assert told[-1] == "step-00000010 was copied"


def test_a_mirror_that_cannot_be_reached_costs_warnings_alone(
    world: Path, alone: Processes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each save tries again; the end says what is not there; the next start brings it."""
    shelf = tmp_path / "shelf"
    shelf.write_text("not a folder")
    assert start(world, alone, "kept", f"checkpoint.mirror={shelf}").is_complete
    warned = capsys.readouterr().err
    assert f"not in the mirror {shelf}/kept: step-00000010" in warned
    told = [
        line for line in lines_of(world / "runs" / "kept", "events") if "could not" in str(line)
    ]
    assert told[-1]["kind"] == "mirror"
    shelf.unlink()
    assert start(world, alone, "kept", f"checkpoint.mirror={shelf}").is_complete
    assert "mirror" not in capsys.readouterr().err
    assert verified(shelf / "kept" / "checkpoints", None)[1].step == NUM_STEPS


def test_the_manifest_comes_last_so_that_half_a_copy_is_none(tmp_path: Path) -> None:
    run = begin_run(tmp_path / "run")
    take_steps(run, 1, 7, "a")
    mirror = Mirror(run.path, str(tmp_path / "shelf"))
    real = MirrorPlace.put
    sent: list[str] = []
    room = 0

    def put(self: MirrorPlace, source: Path, name: str) -> None:
        if "checkpoints" in name:
            if len(sent) == room:
                raise ConnectionResetError("the line went dead")
            sent.append(source.name)
        real(self, source, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MirrorPlace, "put", put)
        for files in range(4):
            room = files
            sent.clear()
            (copied,) = copy_now(mirror)
            assert copied.name == "step-00000007"
            assert copied.problem is not None
            assert "the line went dead" in copied.problem
            assert mirror.missing() == ["step-00000007"]
            left = tmp_path / "shelf" / "run" / "checkpoints" / "step-00000007"
            assert not (left / "manifest.json").exists()
        room = 99
        sent.clear()
        assert copy_now(mirror) == [Copied("step-00000007", None)]
    assert sent[-1] == "manifest.json"
    assert mirror.missing() == []
    assert copy_now(mirror) == []
    copied_names = set(everything_in(tmp_path / "shelf" / "run"))
    assert copied_names == set(everything_in(run.path)) - {"lock"}


# -- whose it is -------------------------------------------------------------------------------


def another_run(run: RunFolder, shelf: str) -> None:
    shutil.rmtree(run.path)
    take_steps(begin_run(run.path, time=1.5e9 + 1), 1, 7, "b")


def run_that_has_not_begun(run: RunFolder, shelf: str) -> None:
    shutil.rmtree(run.path)
    run.path.mkdir()


def fork_of_it(run: RunFolder, shelf: str) -> None:
    add_decision(run, "fork")


def run_that_went_on_elsewhere(run: RunFolder, shelf: str) -> None:
    copy = RunFolder.create_or_open(run.path.parent / "copy" / "run")
    shutil.copytree(run.path, copy.path, dirs_exist_ok=True)
    add_decision(copy, "resume")
    assert copy_now(Mirror(copy.path, shelf)) == []


def place_of_something_else(run: RunFolder, shelf: str) -> None:
    place = MirrorPlace(f"{shelf}/run")
    place.remove("decisions.jsonl")


OTHERS = [
    another_run,
    run_that_has_not_begun,
    fork_of_it,
    run_that_went_on_elsewhere,
    place_of_something_else,
]


def content_of(place: MirrorPlace) -> dict[str, bytes | None]:
    return {name: place.read(name) for name in place.names()}


@pytest.fixture(params=["folder", "s3"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where mirrors are."""
    if request.param == "folder":
        yield str(tmp_path / "shelf")
        return
    with pytest.MonkeyPatch.context() as patch, s3_store("shelf", {}) as address:
        use_s3(patch, address)
        yield f"s3://shelf/{tmp_path.name}"  # moto keeps what servers before it were given


@pytest.mark.parametrize("become", OTHERS)
def test_a_mirror_of_another_run_is_refused_and_left_as_it_is(
    tmp_path: Path, shelf: str, become: Callable[[RunFolder, str], None]
) -> None:
    """At the start, and again in each pass, as it may not have been reached before."""
    run = begin_run(tmp_path / "run")
    take_steps(run, 1, 7, "a")
    assert copy_now(Mirror(run.path, shelf)) == [Copied("step-00000007", None)]
    become(run, shelf)
    place = MirrorPlace(f"{shelf}/run")
    before = content_of(place)
    mirror = Mirror(run.path, shelf)
    with pytest.raises(ConfigError, match=r"^checkpoint\.mirror: .*shelf.*/run "):
        mirror.refuse_another_run()
    for _ in range(2):
        (copied,) = copy_now(mirror)
        assert copied.name == "records"
        assert copied.problem is not None
    assert content_of(place) == before


def test_of_two_runs_that_begin_with_one_mirror_one_has_it(tmp_path: Path, shelf: str) -> None:
    """Both saw an empty place before."""
    runs = [begin_run(tmp_path / name / "run", time=1.5e9 + len(name)) for name in ("a", "bb")]
    mirrors = [Mirror(run.path, shelf) for run in runs]
    real = MirrorPlace.create
    is_first = iter((True,))

    def create(self: MirrorPlace, name: str, data: bytes) -> None:
        if next(is_first, False):
            assert copy_now(mirrors[1]) == []
        real(self, name, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MirrorPlace, "create", create)
        assert [copied.name for copied in copy_now(mirrors[0])] == ["records"]
    theirs = MirrorPlace(f"{shelf}/run").read("decisions.jsonl")
    assert theirs == (runs[1].path / "decisions.jsonl").read_bytes()


def test_a_run_that_is_begun_again_or_resumed_goes_on_with_its_mirror(tmp_path: Path) -> None:
    run = begin_run(tmp_path / "run")
    copy_now(Mirror(run.path, str(tmp_path / "shelf")))
    for kind in ("start", "resume", "amend"):
        add_decision(run, kind)
        mirror = Mirror(run.path, str(tmp_path / "shelf"))
        mirror.refuse_another_run()
        assert copy_now(mirror) == []


# -- one state at every moment -----------------------------------------------------------------


class Killed(BaseException):
    """Ends a pass as a kill would."""


@contextmanager
def killed_at(number: int) -> Iterator[list[str]]:
    """End the pass at its n-th change of the mirror, half of a file written."""
    seen: list[str] = []

    def counted(real: Callable[..., None], what: str) -> Callable[..., None]:
        def change(self: object, *arguments: Any, **settings: Any) -> None:
            if len(seen) == number:
                if what == "put_file":
                    Path(arguments[1]).parent.mkdir(parents=True, exist_ok=True)
                    Path(arguments[1]).write_bytes(Path(arguments[0]).read_bytes()[:20])
                raise Killed
            seen.append(what)
            real(self, *arguments, **settings)

        return change

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalFileSystem, "put_file", counted(LocalFileSystem.put_file, "put_file"))
        for name in ("create", "rename", "remove"):
            patch.setattr(MirrorPlace, name, counted(getattr(MirrorPlace, name), name))
        yield seen


def gone_back(path: Path) -> RunFolder:
    run = begin_run(path)
    take_steps(run, 1, 7, "a")
    take_steps(run, 8, 14, "a")
    return run


def test_a_pass_killed_anywhere_leaves_one_state_of_the_run(tmp_path: Path) -> None:
    """After the run went back from step 14 to 7 and came to 14 again with other rows."""
    origin, shelf = tmp_path / "origin", tmp_path / "shelf-of-origin"
    run = gone_back(origin / "run")
    copy_now(Mirror(run.path, str(shelf)))
    go_back(run, 7)
    take_steps(run, 8, 10, "b")
    take_steps(run, 11, 14, "b")
    found = set()
    for number in range(1000):
        place = tmp_path / f"shelf-{number}"
        shutil.copytree(shelf, place)
        mirror = Mirror(run.path, str(place))
        with killed_at(number) as seen:
            mirror.begin()
            wait(mirror._passes, 60)
        restored = restore_run(f"{place}/run", tmp_path / f"restored-{number}")
        marks = marks_of(tmp_path / f"restored-{number}")
        mark = mark_of(tmp_path / f"restored-{number}", restored)
        steps = range(1, restored + 1)
        assert marks == {n: "a" if n <= 7 else mark for n in steps}, number
        found.add((restored, mark))
        if len(seen) < number:
            break
    assert {(14, "a"), (7, "a"), (14, "b")} <= found


def test_a_checkpoint_of_a_future_that_was_given_up_is_set_aside(
    tmp_path: Path, shelf: str
) -> None:
    """Even if it could not be reached when the run went back, and no step of that name came."""
    run = gone_back(tmp_path / "run")
    copy_now(Mirror(run.path, shelf))
    go_back(run, 7)
    take_steps(run, 8, 16, "b")
    assert copy_now(Mirror(run.path, shelf)) == [Copied("step-00000016", None)]
    names = MirrorPlace(f"{shelf}/run").names("checkpoints")
    manifests = [name for name in names if name.endswith("/manifest.json")]
    assert manifests == [f"checkpoints/{folder_name(step)}/manifest.json" for step in (7, 16)]
    assert "checkpoints/step-00000014/manifest.abandoned.json" in names
    assert "checkpoints/step-00000014/rank-00000.safetensors" in names
    assert restore_run(f"{shelf}/run", tmp_path / "restored") == 16
    assert "rows/step-00000008-00000014.parquet" not in MirrorPlace(f"{shelf}/run").names("rows")


def test_records_reach_every_checkpoint_that_is_copied(tmp_path: Path) -> None:
    """One that is saved while the records are copied waits for the next pass."""
    run = begin_run(tmp_path / "run")
    take_steps(run, 1, 7, "a")
    mirror = Mirror(run.path, str(tmp_path / "shelf"))
    real = MirrorPlace.put

    def put(self: MirrorPlace, source: Path, name: str) -> None:
        real(self, source, name)
        if name == "metrics.jsonl" and not (run.checkpoints / folder_name(14)).exists():
            take_steps(run, 8, 14, "a")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MirrorPlace, "put", put)
        assert copy_now(mirror) == [Copied("step-00000007", None)]
        assert restore_run(f"{tmp_path}/shelf/run", tmp_path / "restored") == 7
        assert copy_now(mirror) == [Copied("step-00000014", None)]


def test_a_run_whose_lock_was_lost_is_not_copied(tmp_path: Path) -> None:
    run = begin_run(tmp_path / "run")
    with run.lock():
        mirror = Mirror(run.path, str(tmp_path / "shelf"), run.check_lock)
        (run.path / "lock").unlink()
        (copied,) = copy_now(mirror)
    assert copied.problem is not None
    assert "lock was removed" in copied.problem
    assert not (tmp_path / "shelf").exists()


def test_what_is_being_copied_is_not_removed(world: Path, alone: Processes, tmp_path: Path) -> None:
    from linly.config.sections.saving_sections import CheckpointSettings
    from linly.training.checkpoints.checkpoints import Checkpoints
    from tests.support.engines import tiny_engine

    run = begin_run(tmp_path / "run")
    mirror = Mirror(run.path, str(tmp_path / "shelf"))
    keep = CheckpointSettings(every=1, keep_last=1, keep_every=None)
    keeper = Checkpoints(run.checkpoints, alone, keep, mirror)
    engine = tiny_engine()
    reached, free = threading.Event(), threading.Event()
    real = MirrorPlace.put

    def put(self: MirrorPlace, source: Path, name: str) -> None:
        if "step-00000001/rank" in name:
            reached.set()
            assert free.wait(60)
        real(self, source, name)

    def save(step: int) -> None:
        note_checkpoint(run, keeper.save(engine, step, {}))
        mirror.begin()

    def here() -> list[str]:
        return sorted(path.name for path in run.checkpoints.iterdir())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MirrorPlace, "put", put)
        save(1)
        assert reached.wait(60)
        save(2)
        assert here() == ["step-00000001", "step-00000002"]
        free.set()
        assert mirror.wait(60)
    save(3)
    assert here() == ["step-00000003"]
    assert mirror.wait(60)
    there = sorted(path.name for path in (tmp_path / "shelf/run/checkpoints").iterdir())
    assert there == ["step-00000001", "step-00000002", "step-00000003"]


@pytest.mark.parametrize("place", ["https://host/x", "s3://", "s3://b/../c", "s3::file://b/c"])
def test_a_place_that_is_none_is_refused(world: Path, place: str) -> None:
    with pytest.raises(ConfigError, match=r"mirror=.*: found .*allowed: a folder, or s3://"):
        load_recipe(world / "recipe.yaml", [f"checkpoint.mirror={place}"])


def test_a_run_is_not_copied_into_itself(tmp_path: Path) -> None:
    run = begin_run(tmp_path / "run")
    for place in (tmp_path, run.path):
        with pytest.raises(ConfigError, match="puts the mirror inside the run"):
            Mirror(run.path, str(place))
