"""A run comes back from its mirror whole and verified, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from linly.cli.main import main
from linly.errors import CheckpointError, ConfigError, LinlyError
from linly.runs.runs import RunFolder
from linly.training.checkpoints.manifest import folder_name
from linly.training.checkpoints.mirror import Mirror
from linly.training.checkpoints.mirror_place import MirrorPlace
from linly.training.checkpoints.restored_run import restore_run
from tests.support.mirrored_run import begin_run, copy_now, everything_in, marks_of, take_steps
from tests.support.remote_servers import s3_store, use_s3


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = begin_run(tmp_path / "run")
    for last in (3, 6, 9):
        take_steps(run, last - 2, last, f"to-{last}")
    (run.path / "model").mkdir()
    (run.path / "model" / "config.json").write_text("{}")
    return run


@pytest.fixture
def mirror(run: RunFolder, tmp_path: Path) -> Path:
    """Of a run that took steps after its last checkpoint."""
    for step in (10, 11):
        run.append("metrics", {"step": step, "mark": "after"})
    assert len(copy_now(Mirror(run.path, str(tmp_path / "shelf")))) == 3
    return tmp_path / "shelf" / "run"


def test_a_restored_run_is_that_of_its_newest_checkpoint(
    run: RunFolder, mirror: Path, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere" / "back"
    assert restore_run(str(mirror), target) == 9
    assert sorted(marks_of(target)) == list(range(1, 10))
    files, expected = everything_in(target), everything_in(run.path)
    newest = f"checkpoints/{folder_name(9)}/"
    wanted = {n for n in expected if not n.startswith("checkpoints/") or n.startswith(newest)}
    assert files.keys() == wanted
    changed = {name for name in wanted if files[name] != expected[name]}
    assert changed == {"metrics.jsonl"}
    assert RunFolder.create_or_open(target).path == target


def test_s3_and_a_folder_restore_alike(run: RunFolder, mirror: Path, tmp_path: Path) -> None:
    restore_run(str(mirror), tmp_path / "from-folder")
    with pytest.MonkeyPatch.context() as patch, s3_store("shelf", {}) as address:
        use_s3(patch, address)
        place = f"s3://shelf/{tmp_path.name}"
        copy_now(Mirror(run.path, place))
        assert restore_run(f"{place}/run", tmp_path / "from-s3") == 9
        assert everything_in(tmp_path / "from-s3") == everything_in(tmp_path / "from-folder")


@pytest.mark.parametrize("name", ["../evil", "model/../../evil", "/evil"])
def test_a_name_that_leads_out_of_the_run_is_refused(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Storage of objects allows such names."""
    monkeypatch.setattr(MirrorPlace, "names", lambda self: ["decisions.jsonl", name])
    with pytest.raises(ConfigError, match=r"without '\.\.'"):
        restore_run(str(mirror), tmp_path / "new" / "back")
    assert not (tmp_path / "new").exists()


def test_an_earlier_step_can_be_asked_for(
    mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "back"
    with pytest.raises(SystemExit) as left:
        main(["restore", str(mirror), str(target), "--step", "step-6"])
    assert left.value.code in (None, 0)
    assert f"{target}: restored from {mirror} at step 6" in capsys.readouterr().out
    assert sorted(marks_of(target)) == list(range(1, 7))
    with pytest.raises(CheckpointError, match=r"step-00000005 was requested; found .*-00000009"):
        restore_run(str(mirror), tmp_path / "other", step=5)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def of_another_run(path: Path) -> None:
    other = begin_run(path.parents[3] / "other")
    take_steps(other, 1, 9, "other")
    for file in (other.checkpoints / folder_name(9)).iterdir():
        shutil.copyfile(file, path.parent / file.name)


@pytest.mark.parametrize("damage", [Path.unlink, flip, of_another_run])
@pytest.mark.parametrize("name", ["rank-00000.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_is_never_restored(
    mirror: Path,
    tmp_path: Path,
    name: str,
    damage: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The one before is, and says so; asked for by name it is an error."""
    damage(mirror / "checkpoints" / folder_name(9) / name)
    with pytest.raises(CheckpointError, match="step-00000009 was requested"):
        restore_run(str(mirror), tmp_path / "asked", step=9)
    assert restore_run(str(mirror), tmp_path / "back") == 6
    if damage is not Path.unlink or name != "manifest.json":  # else there is none
        assert "warning: checkpoint skipped: step-00000009" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "back" / "checkpoints").iterdir()) == [
        folder_name(6)
    ]
    assert not (tmp_path / "asked").exists()


def empty(mirror: Path) -> None:
    shutil.rmtree(mirror)


def no_decisions(mirror: Path) -> None:
    (mirror / "decisions.jsonl").unlink()


def no_checkpoint(mirror: Path) -> None:
    shutil.rmtree(mirror / "checkpoints")


def torn_line(mirror: Path) -> None:
    path = mirror / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b'{"step":4', b'{"ste\0:4'))


def torn_rows(mirror: Path) -> None:
    flip(sorted((mirror / "rows").iterdir())[0])
    path = sorted((mirror / "rows").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-20])


def lost_rows(mirror: Path) -> None:
    sorted((mirror / "rows").iterdir())[-1].unlink()


def half_of_the_metrics(mirror: Path) -> None:
    path = mirror / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize(
    "damage",
    [empty, no_decisions, no_checkpoint, torn_line, torn_rows, lost_rows, half_of_the_metrics],
)
def test_what_cannot_be_restored_is_one_error_that_leaves_nothing(
    mirror: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(mirror)
    with pytest.raises(CheckpointError, match=rf"^{mirror}: "):
        restore_run(str(mirror), tmp_path / "new" / "back")
    assert not (tmp_path / "new").exists()


def test_nothing_is_restored_over_a_folder_or_into_a_run(run: RunFolder, mirror: Path) -> None:
    before = everything_in(run.path)
    for target in (run.path, run.path / "inner", run.checkpoints / "inner"):
        with pytest.raises(LinlyError, match=r"exists already|is inside the folder of a run"):
            restore_run(str(mirror), target)
    assert everything_in(run.path) == before
