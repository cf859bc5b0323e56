"""Runs with training phases: frozen rows keep every bit, resumes across the border are exact."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import torch
from safetensors.torch import load_file

from linly.config.recipe import load_recipe
from linly.errors import ConfigError
from linly.export.model_export import ExportForm, export_run
from linly.export.run_checkpoints import open_checkpoints
from linly.modeling.parts.new_rows import BASE_VOCABULARY_KEY
from linly.modeling.stored.weight_files import WEIGHTS, read_json_object, write_json_object
from linly.runs.runs import RunFolder
from linly.training.checkpoints.checkpoint_files import read_state
from linly.training.loop.trainer import Outcome, train
from linly.training.ranks.processes import Processes
from tests.support.tiny_world import make_tiny_world

OLD = 330
"""Tokens of the model before it was extended; it has 360."""
PHASES = (
    "training.phases=[{until: 50%, trainable: new_rows}, {trainable: full, moments: zero}]",
    "training.lr_scale={embeddings: 0.2, new_rows: 1.0}",
)
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=6)
    config = folder / "model" / "config.json"
    write_json_object(config, read_json_object(config) | {BASE_VOCABULARY_KEY: OLD})
    return folder


def start(world: Path, alone: Processes, name: str, *overrides: str) -> Outcome:
    base = [f"run={world / 'runs' / name}", "data.producers=0", "training.lr=1e-2"]
    base += ["checkpoint.every=1", "checkpoint.keep_last=9", "evaluation.prompts=[]"]
    base += ["evaluation.every=99", "evaluation.max_documents=2"]
    recipe = load_recipe(world / "recipe.yaml", [*base, *overrides])
    return train(recipe, alone, resume_step=None, is_quiet=True)


@pytest.fixture(scope="module")
def phased(world: Path, alone: Processes) -> Path:
    """A run of 6 steps, of which the first 3 train new rows; a checkpoint of each."""
    start(world, alone, "phased", *PHASES)
    return world / "runs" / "phased"


def tensors(run: Path, step: int) -> dict[str, torch.Tensor]:
    """Master weights and moments of a checkpoint."""
    folder = open_checkpoints(RunFolder.open(run), [step])[0].folder
    files = sorted(folder.glob("rank-*.safetensors"))
    return {key: tensor for file in files for key, tensor in load_file(file).items()}


def lines(run: Path, log: str) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in (run / f"{log}.jsonl").read_bytes().splitlines()]


def losses(run: Path) -> list[tuple[object, ...]]:
    keys = ("step", "loss", "grad_norm", "loss_by_source")
    return [tuple(line[key] for key in keys) for line in lines(run, "metrics")]


def is_new_row(key: str, shape: torch.Size) -> torch.Tensor:
    mask = torch.zeros(shape, dtype=torch.bool)
    if key.split(".", 1)[1] in (EMBEDDING, HEAD):
        mask[OLD:] = True
    return mask


def test_old_rows_and_moments_keep_every_bit_in_a_phase_of_new_rows(
    world: Path, phased: Path
) -> None:
    given = load_file(world / "model" / WEIGHTS)
    for key, tensor in tensors(phased, 3).items():
        kind, name = key.split(".", 1)
        before = given[name].float() if kind == "master" else torch.zeros_like(tensor)
        mask = is_new_row(key, tensor.shape)
        assert torch.equal(tensor[~mask], before[~mask]), key
        if mask.any():
            assert not torch.equal(tensor[mask], before[mask]), key
    moved = [key for key, tensor in tensors(phased, 4).items() if tensor.count_nonzero()]
    assert len(moved) == len(tensors(phased, 4))


def test_every_resume_is_the_undisturbed_run_bit_by_bit(
    world: Path, alone: Processes, phased: Path
) -> None:
    """After step 2 in the first phase, step 3 at the border, and step 5 in the second."""
    for last in (2, 3, 5, 6):
        start(world, alone, "again", *PHASES, f"stop_at_step={last}")
        torch.rand(5)  # what happens between two starts must not matter
    again = world / "runs" / "again"
    assert losses(again) == losses(phased)
    for step in range(1, 7):
        one, other = tensors(phased, step), tensors(again, step)
        assert one.keys() == other.keys()
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items()), step
    states = [
        read_state(open_checkpoints(RunFolder.open(r), [6])[0].folder) for r in (phased, again)
    ]
    assert states[0]["part_steps"] == states[1]["part_steps"]
    for run in (phased, again):
        (event,) = (line for line in lines(run, "events") if line["kind"] == "phase")
        assert event["step"] == 4
        assert str(event["text"]).startswith("training phase 2 began: steps 4 to 6: full, with mom")


def test_step_counts_of_parts_are_saved(phased: Path) -> None:
    steps = {s: read_state(open_checkpoints(RunFolder.open(phased), [s])[0].folder) for s in (3, 6)}
    assert steps[3]["part_steps"] == {
        "body": 0, "embeddings": 0, "new_embeddings": 3, "head": 0, "new_head": 3,
    }  # fmt: skip
    assert set(steps[6]["part_steps"].values()) == {3}  # moments: zero
    assert steps[3]["phase"] == 0
    assert steps[6]["phase"] == 1


def test_an_export_of_the_first_phase_has_the_old_rows(
    world: Path, phased: Path, tmp_path: Path
) -> None:
    given = load_file(world / "model" / WEIGHTS)
    export_run(phased, steps=[3], output=tmp_path / "out", form=ExportForm("fp32"))
    for name, weight in load_file(tmp_path / "out" / WEIGHTS).items():
        mask = is_new_row(f"master.{name}", weight.shape)
        assert torch.equal(weight[~mask], given[name][~mask].float()), name
    assert read_json_object(tmp_path / "out" / "config.json")[BASE_VOCABULARY_KEY] == OLD


def test_phases_cannot_change_in_a_run(world: Path, alone: Processes, phased: Path) -> None:
    for other in ("50%", "2K"):
        phases = f"training.phases=[{{until: {other}, trainable: embeddings}}, {{trainable: full}}]"
        with pytest.raises(ConfigError, match=r"training\.phases.*\n.*export of this one"):
            start(world, alone, "phased", phases, PHASES[1])


def test_new_rows_alone_train_throughout(world: Path, alone: Processes, tmp_path: Path) -> None:
    """What never trains is not in a checkpoint, and an export takes it from the model folder."""
    start(world, alone, "rows", "training.trainable=new_rows", "stop_at_step=2")
    run = world / "runs" / "rows"
    assert {key.split(".", 1)[1] for key in tensors(run, 2)} == {EMBEDDING, HEAD}
    export_run(run, steps=[2], output=tmp_path / "out", form=ExportForm("fp32"))
    given = load_file(world / "model" / WEIGHTS)
    for name, weight in load_file(tmp_path / "out" / WEIGHTS).items():
        mask = is_new_row(f"master.{name}", weight.shape)
        assert torch.equal(weight[~mask], given[name][~mask].float()), name
    start(world, alone, "rows", "training.trainable=new_rows", "training.lr_scale={new_rows: 2.0}")
    (change,) = lines(run, "decisions")[-1]["changes"]  # type: ignore[misc, attr-defined]
    assert (change["key"], change["now"]) == ("training.lr_scale.new_rows", 2.0)
    told = next(line for line in lines(run, "events") if line["kind"] == "model")
    assert f"; new_rows ({2 * 30 * 64:,} parameters); attention" in str(told["text"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert "the rows of added tokens" in card
