"""Means of checkpoints: of several runs, by weights, of averaged weights, and what is refused."""

from __future__ import annotations

import re
import shutil
from fractions import Fraction
from pathlib import Path

import orjson
import pytest
import torch
from safetensors.torch import load_file

from linly import api
from linly.config.recipe import load_recipe
from linly.errors import CheckpointError, ConfigError
from linly.export.run_checkpoints import (
    MeanPart,
    RunChoice,
    mean_title,
    open_checkpoints,
    parse_choice,
)
from linly.modeling.stored.weight_files import WEIGHTS
from linly.runs.runs import RunFolder
from linly.training.changes.forked_run import fork_run
from linly.training.checkpoints.checkpoint_files import read_master_weight
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.tiny_world import make_tiny_world

THIRD = Fraction(1, 3)
AVERAGE = "training.average={kind: ema, decay: 0.5, every: 1}"


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("a", RunChoice(Path("a"))),
        ("a@20", RunChoice(Path("a"), (20,))),
        ("a@20,step-40", RunChoice(Path("a"), (20, 40))),
        ("a@20:0.3", RunChoice(Path("a"), (20,), (Fraction(3, 10),))),
        ("a@20:1/3,40:2/3", RunChoice(Path("a"), (20, 40), (THIRD, 2 * THIRD))),
        ("a:.5", RunChoice(Path("a"), (), (Fraction(1, 2),))),
        ("s:/a", RunChoice(Path("s:/a"))),
    ],
)
def test_a_choice_is_parsed(text: str, choice: RunChoice) -> None:
    assert parse_choice(text) == choice


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a@20:2", "found '2', allowed: a number above 0 and at most 1"),
        ("a@20:0", "found '0', allowed"),
        ("a@20:-0.3", "found '-0.3', allowed"),
        ("a@20:1/0", "found '1/0', allowed"),
        ("a@20:", "found '', allowed"),
        ("a@20:0.3,40", "give a weight for every step"),
        ("a@20:0.5,20:0.5", "a step is named twice"),
    ],
)
def test_an_invalid_choice_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        parse_choice(text)


def test_titles_name_what_is_averaged() -> None:
    one, two = MeanPart("a", 1000, THIRD), MeanPart("b", 20, 2 * THIRD)
    assert mean_title([MeanPart("a", 1000)]) == "step 1,000"
    assert mean_title([MeanPart("a", 20, averaged="ema")]) == "averaged weights, step 20"
    assert mean_title([one, two]) == "weighted mean of a@1000:0.333333 and b@20:0.666667"
    halves = [MeanPart("a", 40, Fraction(1, 2)), MeanPart("a", 20, Fraction(1, 2))]
    assert mean_title(halves) == "mean of steps 20, 40"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, alone: Processes) -> Path:
    """Runs `a`, with an average, and its fork `b`, trained on at another rate."""
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=4)
    _train(folder, alone, "a", AVERAGE)
    fork_run(RunFolder.open(folder / "runs" / "a"), folder / "runs" / "b", step=2)
    _train(folder, alone, "b", "training.average=null", "training.lr=1e-2")
    return folder


def _train(world: Path, alone: Processes, name: str, *overrides: str) -> None:
    settings = ["data.producers=0", "checkpoint.every=2", "evaluation={every: 4, prompts: []}"]
    run = f"run={world / 'runs' / name}"
    recipe = load_recipe(world / "recipe.yaml", [run, *settings, *overrides])
    train(recipe, alone, resume_step=None, is_quiet=True)


def tensors(run: Path, step: int, key: str = "master") -> dict[str, torch.Tensor]:
    (one,) = open_checkpoints(RunFolder.open(run), [step])
    files = one.manifest.parameters.items()
    return {name: read_master_weight(one.folder / file, name, key) for name, file in files}


def test_runs_are_averaged_by_weight_and_cast_once(world: Path, tmp_path: Path) -> None:
    runs = world / "runs"
    chosen = [f"{runs}/a@4:0.25", f"{runs}/b@4:0.75"]
    exported = api.export_run(chosen, tmp_path / "out", dtype="bf16")
    assert [part.weight for part in exported.parts] == [Fraction(1, 4), Fraction(3, 4)]
    found, one, two = load_file(tmp_path / "out" / WEIGHTS), *(tensors(runs / n, 4) for n in "ab")
    assert found.keys() == one.keys() == two.keys()
    for name, weight in found.items():
        mean = 0.25 * one[name].double() + 0.75 * two[name].double()
        assert torch.equal(weight, mean.bfloat16()), name
    card = (tmp_path / "out" / "README.md").read_text()
    assert "# b, weighted mean of a@4:0.25 and b@4:0.75\n" in card
    assert "| a | 4 | 1/4 |\n| b | 4 | 3/4 |" in card
    assert "describe the run b at step 4" in card


def test_runs_without_weights_count_equally(world: Path, tmp_path: Path) -> None:
    runs = world / "runs"
    exported = api.export_run([runs / "a@2,4", runs / "b"], tmp_path / "out", dtype="fp32")
    assert [part.weight for part in exported.parts] == [THIRD] * 3
    parts = [tensors(runs / run, step) for run, step in (("a", 2), ("a", 4), ("b", 4))]
    for name, weight in load_file(tmp_path / "out" / WEIGHTS).items():
        mean = torch.stack([part[name].double() for part in parts]).mean(dim=0)
        assert torch.equal(weight, mean.float()), name


def test_averaged_weights_are_exported_and_described(world: Path, tmp_path: Path) -> None:
    run = world / "runs" / "a"
    exported = api.export_run(run, tmp_path / "out", dtype="fp32", average=True)
    means, last = tensors(run, 4, "average"), tensors(run, 4)
    for name, weight in load_file(tmp_path / "out" / WEIGHTS).items():
        assert torch.equal(weight, means[name])
        assert not torch.equal(weight, last[name])
    text = "ema of decay 0.5 every 1 steps, 4 samples of steps 1-4"
    assert exported.parts == (MeanPart("a", 4, Fraction(1), text),)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "# a, averaged weights, step 4\n" in card
    assert f"- a, step 4: {text}\n" in card
    average = orjson.loads((run / "evaluations.jsonl").read_bytes().splitlines()[-1])["average"]
    bits = average["sources"]["english"]["bits_per_byte"]
    assert f" {bits:.3f} |" in card.partition("with the averaged weights; lower is better")[2]


@pytest.mark.parametrize(
    ("chosen", "average", "says"),
    [
        (("a@4:0.5", "b@4:0.6"), False, "must add up to 1; found 0.5 + 0.6 = 1.1"),
        (("a@4:0.5", "b"), False, "b: has no weight, but others have one"),
        (("a@4", "a"), False, "a checkpoint is named twice"),
        (("b@4",), True, "has no averaged weights: its run had no training.average"),
    ],
)
def test_a_mean_that_says_nothing_is_refused(
    world: Path, tmp_path: Path, chosen: tuple[str, ...], average: bool, says: str
) -> None:
    runs = [f"{world}/runs/{one}" for one in chosen]
    with pytest.raises((ConfigError, CheckpointError), match=re.escape(says)):
        api.export_run(runs, tmp_path / "out", average=average)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ("config", "c: has another architecture (rope_parameters is {'rope_theta': 1000000.0"),
        ("tokenizer", "c: has another tokenizer than"),
        ("trainable", "c: has other trained parameters (embeddings, there full) than"),
    ],
)
def test_runs_of_other_models_are_refused_by_name(
    world: Path, tmp_path: Path, changed: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "c"
    shutil.copytree(world / "runs" / "a", run)
    if changed == "config":
        file = run / "model" / "config.json"
        content = orjson.loads(file.read_bytes())
        content["rope_parameters"] = {"rope_theta": 1e6, "rope_type": "default"}
        content["rope_theta"] = 1e6
        file.write_bytes(orjson.dumps(content))
    else:
        _restate(monkeypatch, run, changed)
    with pytest.raises(ConfigError, match=re.escape(says)):
        api.export_run([f"{world}/runs/a@4:0.5", f"{run}@4:0.5"], tmp_path / "out")


def _restate(monkeypatch: pytest.MonkeyPatch, run: Path, changed: str) -> None:
    """Let the checkpoints of a run say that they are of another model."""
    from linly.export import run_checkpoints as module

    true_state = module.read_state

    def state(folder: Path) -> dict[str, object]:
        content = true_state(folder)
        if run in folder.parents and changed == "tokenizer":
            content["model"]["tokenizer"] = "other"
        if run in folder.parents and changed == "trainable":
            content["recipe"]["training"]["trainable"] = "embeddings"
        return content

    monkeypatch.setattr(module, "read_state", state)
