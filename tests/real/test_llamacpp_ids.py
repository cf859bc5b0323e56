"""llama.cpp gives the exported vocabularies' ids on real text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from linly.tokenization.byte_level import ByteLevelTokenizer, to_letters
from linly.tokenization.growth.byte_merges import extend_byte_level
from linly.tokenization.growth.characters import (
    DEFAULT_STANDARDS,
    choose_characters,
    standard_characters,
)
from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.growth.merge import Scores, merge_vocabularies
from linly.tokenization.hugging_face.export import export_tokenizer
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer
from tests.support.llamacpp import read_with_llamacpp
from tests.support.real_texts import some_texts

pytestmark = pytest.mark.real

QWEN_2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
EVERY = 30


def byte_level_vocabulary(folder: Path, texts: list[str]) -> ByteLevelTokenizer:
    """A vocabulary of 4,000 pieces with the pre-tokenizer of Qwen 2."""
    made = tokenizers.Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(tokenizers.Regex(QWEN_2), "isolated")
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([cut, letters])
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4000, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(texts, trainer)
    made.add_special_tokens(["<|endoftext|>"])
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    configuration = {"tokenizer_class": "Qwen2Tokenizer", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(configuration))
    return ByteLevelTokenizer.load(folder)


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
    base = byte_level_vocabulary(tmp_path_factory.mktemp("bpe") / "base", texts)
    tried = range(0x3000, 0xA000)
    known = base.json["model"]["vocab"]
    new = [c for c in characters if c >= "一" and to_letters(c.encode()) not in known]
    return {
        "llama": llama,
        "characters": SentencePieceTokenizer(extend_vocabulary(llama, chosen)),
        "merged": SentencePieceTokenizer(merge.model_bytes),
        "qwen2": base,
        "qwen2-extended": extend_byte_level(base, new[:1000], tried=tried).tokenizer,
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
        family = "qwen2" if name.startswith("qwen2") else "llama"
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
            (folder / "pre_tokenizer").write_text("qwen2")
    answers = read_with_llamacpp(place)
    return {name: answer.get("ids", answer.get("error")) for name, answer in answers.items()}


@pytest.mark.parametrize("name", ["llama", "characters", "merged", "qwen2", "qwen2-extended"])
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
