"""Runs that train a part of the model: the embedding alone, or LoRA; what stays frozen stays."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from linly.config.recipe import load_recipe
from linly.errors import CheckpointError, ConfigError
from linly.export.generation import Sampling, generate_texts, open_model
from linly.export.model_export import ExportForm, export_run
from linly.export.run_checkpoints import open_checkpoints
from linly.modeling.load_model import load_model
from linly.modeling.stored.weight_files import WEIGHTS
from linly.modeling.trainable import make_trainable
from linly.runs.runs import RunFolder
from linly.training.checkpoints.checkpoint_files import read_master_weight
from linly.training.checkpoints.manifest import Manifest
from linly.training.loop.trainer import Outcome, train
from linly.training.ranks.processes import Processes
from tests.support.tiny_world import make_tiny_world

LORA = "training.trainable={lora: {rank: 4, dropout: 10%, also: [embed_tokens, lm_head]}}"
EMBEDDINGS = "training.trainable=embeddings"
EMBEDDING, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
QUERY = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=6)
    return folder


def start(
    world: Path, alone: Processes, name: str, *overrides: str, step: int | None = None
) -> Outcome:
    base = [f"run={world / 'runs' / name}", "data.producers=0", "training.lr=1e-2"]
    base += ["checkpoint.every=2", "evaluation.max_documents=4", "evaluation.prompts=[]"]
    recipe = load_recipe(world / "recipe.yaml", [*base, *overrides])
    return train(recipe, alone, resume_step=step, is_quiet=True)


@pytest.fixture(scope="module")
def embeddings(world: Path, alone: Processes) -> Path:
    """A run of 4 steps that trains the embedding; checkpoints at 2 and 4."""
    start(world, alone, "embeddings", EMBEDDINGS, "stop_at_step=4")
    return world / "runs" / "embeddings"


@pytest.fixture(scope="module")
def lora(world: Path, alone: Processes) -> Path:
    """A run of 6 steps that trains LoRA, embedding and head; checkpoints at 2, 4 and 6."""
    start(world, alone, "lora", LORA)
    return world / "runs" / "lora"


def checkpoint(run: Path, step: int) -> tuple[Path, Manifest]:
    opened = open_checkpoints(RunFolder.open(run), [step])[0]
    return opened.folder, opened.manifest


def masters(run: Path, step: int) -> dict[str, torch.Tensor]:
    folder, manifest = checkpoint(run, step)
    files = manifest.parameters
    return {name: read_master_weight(folder / file, name) for name, file in files.items()}


def exported(run: Path, output: Path, *steps: int, dtype: str = "fp32") -> dict[str, torch.Tensor]:
    export_run(run, steps=steps, output=output, form=ExportForm(dtype))
    return load_file(output / WEIGHTS)


def test_a_checkpoint_holds_what_trains_and_nothing_else(embeddings: Path, lora: Path) -> None:
    assert set(masters(embeddings, 4)) == {EMBEDDING}
    names = set(masters(lora, 6))
    assert {EMBEDDING, OUTPUT, QUERY.replace("weight", "lora_B.default.weight")} <= names
    assert len(names) == 2 + 2 * 4 * 2  # matrices, of four projections, of two layers
    assert not any("base_layer" in name for name in names)


def test_the_embedding_moves_and_the_rest_keeps_every_bit(
    embeddings: Path, world: Path, tmp_path: Path
) -> None:
    before, after = load_file(world / "model" / WEIGHTS), exported(embeddings, tmp_path / "out")
    assert before.keys() == after.keys()
    for name, weight in before.items():
        assert torch.equal(weight, after[name]) is (name != EMBEDDING), name


def test_lora_moves_its_targets_and_the_rest_keeps_every_bit(
    lora: Path, world: Path, tmp_path: Path
) -> None:
    before, after = load_file(world / "model" / WEIGHTS), exported(lora, tmp_path / "out")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[-2] for name in moved} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "embed_tokens", "lm_head",
    }  # fmt: skip
    assert len(moved) == 2 * 4 + 2


def test_an_export_of_lora_gives_the_logits_of_peft(
    lora: Path, world: Path, tmp_path: Path
) -> None:
    """In fp32 the merged model and peft's own, with its matrices beside the weights, agree."""
    recipe = load_recipe(lora / "recipe.yaml")
    trained = load_model(world / "model")
    make_trainable(trained, recipe.training.trainable, seed=0)
    weights = masters(lora, 6)
    trained.load_state_dict(weights, strict=False)
    trained.train(False)
    export_run(lora, steps=[6], output=tmp_path / "out", form=ExportForm("fp32"))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.arange(3, 67).view(2, 32)
    with torch.no_grad():
        expected, found = trained(ids).logits, merged(ids).logits
        given = load_model(world / "model")(ids).logits
    assert torch.allclose(expected, found, atol=1e-5)
    assert not torch.allclose(expected, given, atol=1e-2)


@pytest.mark.parametrize(("name", "trainable"), [("embeddings", EMBEDDINGS), ("lora", LORA)])
def test_a_resumed_run_is_the_undisturbed_one_bit_by_bit(
    world: Path, alone: Processes, name: str, trainable: str, request: pytest.FixtureRequest
) -> None:
    """With dropout: the random states are in the checkpoint."""
    whole = request.getfixturevalue(name)
    last = 4 if name == "embeddings" else 6
    again = f"{name}-again"
    start(world, alone, again, trainable, "stop_at_step=2")
    torch.rand(5)  # what happens between two starts must not matter
    start(world, alone, again, trainable, f"stop_at_step={last}")
    before, after = masters(whole, last), masters(world / "runs" / again, last)
    assert before.keys() == after.keys()
    for key, weight in before.items():
        assert torch.equal(weight, after[key]), key


def test_dropout_is_at_work(world: Path, alone: Processes, lora: Path) -> None:
    start(world, alone, "dry", LORA.replace("10%", "0%"), "stop_at_step=2")
    dry, wet = masters(world / "runs" / "dry", 2), masters(lora, 2)
    assert any(not torch.equal(dry[name], wet[name]) for name in dry)


def test_a_model_learns_by_either(embeddings: Path, lora: Path) -> None:
    for run in (embeddings, lora):
        lines = (run / "evaluations.jsonl").read_bytes().splitlines()
        before, after = (orjson.loads(line)["sources"]["chinese"] for line in lines)
        assert after["bits_per_byte"] < before["bits_per_byte"]


def test_the_run_says_how_much_trains(lora: Path, tmp_path: Path) -> None:
    events = [orjson.loads(line) for line in (lora / "events.jsonl").read_bytes().splitlines()]
    told = next(event for event in events if event["kind"] == "model")
    trained = sum(weight.numel() for weight in masters(lora, 6).values())
    assert told["trained"] == trained
    text = f"{trained:,} of {told['parameters']:,} parameters ({trained / told['parameters']:.2%})"
    assert told["text"].startswith(f"training {text}")
    export_run(lora, steps=[], output=tmp_path / "out", form=ExportForm("bf16"))
    card = (tmp_path / "out" / "README.md").read_text()
    layers = "q_proj, k_proj, v_proj, o_proj, embed_tokens in full, lm_head in full"
    assert f"LoRA of rank 4 on {layers}, {text}; merged here" in card


def test_generation_from_a_run_and_from_its_export_agree(lora: Path, tmp_path: Path) -> None:
    export_run(lora, steps=[], output=tmp_path / "out", form=ExportForm("bf16"))
    sampling = Sampling(max_new_tokens=6, temperature=0)
    texts = [
        list(generate_texts(open_model(name), ["the cat"], template="text", sampling=sampling))
        for name in (str(lora), str(tmp_path / "out"))
    ]
    assert texts[0] == texts[1]


def test_frozen_weights_that_changed_are_refused(
    world: Path, alone: Processes, embeddings: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(world / "model", model)
    start(world, alone, "changed", EMBEDDINGS, f"model={model}", "stop_at_step=2")
    weights = load_file(model / WEIGHTS)
    weights[QUERY][0, 0] += 1
    save_file(weights, model / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"does not match the run .*: model\.safetensors differs"):
        start(world, alone, "changed", EMBEDDINGS, f"model={model}")
    run = world / "runs" / "changed"
    with pytest.raises(CheckpointError, match="its files have changed"):
        export_run(run, steps=[], output=tmp_path / "out", form=ExportForm("bf16"))
    shutil.rmtree(model)
    with pytest.raises(CheckpointError, match=r"frozen weights .* be loaded: .*no such folder"):
        export_run(run, steps=[], output=tmp_path / "out", form=ExportForm("bf16"))
    assert not (tmp_path / "out").exists()
    start(world, alone, "changed", EMBEDDINGS, "stop_at_step=3")  # the same model, elsewhere
    export_run(run, steps=[2], output=tmp_path / "out", form=ExportForm("bf16"))


def test_a_run_cannot_change_what_it_trains(world: Path, alone: Processes, lora: Path) -> None:
    for other in ("training.trainable=full", EMBEDDINGS, LORA.replace("rank: 4", "rank: 8")):
        with pytest.raises(ConfigError, match=r"training\.trainable.*\n.*export of this one"):
            start(world, alone, "lora", other)


def test_stages_follow_each_other_through_exports(
    world: Path, alone: Processes, embeddings: Path, tmp_path: Path
) -> None:
    """The order of Chinese-LLaMA: the embedding, then LoRA, then everything."""
    first, second = tmp_path / "first", tmp_path / "second"
    one = exported(embeddings, first)
    start(world, alone, "stage-2", LORA, f"model={first}", "stop_at_step=2")
    two = exported(world / "runs" / "stage-2", second)
    start(world, alone, "stage-3", f"model={second}", "stop_at_step=2")
    three = exported(world / "runs" / "stage-3", tmp_path / "third")
    norm = "model.norm.weight"
    assert torch.equal(one[norm], two[norm])
    assert not torch.equal(two[norm], three[norm])
    assert not torch.equal(one[QUERY], two[QUERY])
    baseline, *_ = (world / "runs" / "stage-3" / "evaluations.jsonl").read_bytes().splitlines()
    last = (world / "runs" / "stage-2" / "evaluations.jsonl").read_bytes().splitlines()[-1]
    for source, result in orjson.loads(last)["sources"].items():  # it goes on where stage 2 ended
        begun = orjson.loads(baseline)["sources"][source]
        assert begun["bits_per_byte"] == pytest.approx(result["bits_per_byte"], rel=0.01)


def test_an_output_layer_of_its_own_trains_and_exports_though_config_ties_it(
    world: Path, alone: Processes, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(world / "model", model)
    config = orjson.loads((model / "config.json").read_bytes())
    (model / "config.json").write_bytes(orjson.dumps(config | {"tie_word_embeddings": True}))
    start(world, alone, "untied", f"model={model}", "stop_at_step=2")
    events = (world / "runs" / "untied" / "events.jsonl").read_text()
    assert "is loaded as a separate layer (tie_word_embeddings: false)" in events
    weights = exported(world / "runs" / "untied", tmp_path / "export")
    assert not torch.equal(weights[EMBEDDING], weights[OUTPUT])
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "export", dtype="auto")
    assert torch.equal(plain.lm_head.weight, weights[OUTPUT])
    assert plain.config.tie_word_embeddings is False
