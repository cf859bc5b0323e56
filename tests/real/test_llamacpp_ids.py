"""llama.cpp gives the exported vocabularies' ids on real text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from linly.tokenization.growth.characters import (
    DEFAULT_STANDARDS,
    choose_characters,
    standard_characters,
)
from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.growth.merge import Scores, merge_vocabularies
from linly.tokenization.hugging_face.tokenizer_export import export_tokenizer
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer
from tests.support.byte_level import PRE_TOKENIZERS, train_byte_level, with_new_characters
from tests.support.llamacpp import read_with_llamacpp
from tests.support.real_texts import some_texts

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
    characters = list(standard_characters(DEFAULT_STANDARDS))
    llama = SentencePieceTokenizer.load(llama_tokenizer_path)
    chosen = choose_characters(characters, llama.pieces(), count=8076)
    chinese = real_data / "tokenizers" / "chinese_sp" / "chinese_sp.model"
    merge = merge_vocabularies(llama, SentencePieceTokenizer.load(chinese), Scores.ranked)
    place = tmp_path_factory.mktemp("bpe")
    byte_level = {name: train_byte_level(place / name, name, texts) for name in PRE_TOKENIZERS}
    return {
        "llama": llama,
        "characters": SentencePieceTokenizer(extend_vocabulary(llama, chosen)),
        "merged": SentencePieceTokenizer(merge.model_bytes),
        **byte_level,
        **{f"{name}-extended": with_new_characters(base) for name, base in byte_level.items()},
    }


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
