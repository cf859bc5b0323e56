"""A run's copy elsewhere: whole checkpoints or none, and a run that goes on from it."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from rank_processes import TIMES, lines_of, rows_of, without
from remote_servers import s3_store, use_s3
from tiny_world import make_tiny_world

from linly.config.recipe import load_recipe
from linly.errors import ConfigError
from linly.training.manifest import FileEntry, Manifest, folder_name, verified
from linly.training.mirror import Copied, Mirror
from linly.training.processes import Processes
from linly.training.trainer import Outcome, train

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


def make_run(folder: Path, *steps: int) -> Path:
    (folder / "run" / "rows").mkdir(parents=True)
    (folder / "run" / "lock").write_text("held")
    (folder / "run" / "metrics.jsonl").write_text('{"step": 1}\n')
    for step in steps:
        make_checkpoint(folder / "run", step)
    return folder / "run"


def make_checkpoint(run: Path, step: int, text: str = "") -> None:
    folder = run / "checkpoints" / folder_name(step)
    folder.mkdir(parents=True)
    files = ("rank-00000.safetensors", "random-00000.safetensors", "state.json")
    for name in files:
        (folder / name).write_text(f"{name} of {step} {text}")
    entries = {name: FileEntry.of(folder / name) for name in files}
    Manifest(step, entries, {"a": files[0]}).write(folder)


def copy_now(mirror: Mirror) -> list[Copied]:
    mirror.begin()
    assert mirror.wait(60)
    return mirror.news()


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_run_goes_on_from_its_copy_as_if_it_had_stayed(world: Path, alone: Processes) -> None:
    """In s3://, by another machine that has nothing of the run."""
    start(world, alone, "whole")
    with pytest.MonkeyPatch.context() as patch, s3_store("shelf", {}) as address:
        use_s3(patch, address)
        mirror = "checkpoint.mirror=s3://shelf/runs"
        assert start(world, alone, "moved", mirror, "stop_at_step=5").step == 5
        import fsspec

        files = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
        shutil.rmtree(world / "runs" / "moved")
        files.get("shelf/runs/moved/", str(world / "runs" / "moved"), recursive=True)
        assert start(world, alone, "moved", mirror).is_complete
        names = sorted(name.rsplit("/", 1)[-1] for name in files.ls("shelf/runs/moved/checkpoints"))
    moved, whole = world / "runs" / "moved", world / "runs" / "whole"
    assert rows_of(moved) == rows_of(whole)
    assert without(lines_of(moved, "metrics"), *TIMES) == without(
        lines_of(whole, "metrics"), *TIMES
    )
    assert names[-1] == "step-00000010"
    assert "step-00000005" in names  # removed here, kept there
    assert not (moved / "checkpoints" / "step-00000005").exists()
    told = [line["text"] for line in lines_of(moved, "events") if line["kind"] == "mirror"]
    assert told[-1] == "step-00000010 is copied"


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
    run = make_run(tmp_path, 7)
    mirror = Mirror(run, str(tmp_path / "shelf"))
    real = mirror._files.put_file
    sent: list[str] = []
    room = 0

    def put(source: str, target: str) -> None:
        if "checkpoints" in target:
            if len(sent) == room:
                raise ConnectionResetError("the line went dead")
            sent.append(Path(target).name)
        real(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(mirror._files), "put_file", staticmethod(put))
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
    assert names_in(tmp_path / "shelf" / "run") == [
        *(f"checkpoints/step-00000007/{name}" for name in sorted(sent)),
        "metrics.jsonl",
    ]


def test_a_future_that_was_given_up_is_replaced(tmp_path: Path) -> None:
    run = make_run(tmp_path, 7, 14)
    (run / "rows" / "step-00000008-00000014.parquet").write_text("given up")
    copy_now(Mirror(run, str(tmp_path / "shelf")))
    shutil.rmtree(run / "checkpoints" / folder_name(14))
    make_checkpoint(run, 14, "another")
    (run / "rows" / "step-00000008-00000014.parquet").unlink()
    (run / "rows" / "step-00000008-00000009.parquet").write_text("kept")
    there = tmp_path / "shelf" / "run"
    assert copy_now(Mirror(run, str(tmp_path / "shelf"))) == [Copied("step-00000014", None)]
    folder, manifest = verified(there / "checkpoints", 14)
    assert "another" in (folder / "state.json").read_text()
    assert manifest == Manifest.read(run / "checkpoints" / folder_name(14))
    assert names_in(there / "rows") == ["step-00000008-00000009.parquet"]


def test_what_is_being_copied_is_not_removed(world: Path, alone: Processes, tmp_path: Path) -> None:
    from small_engine import small_engine

    from linly.config.settings import CheckpointSettings
    from linly.training.checkpoints import Checkpoints

    run = make_run(tmp_path)
    (run / "checkpoints").mkdir()
    mirror = Mirror(run, str(tmp_path / "shelf"))
    keep = CheckpointSettings(every=1, keep_last=1, keep_every=None)
    keeper = Checkpoints(run / "checkpoints", alone, keep, mirror)
    engine = small_engine()
    reached, free = threading.Event(), threading.Event()
    real = mirror._files.put_file

    def put(source: str, target: str) -> None:
        if "step-00000001/rank" in target:
            reached.set()
            assert free.wait(60)
        real(source, target)

    def here() -> list[str]:
        return sorted(path.name for path in (run / "checkpoints").iterdir())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(mirror._files), "put_file", staticmethod(put))
        keeper.save(engine, 1, {})
        assert reached.wait(60)
        keeper.save(engine, 2, {})
        assert here() == ["step-00000001", "step-00000002"]
        free.set()
        assert mirror.wait(60)
    keeper.save(engine, 3, {})
    assert here() == ["step-00000003"]
    assert mirror.wait(60)
    there = sorted(path.name for path in (tmp_path / "shelf/run/checkpoints").iterdir())
    assert there == ["step-00000001", "step-00000002", "step-00000003"]


@pytest.mark.parametrize("place", ["https://host/x", "s3://", "s3://b/../c", "s3::file://b/c"])
def test_a_place_that_is_none_is_refused(world: Path, place: str) -> None:
    with pytest.raises(ConfigError, match=r"mirror=.*: found .*allowed: a folder, or s3://"):
        load_recipe(world / "recipe.yaml", [f"checkpoint.mirror={place}"])


def test_a_run_is_not_copied_into_itself(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for place in (tmp_path, run):
        with pytest.raises(ConfigError, match="where the run itself is"):
            Mirror(run, str(place))
