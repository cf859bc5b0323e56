"""The published numbers and exactness of ids, on the real tokenizers and real text.

Sweeps take a text in 40; all texts, 100,000 fuzzed strings and a model of 2 GB are `exhaustive`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import sentencepiece
from transformers import AutoTokenizer

from linly.tokenization.growth.characters import (
    DEFAULT_STANDARDS,
    choose_characters,
    standard_characters,
)
from linly.tokenization.growth.extend import add_pad_piece, extend_vocabulary
from linly.tokenization.growth.fertility import LocatedText, compare_vocabularies
from linly.tokenization.growth.merge import Merge, Scores, merge_vocabularies
from linly.tokenization.hugging_face.tokenizer_export import export_tokenizer, why_not_exact
from linly.tokenization.hugging_face.torture import random_texts
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.real_texts import all_texts, some_texts

pytestmark = pytest.mark.real

MIXED = (
    "白日依山尽,黄河入海流。欲穷千里目,更上一层楼。"
    "The primary use of LLaMA is research on large language models, including"
)
CHINESE = "人工智能是计算机科学、心理学、哲学等学科融合的交叉学科。"


@pytest.fixture(scope="module")
def llama(llama_tokenizer_path: Path) -> SentencePieceTokenizer:
    return SentencePieceTokenizer.load(llama_tokenizer_path)


@pytest.fixture(scope="module")
def characters(llama: SentencePieceTokenizer) -> SentencePieceTokenizer:
    chosen = choose_characters(standard_characters(DEFAULT_STANDARDS), llama.pieces(), count=8076)
    return SentencePieceTokenizer(extend_vocabulary(llama, chosen))


@pytest.fixture(scope="module")
def merged(real_data: Path, llama: SentencePieceTokenizer) -> dict[Scores, Merge]:
    other = SentencePieceTokenizer.load(
        real_data / "tokenizers" / "chinese_sp" / "chinese_sp.model"
    )
    return {scores: merge_vocabularies(llama, other, scores) for scores in Scores}


@pytest.fixture(scope="module")
def vocabularies(
    llama: SentencePieceTokenizer, characters: SentencePieceTokenizer, merged: dict[Scores, Merge]
) -> dict[str, SentencePieceTokenizer]:
    return {
        "llama": llama,
        "characters": characters,
        "ranked": SentencePieceTokenizer(merged[Scores.ranked].model_bytes),
        "zero": SentencePieceTokenizer(merged[Scores.zero].model_bytes),
    }


def located(texts: Iterable[str]) -> Iterator[LocatedText]:
    return (LocatedText("", record, text) for record, text in enumerate(texts))


SWEEP = pytest.mark.parametrize(
    "every",
    [pytest.param(40, id="sample"), pytest.param(1, id="all", marks=pytest.mark.exhaustive)],
)


def test_sizes_overlap_and_unreachable_pieces_are_the_published_ones(
    llama: SentencePieceTokenizer, characters: SentencePieceTokenizer, merged: dict[Scores, Merge]
) -> None:
    assert (llama.vocab_size, characters.vocab_size) == (32_000, 40_076)
    for merge in merged.values():
        whole = SentencePieceTokenizer(merge.model_bytes)
        assert (whole.vocab_size, merge.num_added, merge.num_shared) == (49_953, 17_953, 2_047)
        assert SentencePieceTokenizer(add_pad_piece(whole)).vocab_size == 49_954
    assert len(merged[Scores.zero].unreachable) == 345


@pytest.mark.parametrize(
    ("name", "mixed", "chinese"),
    [("llama", 52, 35), ("characters", 40, 29), ("ranked", 36, 16), ("zero", 36, 16)],
)
def test_token_counts_of_the_published_sentences(
    vocabularies: dict[str, SentencePieceTokenizer], name: str, mixed: int, chinese: int
) -> None:
    tokenizer = vocabularies[name]
    assert (len(tokenizer.encode(MIXED)), len(tokenizer.encode(CHINESE))) == (mixed, chinese)


@SWEEP
@pytest.mark.parametrize("name", ["llama", "characters", "ranked"])
def test_every_text_gets_the_ids_of_sentencepiece(
    real_data: Path, vocabularies: dict[str, SentencePieceTokenizer], name: str, every: int
) -> None:
    tokenizer = vocabularies[name]
    assert tokenizer.why_no_cache is None
    bare = sentencepiece.SentencePieceProcessor()
    bare.LoadFromSerializedProto(tokenizer.model_bytes)
    num_texts = 0
    fuzzed = random_texts(tokenizer.pieces(), 10_000 // every)
    for text in (*some_texts(real_data, every), *fuzzed):
        num_texts += 1
        assert tokenizer.encode(text).tolist() == bare.encode(text), text[:200]
    print(f"{name}: {num_texts:,} texts, 0 differ")
    assert num_texts > 100_000 // every


@SWEEP
@pytest.mark.parametrize("name", ["characters", "ranked"])
def test_the_exported_tokenizer_gives_the_ids_of_sentencepiece(
    real_data: Path,
    vocabularies: dict[str, SentencePieceTokenizer],
    name: str,
    every: int,
    tmp_path: Path,
) -> None:
    tokenizer = vocabularies[name]
    assert export_tokenizer(tokenizer, tmp_path).exact
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    num_texts = 0
    fuzzed = random_texts(tokenizer.pieces(), 50_000 // every, seed=1)  # of each of two kinds
    texts = [*some_texts(real_data, every), *fuzzed]
    for start in range(0, len(texts), 1000):
        batch = texts[start : start + 1000]
        for text, ids in zip(batch, loaded(batch, add_special_tokens=False).input_ids, strict=True):
            num_texts += 1
            assert tokenizer.encode(text).tolist() == ids, text[:200]
    print(f"{name}: {num_texts:,} texts, 0 differ")


def test_zero_scores_have_no_exact_export(vocabularies: dict[str, SentencePieceTokenizer]) -> None:
    assert "--scores ranked" in (why_not_exact(vocabularies["zero"]) or "")


@SWEEP
def test_english_without_an_added_character_is_unchanged(
    real_data: Path, llama: SentencePieceTokenizer, characters: SentencePieceTokenizer, every: int
) -> None:
    folders = (real_data / "english", real_data / "eval" / "english")
    texts = [text for folder in folders for text in some_texts(folder, every)]
    report = compare_vocabularies("english", located(texts), llama, characters)
    print(
        f"{report.num_unchanged:,} of {report.documents:,} texts unchanged, "
        f"{report.num_with_added:,} hold an added character"
    )
    assert report.num_unexplained == 0
    assert report.num_unchanged == report.documents - report.num_with_added
    assert report.num_unchanged > 0.9 * report.documents


def test_chinese_needs_a_token_a_character(
    real_data: Path, llama: SentencePieceTokenizer, characters: SentencePieceTokenizer
) -> None:
    for folder in sorted((real_data / "chinese").iterdir()):
        texts = located(all_texts(folder))
        report = compare_vocabularies(folder.name, texts, llama, characters)
        print(
            f"{folder.name}: {report.before_per_character:.3f} -> "
            f"{report.after_per_character:.3f} tokens per character"
        )
        assert report.after_per_character < min(1.1, 0.95 * report.before_per_character)


EXTEND_2_GB = """
import sys
from pathlib import Path
from linly.modeling.embeddings import extend_model
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.peak_memory import peak_bytes
folder = Path(sys.argv[1])
tokenizer = SentencePieceTokenizer.load(folder / "new.model")
extend_model(folder / "old", tokenizer, folder / "new")
print(peak_bytes())
"""


@pytest.mark.exhaustive
def test_a_model_of_2_gb_is_extended_in_less_memory_than_it_has(
    tmp_path: Path, llama: SentencePieceTokenizer, characters: SentencePieceTokenizer
) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    old = tmp_path / "old"
    config = LlamaConfig(num_hidden_layers=4, vocab_size=32000, dtype=torch.bfloat16)
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.to_empty(device="cpu").save_pretrained(old, max_shard_size="700MB")
    del model
    size = sum(path.stat().st_size for path in old.iterdir())
    (old / "tokenizer.model").write_bytes(llama.model_bytes)
    (tmp_path / "new.model").write_bytes(characters.model_bytes)
    done = subprocess.run(
        [sys.executable, "-c", EXTEND_2_GB, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    peak = int(done.stdout)
    print(f"{size / 1e9:.2f} GB extended with a peak of {peak / 1e9:.2f} GB")
    assert size > 1.9e9
    assert peak < 1.5e9
