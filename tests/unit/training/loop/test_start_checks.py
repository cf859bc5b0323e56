"""`linly check` and training refuse the same launches, with the same words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from linly.cli.main import main
from linly.config.recipe import load_recipe
from linly.errors import LinlyError
from linly.modeling.stored.weight_files import WEIGHTS
from linly.runs.runs import RunFolder
from linly.training.checkpoints.manifest import list_checkpoints, parse_step
from linly.training.loop.start_checks import START_CHECKS
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.tiny_world import make_tiny_world

GUARD = "{curve: linear, from: 60%, to: 20%, guard: {source: english, max_rise: 3%, cap: 70%}}"
QUANTIZED_LAYER = "model.layers.0.mlp.up_proj.weight"


@dataclass(frozen=True)
class Case:
    """A launch that must be refused.

    Attributes:
        check: Name of the check that refuses it.
        says: Part of the error.
        overrides: Overrides of the recipe.
        resume: Value of --resume.
        is_begun: Whether the run has a checkpoint.
        during: Changes to the world, undone at the end.
    """

    check: str
    says: str
    overrides: tuple[str, ...] = ()
    resume: str | None = None
    is_begun: bool = False
    during: Callable[[Path], AbstractContextManager[None]] = lambda world: nullcontext()


def model_folder(world: Path) -> Path:
    return world / "model"


@contextmanager
def changed(path: Path, change: Callable[[Path], None]) -> Iterator[None]:
    before = path.read_bytes()
    change(path)
    try:
        yield
    finally:
        path.write_bytes(before)


def quantized(world: Path) -> AbstractContextManager[None]:
    def change(path: Path) -> None:
        tensors = load_file(path)
        tensors[QUANTIZED_LAYER] = tensors[QUANTIZED_LAYER].to(torch.int8)
        save_file(tensors, path, metadata={"format": "pt"})

    return changed(model_folder(world) / WEIGHTS, change)


def of_two_positions(world: Path) -> AbstractContextManager[None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": 4}))

    return changed(model_folder(world) / "config.json", change)


def of_another_base(world: Path) -> AbstractContextManager[None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"rope_theta": 1e6}))

    return changed(model_folder(world) / "config.json", change)


def without_generation_settings(world: Path) -> AbstractContextManager[None]:
    file = model_folder(world) / "generation_config.json"
    return changed(file, lambda path: path.write_text("{") and None)


@contextmanager
def locked(world: Path) -> Iterator[None]:
    with RunFolder(world / "runs" / "tiny").lock():
        yield


@contextmanager
def with_a_file(world: Path) -> Iterator[None]:
    file = world / "runs" / "new" / "thesis.txt"
    file.parent.mkdir()
    file.write_text("years of work")
    yield
    shutil.rmtree(file.parent)


@contextmanager
def without_checkpoints(world: Path) -> Iterator[None]:
    folder = world / "runs" / "tiny" / "checkpoints"
    folder.rename(world / "aside")
    folder.mkdir()
    yield
    folder.rmdir()
    (world / "aside").rename(folder)


@contextmanager
def cut_checkpoints(world: Path) -> Iterator[None]:
    (folder,) = list_checkpoints(world / "runs" / "tiny" / "checkpoints")
    file = folder / "rank-00000.safetensors"
    with changed(file, lambda path: path.write_bytes(path.read_bytes()[:-1]) and None):
        yield


@contextmanager
def mirror_of_another_run(world: Path) -> Iterator[None]:
    place = world / "mirror" / "new"
    place.mkdir(parents=True)
    (place / "decisions.jsonl").write_text('{"step":0,"kind":"start","time":1500000000.0}\n')
    yield
    shutil.rmtree(place)


CASES = {
    "another process": Case("run folder", "holds its lock", is_begun=True, during=locked),
    "a folder with other files": Case("run folder", "found thesis.txt", during=with_a_file),
    "a wrong DeepSpeed setting": Case(
        "deepspeed", "fp16.enabled", ("training.deepspeed={fp16: {enabled: true}}",)
    ),
    "a kernel that is missing": Case("packages", "training.loss", ("training.loss=liger",)),
    "an average that never comes": Case(
        "average", "the run has 2 steps", ("training.average={kind: window}",)
    ),
    "no model": Case("model", "add model=", ("model=null",)),
    "a quantized model": Case("model", "stored as I8", during=quantized),
    "LoRA on names that the model lacks": Case(
        "model", "did you mean 'q_proj'", ("training.trainable={lora: {targets: [q_prj]}}",)
    ),
    "completions beyond the positions": Case("model", "max_new_tokens", during=of_two_positions),
    "prompts of a task beyond a row": Case(
        "tasks", "longer than a row", ("evaluation.tasks=[{name: icl}]",)
    ),
    "a mirror of another run": Case(
        "mirror", "another run", ("checkpoint.mirror=mirror",), during=mirror_of_another_run
    ),
    "a step without a checkpoint": Case(
        "checkpoint", "step-00000001 was requested", resume="step-1", is_begun=True
    ),
    "damaged checkpoints": Case(
        "checkpoint", "incomplete or corrupt", is_begun=True, during=cut_checkpoints
    ),
    "checkpoints that are gone": Case(
        "records", "no checkpoint is there", is_begun=True, during=without_checkpoints
    ),
    "another sequence length": Case(
        "resume", "sequence_length: 32 -> 64", ("data.sequence_length=64",), is_begun=True
    ),
    "another curriculum": Case(
        "resume", "linly amend", ("curriculum.mixture.tuned.ratio=10%",), is_begun=True
    ),
    "another model": Case("resume", "config differs", is_begun=True, during=of_another_base),
    "an export that fails": Case("export", "not JSON", during=without_generation_settings),
    "held-out files that are missing": Case(
        "data", "nothing/*.jsonl", ("corpora.chinese.held_out=['nothing/*.jsonl']",)
    ),
    "too little data": Case("plan", "epochs", ("curriculum.tokens=100M",)),
    "nothing held out for a guard": Case(
        "plan",
        "no document of english is held out",
        (f"curriculum.mixture.english.ratio={GUARD}", "corpora.english.held_out=0%"),
    ),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, alone: Processes) -> Path:
    """A world with a run of two steps, `runs/tiny`."""
    folder = tmp_path_factory.mktemp("world")
    recipe = make_tiny_world(folder, num_steps=2)
    train(load_recipe(recipe, ["data.producers=0"]), alone, resume_step=None, is_quiet=True)
    return folder


def test_every_check_refuses_a_launch_here() -> None:
    names = {check.name for check in START_CHECKS}
    assert names - {case.check for case in CASES.values()} == {"world size"}  # below


@pytest.mark.parametrize("name", CASES)
def test_check_refuses_what_training_refuses(
    name: str,
    world: Path,
    alone: Processes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(world)
    case = CASES[name]
    overrides = ["data.producers=0", f"run=runs/{'tiny' if case.is_begun else 'new'}"]
    overrides += case.overrides
    resume = [] if case.resume is None else ["--resume", case.resume]
    with case.during(world):
        with pytest.raises(SystemExit) as leaving:
            main(["check", "recipe.yaml", *overrides, *resume])
        assert leaving.value.code == 1
        assert not (world / "runs" / "new" / "lock").exists()
        checked = capsys.readouterr().out
        recipe = load_recipe(Path("recipe.yaml"), overrides)
        step = None if case.resume is None else parse_step(case.resume)
        with pytest.raises(LinlyError, match=r"(?s).") as refused:
            train(recipe, alone, resume_step=step, is_quiet=True)
    shutil.rmtree(world / "runs" / "new", ignore_errors=True)
    assert case.says in str(refused.value)
    assert f"BAD  {case.check}: {refused.value}\n" in checked
    assert checked.count("BAD ") == 1


def test_check_refuses_a_world_size_as_training_does(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world)
    with pytest.raises(SystemExit):
        main(["check", "recipe.yaml", "--world-size", "3"])
    checked = capsys.readouterr().out
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "3"}
    for key, value in {**ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(SystemExit):
        main(["train", "recipe.yaml"])
    refused = capsys.readouterr().err.removeprefix("error: ")
    assert "world size 3 does not fit" in refused
    assert f"BAD  world size: {refused}" in checked


def test_check_accepts_what_training_resumes(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world)
    times = {path: path.stat().st_mtime_ns for path in (world / "runs" / "tiny").rglob("*")}
    for overrides, says in (
        ([], "ok   resume: recipe and model are those of the run\n"),
        (["training.lr=2e-3"], "note resume: training.lr: 0.001 -> 0.002\n"),
    ):
        with pytest.raises(SystemExit) as leaving:
            main(["check", "recipe.yaml", "data.producers=0", *overrides])
        checked = capsys.readouterr().out
        assert leaving.value.code == 0, checked
        assert says in checked
        assert "ok   checkpoint: step-00000002: the run is complete\n" in checked
    found = set((world / "runs" / "tiny").rglob("*"))
    assert times == {path: path.stat().st_mtime_ns for path in found}
