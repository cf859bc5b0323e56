"""llama.cpp gives the exported vocabularies' ids on real text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from linly.tokenization.hugging_face.tokenizer_export import export_tokenizer
from linly.tokenization.tokenizer import Tokenizer
from tests.support.byte_level import PRE_TOKENIZERS
from tests.support.llamacpp import read_with_llamacpp
from tests.support.real_texts import some_texts
from tests.support.real_vocabularies import real_vocabularies

pytestmark = pytest.mark.real

EVERY = 40


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
    return real_vocabularies(real_data, texts, place, PRE_TOKENIZERS)


@pytest.fixture(scope="module")
def found(
    vocabularies: dict[str, Tokenizer], texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[list[int]]]:
    """llama.cpp's ids of all texts, by vocabulary."""
    place = tmp_path_factory.mktemp("exports")
    for name, tokenizer in vocabularies.items():
        folder = place / name
        folder.mkdir()
        assert export_tokenizer(tokenizer, folder).exact
        pre_tokenizer = name.removesuffix("-extended")
        family = "qwen2" if pre_tokenizer in PRE_TOKENIZERS else "llama"
        architecture = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}[family]
        config = {
            "architectures": [architecture],
            "model_type": family,
            "vocab_size": tokenizer.vocab_size,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 256,
            "rms_norm_eps": 1e-6,
        }
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "texts.json").write_text(json.dumps(texts))
        if family == "qwen2":
            (folder / "pre_tokenizer").write_text(pre_tokenizer)
    answers = read_with_llamacpp(place)
    return {name: answer.get("ids", answer.get("error")) for name, answer in answers.items()}


@pytest.mark.parametrize(
    "name",
    ["llama", "characters", "merged", *PRE_TOKENIZERS, *(f"{n}-extended" for n in PRE_TOKENIZERS)],
)
def test_llamacpp_gives_the_vocabularys_ids(
    vocabularies: dict[str, Tokenizer],
    texts: list[str],
    found: dict[str, list[list[int]]],
    name: str,
) -> None:
    assert len(texts) > 100_000 // EVERY
    assert isinstance(found[name], list), found[name]
    for text, ids in zip(texts, found[name], strict=True):
        assert vocabularies[name].encode(text).tolist() == ids, text[:200]
    print(f"{name}: {len(texts):,} texts, 0 differ")
