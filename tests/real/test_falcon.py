"""Falcon through the whole method on real text: English base, extension, mixture, export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import orjson
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from linly.config.recipe import load_recipe
from linly.config.yaml.yaml import write_yaml
from linly.export.model_export import ExportForm, assemble, export_run
from linly.export.run_checkpoints import open_checkpoints
from linly.modeling.embeddings import extend_model
from linly.modeling.load_model import save_model
from linly.runs.runs import RunFolder
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.byte_level import train_byte_level, with_new_characters
from tests.support.llamacpp import read_with_llamacpp
from tests.support.models import tiny_model
from tests.support.real_texts import some_texts
from tests.support.transformers4 import read_with_transformers4

pytestmark = [pytest.mark.real, pytest.mark.exhaustive]

CORPORA = Path(__file__).parent / "corpora"
LENGTH, BATCH, STEPS_BASE, STEPS = 256, 8, 60, 120
ENGLISH = {"english": {"ratio": "100%", "sources": {"real-refinedweb": "100%"}}}
MIXTURE = {
    "english": {
        "ratio": {"curve": "cosine", "from": "60%", "to": "20%"},
        "sources": {"real-refinedweb": "100%"},
    },
    "instruction": {
        "ratio": {"curve": "linear", "from": "10%", "to": "20%"},
        "sources": {"real-alpaca-zh": "50%", "real-alpaca-en": "50%"},
    },
    "chinese": {"ratio": "rest", "sources": {"real-wiki": "50%", "real-webtext": "50%"}},
}


def recipe_file(
    folder: Path, name: str, model: Path, mixture: object, steps: int, data: Path
) -> Path:
    content = {
        "curriculum": {"tokens": steps * BATCH * LENGTH, "mixture": mixture},
        "corpora": [str(CORPORA)],
        "data_root": str(data),
        "run": str(folder / f"run-{name}"),
        "model": str(model),
        "data": {"sequence_length": LENGTH, "global_batch": BATCH, "seed": 7, "producers": 0},
        "training": {
            "lr": 3e-3,
            "warmup": "5%",
            "micro_batch": 4,
            "activation_checkpointing": "none",
        },
        "checkpoint": {"every": steps, "keep_every": None},
        "evaluation": {"every": steps, "max_documents": 4, "prompts": []},
    }
    path = folder / f"{name}.yaml"
    path.write_text(write_yaml(content))
    return path


@pytest.fixture(scope="module")
def place(real_data: Path, alone: Processes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the base model, the extended one, both runs and the export."""
    folder = tmp_path_factory.mktemp("falcon")
    texts = some_texts(real_data / "english", 4)
    vocabulary = train_byte_level(folder / "vocabulary", "falcon", texts, size=3000)
    model = tiny_model(
        "falcon-7b",
        vocab_size=vocabulary.vocab_size,
        hidden_size=128,
        ffn_hidden_size=512,
        bos_token_id=vocabulary.bos_id,
        eos_token_id=vocabulary.eos_id,
    )
    save_model(model, vocabulary, folder / "random")
    base = recipe_file(folder, "base", folder / "random", ENGLISH, STEPS_BASE, real_data)
    train(load_recipe(base, []), alone, resume_step=None, is_quiet=True)
    export_run(folder / "run-base", steps=[], output=folder / "base", form=ExportForm("bf16"))
    larger = with_new_characters(load_tokenizer(folder / "base"), count=3000)
    extend_model(folder / "base", larger, folder / "extended")
    mixture = recipe_file(folder, "mixture", folder / "extended", MIXTURE, STEPS, real_data)
    train(load_recipe(mixture, []), alone, resume_step=None, is_quiet=True)
    run = RunFolder.open(folder / "run-mixture")
    export_run(run.path, steps=[], output=folder / "exports" / "model", form=ExportForm("fp32"))
    ids = torch.randint(0, larger.vocab_size, (2, 48), generator=torch.Generator().manual_seed(0))
    trained = assemble(open_checkpoints(run, ()), torch.float32)
    with torch.no_grad():
        logits = trained(ids, use_cache=False).logits.contiguous()
    save_file({"ids": ids, "logits": logits}, folder / "exports/model/reference.safetensors")
    return folder


def lines(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_the_loss_of_every_source_falls(place: Path) -> None:
    steps = lines(place / "run-mixture" / "metrics.jsonl")
    assert len(steps) == STEPS
    for source in steps[-1]["loss_by_source"]:  # type: ignore[attr-defined]
        losses = [step["loss_by_source"].get(source) for step in steps]  # type: ignore[attr-defined]
        losses = [loss for loss in losses if loss is not None]
        quarter = len(losses) // 4
        first, last = sum(losses[:quarter]) / quarter, sum(losses[-quarter:]) / quarter
        print(f"{source}: {first:.2f} -> {last:.2f}")
        assert last < first, source


def test_held_out_bits_per_byte_of_every_source_fall(place: Path) -> None:
    before, *_, after = lines(place / "run-mixture" / "evaluations.jsonl")
    assert (before["step"], after["step"]) == (0, STEPS)
    sources = before["sources"]
    assert sources.keys() == {name for group in MIXTURE.values() for name in group["sources"]}  # type: ignore[attr-defined]
    for source, measured in sources.items():  # type: ignore[attr-defined]
        now = after["sources"][source]["bits_per_byte"]  # type: ignore[index]
        print(f"{source}: {measured['bits_per_byte']:.2f} -> {now:.2f}")
        assert now < measured["bits_per_byte"], source


def test_transformers_5_gives_the_trained_logits_and_ids(place: Path, real_data: Path) -> None:
    from safetensors.torch import load_file

    export = place / "exports" / "model"
    reference = load_file(export / "reference.safetensors")
    model = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32)
    with torch.no_grad():
        logits = model(reference["ids"], use_cache=False).logits
    torch.testing.assert_close(logits, reference["logits"])
    tokenizer, loaded = load_tokenizer(export), AutoTokenizer.from_pretrained(export)
    for text in some_texts(real_data / "eval", 40):
        assert loaded.encode(text, add_special_tokens=False) == tokenizer.encode(text).tolist()


def test_transformers_4_gives_the_trained_logits(place: Path) -> None:
    found = read_with_transformers4(place / "exports")
    assert found["model"].get("difference", 1.0) < 1e-4, found


def test_llamacpp_gives_the_trained_logits_and_ids(place: Path, real_data: Path) -> None:
    texts = some_texts(real_data / "eval", 40)
    folder = place / "for-llamacpp"
    shutil.copytree(place / "exports" / "model", folder / "model")
    without = shutil.ignore_patterns("reference.safetensors")
    shutil.copytree(place / "exports" / "model", folder / "tokenizer", ignore=without)
    (folder / "tokenizer" / "texts.json").write_text(json.dumps(texts))
    for name in ("model", "tokenizer"):
        (folder / name / "pre_tokenizer").write_text("falcon")
    found = read_with_llamacpp(folder)
    assert found["model"].get("difference", 1.0) < 2e-3, found["model"]
    tokenizer = load_tokenizer(folder / "tokenizer")
    assert found["tokenizer"].get("ids") == [tokenizer.encode(text).tolist() for text in texts]
