"""Exports: the mean of several checkpoints, files of a size, tied weights, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from linly.config.chat_format import read_chat_templates
from linly.config.recipe import load_recipe
from linly.errors import CheckpointError, ConfigError
from linly.export import model_export as module
from linly.export.gguf.gguf_file import GgufType
from linly.export.model_export import ExportForm, export_run
from linly.export.run_checkpoints import open_checkpoints, parse_run
from linly.export.trained_template import jinja_template
from linly.modeling.load_model import load_model, save_weights
from linly.modeling.stored.weight_files import WEIGHTS, WEIGHTS_INDEX
from linly.runs.runs import RunFolder
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.tiny_world import make_tiny_world

STEPS = (2, 4, 6)
LORA = "training.trainable={lora: {rank: 2, also: [embed_tokens]}}"
QUERY = "model.layers.1.self_attn.q_proj"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world whose model has its output layer tied to the embedding."""
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=6)
    given = load_model(folder / "model").config
    torch.manual_seed(1)
    tied = LlamaForCausalLM(LlamaConfig(**given.to_dict() | {"tie_word_embeddings": True}))
    save_weights(tied, folder / "model")
    (folder / "model/chat_template.json").write_text('{"chat_template": "{{ messages }}"}')
    (folder / "model/additional_chat_templates").mkdir()
    (folder / "model/additional_chat_templates/tool_use.jinja").write_text("{{ tools }}")
    return folder


def start(world: Path, alone: Processes, name: str, *overrides: str) -> Path:
    run = world / "runs" / name
    settings = ["data.producers=0", "training.lr=1e-2", "checkpoint.every=2", "evaluation.every=99"]
    recipe = load_recipe(world / "recipe.yaml", [f"run={run}", *settings, *overrides])
    train(recipe, alone, resume_step=None, is_quiet=True)
    return run


@pytest.fixture(scope="module")
def full(world: Path, alone: Processes) -> Path:
    return start(world, alone, "full")


def masters(run: Path) -> list[dict[str, torch.Tensor]]:
    """Of each step."""
    return [
        {n: c.master(n) for n in c.manifest.parameters}
        for c in open_checkpoints(RunFolder.open(run), STEPS)
    ]


@pytest.mark.parametrize(
    ("dtype", "torch_dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_several_steps_are_averaged_and_cast_once(
    full: Path, tmp_path: Path, dtype: str, torch_dtype: torch.dtype
) -> None:
    exported = export_run(full, steps=STEPS, output=tmp_path / "out", form=ExportForm(dtype))
    assert exported.steps == STEPS
    found, parts = load_file(tmp_path / "out" / WEIGHTS), masters(full)
    assert found.keys() == parts[0].keys()
    for name, weight in found.items():
        mean = torch.stack([part[name].double() for part in parts]).mean(dim=0)
        assert torch.equal(weight, mean.to(torch_dtype)), name
        assert not torch.equal(weight, parts[-1][name].to(torch_dtype)), name


def test_chat_template_is_that_of_the_trained_instructions(full: Path, tmp_path: Path) -> None:
    """In place of the base model's, which the run has not trained."""
    export_run(full, steps=[], output=tmp_path / "out", form=ExportForm("bf16"))
    templates = {"default": "{{ messages }}", "tool_use": "{{ tools }}"}
    assert read_chat_templates(full / "model") == templates
    trained = jinja_template("linly", load_tokenizer(full / "model"))
    assert read_chat_templates(tmp_path / "out") == {"default": trained}
    config = orjson.loads((tmp_path / "out/tokenizer_config.json").read_bytes())
    assert config["split_special_tokens"] is False


def test_gguf_export_is_whole_and_names_no_local_path(
    world: Path, full: Path, tmp_path: Path
) -> None:
    form = ExportForm(gguf=(GgufType.q8_0, GgufType.f16))
    exported = export_run(full, steps=[], output=tmp_path / "out", form=form)
    assert exported.gguf_files == ("full-q8_0.gguf", "full-f16.gguf")
    modelfile = (tmp_path / "out" / "Modelfile").read_text()
    assert "FROM ./full-q8_0.gguf\n" in modelfile
    assert "### Instruction:" in modelfile
    for path in (tmp_path / "out").iterdir():
        if path.suffix not in (".safetensors", ".model"):
            for place in (world, tmp_path, Path.cwd()):
                assert str(place).encode() not in path.read_bytes(), path


def test_the_card_says_what_was_averaged(full: Path, tmp_path: Path) -> None:
    export_run(full, steps=(6, 2), output=tmp_path / "out", form=ExportForm("bf16"))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "# full, mean of steps 2, 6\n" in card
    assert "unweighted mean of 2 checkpoints, computed from fp32 weights" in card
    assert "| full | 6 | 1/2 |\n| full | 2 | 1/2 |" in card
    assert "describe the run full at step 6" in card
    assert "| english |" in card
    assert "all parameters" in card


def test_a_tied_weight_is_written_once_and_a_large_model_in_several_files(
    full: Path, tmp_path: Path
) -> None:
    export_run(full, steps=[], output=tmp_path / "out", form=ExportForm("fp32", "100KB"))
    index = orjson.loads((tmp_path / "out" / WEIGHTS_INDEX).read_bytes())["weight_map"]
    assert len(set(index.values())) > 2
    assert "model.embed_tokens.weight" in index
    assert "lm_head.weight" not in index
    export_run(full, steps=[], output=tmp_path / "one", form=ExportForm("fp32"))
    cut, whole = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("out", "one"))
    ids = torch.arange(3, 35).view(1, 32)
    with torch.no_grad():
        assert torch.equal(cut(ids).logits, whole(ids).logits)
    for name in ("generation_config.json", "tokenizer.json", "tokenizer.model", "config.json"):
        assert (tmp_path / "out" / name).is_file()


def test_of_lora_the_mean_is_that_of_the_merged_weights(
    world: Path, alone: Processes, tmp_path: Path
) -> None:
    """The mean of the products, which is not the product of the means."""
    run = start(world, alone, "lora", LORA)
    export_run(run, steps=STEPS, output=tmp_path / "out", form=ExportForm("fp32"))
    found, parts = load_file(tmp_path / "out" / WEIGHTS), masters(run)
    given = load_file(world / "model" / WEIGHTS)
    products = [
        part[f"{QUERY}.lora_B.default.weight"] @ part[f"{QUERY}.lora_A.default.weight"]
        for part in parts
    ]
    mean = given[f"{QUERY}.weight"] + 32 / 2 * torch.stack(products).mean(dim=0)
    assert torch.allclose(found[f"{QUERY}.weight"], mean, atol=1e-6)
    first, second = (
        torch.stack([part[f"{QUERY}.lora_{m}.default.weight"] for part in parts]).mean(dim=0)
        for m in "AB"
    )
    wrong = given[f"{QUERY}.weight"] + 32 / 2 * second @ first
    assert not torch.allclose(found[f"{QUERY}.weight"], wrong, atol=1e-4)
    assert torch.equal(found["model.norm.weight"], given["model.norm.weight"])


def test_one_torn_checkpoint_of_several_is_an_error(
    world: Path, alone: Processes, tmp_path: Path
) -> None:
    run = start(world, alone, "torn")
    rank = run / "checkpoints" / "step-00000004" / "rank-00000.safetensors"
    os.truncate(rank, rank.stat().st_size - 1)
    with pytest.raises(CheckpointError, match="step-00000004 was requested; found damage"):
        export_run(run, steps=STEPS, output=tmp_path / "out", form=ExportForm("bf16"))
    assert not (tmp_path / "out").exists()


def test_an_export_appears_whole_or_not_at_all(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*arguments: object, **settings: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "export_tokenizer", full_disk)  # after the weights
        with pytest.raises(OSError, match="No space left"):
            export_run(full, steps=[], output=tmp_path / "out", form=ExportForm("bf16"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "int8"}, "--dtype: found 'int8', allowed: bf16, fp16, fp32"),
        ({"shard_size": "5 TB"}, "--shard-size: found '5 TB', allowed: a size such as 5GB, 500MB"),
    ],
)
def test_what_is_asked_wrongly_is_named(
    full: Path, tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ExportForm(**settings)


def test_a_run_is_named_with_its_steps(tmp_path: Path) -> None:
    assert parse_run("runs/a@step-20,40,step-00000060") == (Path("runs/a"), (20, 40, 60))
    assert parse_run("runs/a") == (Path("runs/a"), ())
    with pytest.raises(ConfigError, match="a step is named twice"):
        parse_run("runs/a@20,step-20")
    with pytest.raises(CheckpointError, match="write step-N"):
        parse_run("runs/a@20,")
