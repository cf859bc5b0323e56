"""Whole exports in llama.cpp: ids on real text, greedy answers and logits of the model itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from linly.config.recipe import load_recipe
from linly.export.gguf.gguf_file import GgufType, write_gguf
from linly.export.model_export import ExportForm, export_run
from linly.modeling.completion import prompt_ids
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.gguf_models import write_reference, write_tiny
from tests.support.llamacpp import read_with_llamacpp
from tests.support.real_texts import some_texts
from tests.support.real_vocabularies import real_vocabularies
from tests.support.tiny_world import CHINESE, ENGLISH, make_tiny_world

EVERY = 160
NEW_TOKENS = 12
PRE_TOKENIZERS = ("qwen2", "gpt-2", "llama-bpe")


@pytest.fixture(scope="module")
def texts(real_data: Path) -> list[str]:
    return some_texts(real_data, EVERY)


@pytest.fixture(scope="module")
def vocabularies(
    real_data: Path,
    llama_tokenizer_path: Path,
    texts: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Tokenizer]:
    place = tmp_path_factory.mktemp("bpe")
    named = real_vocabularies(real_data, texts, place, PRE_TOKENIZERS)
    return {name: named[name] for name in NAMES}


NAMES = ("characters", "merged", *PRE_TOKENIZERS, *(f"{n}-extended" for n in PRE_TOKENIZERS))


@pytest.fixture(scope="module")
def found(
    vocabularies: dict[str, Tokenizer], texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What llama.cpp reads in a GGUF file with each vocabulary."""
    place = tmp_path_factory.mktemp("files")
    for name, tokenizer in vocabularies.items():
        model, folder = place / "models" / name, place / "files" / name
        family = "llama" if isinstance(tokenizer, SentencePieceTokenizer) else "qwen2"
        reference = write_tiny(model, family, tokenizer, hidden_size=32, num_hidden_layers=1)
        folder.mkdir(parents=True)
        write_gguf(model, folder / "m.gguf", GgufType.q8_0, name=name)
        (folder / "texts.json").write_text(json.dumps(texts))
        write_reference(folder, reference)
    return read_with_llamacpp(place / "files")


@pytest.mark.real
@pytest.mark.parametrize("name", NAMES)
def test_vocabularies_give_their_ids_on_real_text(
    vocabularies: dict[str, Tokenizer], texts: list[str], found: dict[str, Any], name: str
) -> None:
    assert len(texts) > 100_000 // EVERY
    assert "error" not in found[name], found[name]
    for text, ids in zip(texts, found[name]["ids"], strict=True):
        assert vocabularies[name].encode(text).tolist() == ids, text[:200]
    assert found[name]["difference"] < 5e-2
    print(f"{name}: {len(texts):,} texts, 0 differ")


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory, alone: Processes) -> Path:
    """A trained model, with its GGUF file."""
    world = tmp_path_factory.mktemp("world")
    make_tiny_world(world, num_steps=60)
    settings = [
        "data.producers=0",
        "training.lr=5e-3",
        "checkpoint.every=60",
        "evaluation.every=99",
    ]
    train(load_recipe(world / "recipe.yaml", settings), alone, resume_step=None, is_quiet=True)
    form = ExportForm(gguf=(GgufType.f16,))
    export_run(world / "runs" / "tiny", steps=[], output=world / "out" / "tiny", form=form)
    return world / "out" / "tiny"


def prompts() -> list[str]:
    english = [" ".join(ENGLISH[at : at + 3]) for at in range(10)]
    chinese = ["".join(CHINESE[at : at + 3]) for at in range(8)]
    return [*english, *chinese, "### Instruction:the cat sees  ### Response:", "<s> the"]


def test_greedy_answers_are_those_of_the_model(export: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32).eval()
    (export / "prompts.json").write_text(json.dumps(prompts()))
    write_reference(export, model)
    (answer,) = read_with_llamacpp(export.parent).values()
    assert "error" not in answer, answer
    assert len(prompts()) == 20
    assert answer["texts"] == list(greedy(model, load_tokenizer(export), prompts()))
    assert len(set(answer["texts"])) > 1
    assert answer["difference"] < 5e-3


def greedy(model: PreTrainedModel, tokenizer: Tokenizer, texts: Iterable[str]) -> Iterable[str]:
    """Text that a model writes after each prompt, always with the likeliest token."""
    for text in texts:
        ids, new = prompt_ids(tokenizer, text), []
        for _ in range(NEW_TOKENS):
            with torch.no_grad():
                token = int(model(torch.tensor([ids + new])).logits[0, -1].argmax())
            if token == tokenizer.eos_id:
                break
            new.append(token)
        yield tokenizer.decode(new)
