"""Learned words join old tokens and change nothing else, in vocabularies of either kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from linly.errors import ConfigError
from linly.tokenization.growth.byte_merges import extend_byte_level
from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.growth.reachable import unreachable_pieces
from linly.tokenization.hugging_face.tokenizer_export import (
    compare,
    hugging_face_json,
    why_not_exact,
)
from linly.tokenization.hugging_face.torture import torture_texts
from linly.tokenization.model_file import NORMAL, parse_model
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.subtokens import added_subtokens
from linly.tokenization.tokenizer import Tokenizer
from linly.tokenization.words.learn_words import learn_words
from linly.tokenization.words.scripts import script_named
from linly.tokenization.words.word_expansion import check_expansion
from linly.tokenization.words.word_merges import WordMerge
from linly.tokenization.words.word_vocabulary import append_words
from tests.support.vocabularies import (
    ENGLISH,
    HARD_TEXTS,
    byte_level,
    english_model,
    hand_made,
)

CHINESE = [
    "中国人民在山水之间，中国人民学习中文。",
    "人工智能是计算机科学，The river人工智能 walks。",
    "中国人民学习人工智能，学习计算机科学。",
]
KOREAN = ["한국어 문장은 한국어 단어로, 한국어 단어는 한국어 문장으로", "한국 사람은 한국어 단어"]
THAI = ["ภาษาไทยเป็นภาษาของคนไทย", "คนไทยพูดภาษาไทย the river ภาษาไทย"]
_TRIED = (*range(0x20, 0x250), *range(0xE00, 0xE80), *range(0x3000, 0x3040), *range(0x4E00, 0x4E80))


def characters_of(texts: list[str]) -> list[str]:
    return sorted({c for c in "".join(texts) if ord(c) > 0x250})


def with_pieces(texts: list[str]) -> SentencePieceTokenizer:
    base = SentencePieceTokenizer(english_model())
    return SentencePieceTokenizer(extend_vocabulary(base, characters_of(texts)))


def with_merges(folder: Path, texts: list[str], **how: bool) -> Tokenizer:
    base = byte_level(folder, **how)
    return extend_byte_level(base, characters_of(texts), tried=_TRIED).tokenizer


@pytest.fixture(params=["sentencepiece", "gpt-2", "ignore-merges"])
def with_characters(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[list[str]], Tokenizer]:
    """A vocabulary of each kind with the characters of texts."""
    if request.param == "sentencepiece":
        return with_pieces
    ignores = request.param == "ignore-merges"
    return lambda texts: with_merges(tmp_path / "base", texts, ignore_merges=ignores)


@pytest.mark.parametrize(
    ("script", "texts", "word"),
    [("han", CHINESE, "学习"), ("hangul", KOREAN, "한국어"), ("thai", THAI, "ภาษา")],
)
def test_words_need_one_token_and_other_text_keeps_its_ids(
    script: str,
    texts: list[str],
    word: str,
    with_characters: Callable[[list[str]], Tokenizer],
) -> None:
    base = with_characters(texts)
    learned = learn_words(base, script_named(script), texts, 4)  # type: ignore[arg-type]
    new = learned.tokenizer
    assert new.vocab_size == base.vocab_size + 4
    assert new.pieces()[: base.vocab_size] == base.pieces()
    added = [new.readable(token).strip("▁ ") for token in range(base.vocab_size, new.vocab_size)]
    assert any(word.startswith(one) for one in added)
    for text in (*ENGLISH, *HARD_TEXTS):
        if not set(characters_of(texts)) & set(text):
            assert new.encode(text).tolist() == base.encode(text).tolist()
    for text in texts:
        assert len(new.encode(text)) < len(base.encode(text))
        assert new.decode(new.encode(text)) == base.decode(base.encode(text))


def test_every_word_is_reachable_and_learning_is_deterministic() -> None:
    base = with_pieces(CHINESE)
    learned = [learn_words(base, script_named("han"), CHINESE, 9).tokenizer for _ in range(2)]
    assert learned[0].model_bytes == learned[1].model_bytes
    model = parse_model(learned[0].model_bytes, origin="words")
    assert unreachable_pieces(model, first=base.vocab_size) == ()


def test_scores_of_words_are_distinct_and_below_all_others() -> None:
    blanks = [("▁", -3.0), ("▁▁", -1e9), ("▁▁▁", -1e9), *((c, -5.0) for c in "山水日月")]
    base = SentencePieceTokenizer(hand_made(blanks))
    learned = learn_words(base, script_named("han"), ["山水日月", "山水 日月", "水山水"] * 2, 3)
    pieces = parse_model(learned.tokenizer.model_bytes, origin="words").pieces
    scores = [p.score for p in pieces if p.type == NORMAL]
    new = scores[-3:]
    assert new == sorted(set(new), reverse=True)
    assert max(new) < min(scores[:-3])


def test_words_continue_from_the_base_s_own_words() -> None:
    pieces = [*((c, -9.0) for c in "▁中国人民"), ("中国", -1.0)]
    base = SentencePieceTokenizer(hand_made(pieces))
    learned = learn_words(base, script_named("han"), ["中国人民"] * 3, 2)
    joined = {
        learned.tokenizer.decode(m.ids): tuple(map(base.piece, m.ids)) for m in learned.merges
    }
    assert joined["中国人民"] == ("中国", "人", "民")


def test_the_export_has_the_same_ids() -> None:
    base = with_pieces(CHINESE)
    new = learn_words(base, script_named("han"), CHINESE, 9).tokenizer
    assert isinstance(new, SentencePieceTokenizer)
    assert why_not_exact(new) is None
    texts = [*torture_texts(new.pieces(), num_random=200), *CHINESE, *KOREAN, *ENGLISH]
    assert compare(new, hugging_face_json(new), texts).complaint() is None


def test_a_word_s_row_is_the_mean_of_the_base_s_tokens(
    with_characters: Callable[[list[str]], Tokenizer],
) -> None:
    base = with_characters(CHINESE)
    learned = learn_words(base, script_named("han"), CHINESE, 9)
    assert added_subtokens(base, learned.tokenizer) == [
        tuple(sorted(merge.ids)) for merge in learned.merges
    ]


def test_a_changed_id_is_refused() -> None:
    base, longer = with_pieces(CHINESE), with_pieces(CHINESE)
    model = parse_model(longer.model_bytes, origin="base")
    model.pieces.add(piece="中国", score=0.0, type=NORMAL)
    model.pieces[int(base.encode("The river")[-1])].piece = "中国人"  # an old piece, renamed
    changed = SentencePieceTokenizer(model.SerializeToString())
    with pytest.raises(ConfigError, match="change the ids of other text in 'The river"):
        joined = [base.split("中国")]
        check_expansion(base, changed, joined, ["中国", "The river"])


def test_words_are_proved_on_hard_texts() -> None:
    base = with_pieces(CHINESE)
    ids = base.split("中国")
    new = append_words(base, [WordMerge(tuple(ids[:1]), tuple(ids[1:]))]).tokenizer
    texts = list(torture_texts(new.pieces(), num_random=50))
    assert check_expansion(base, new, [ids], texts) == len(texts)
    with pytest.raises(ConfigError, match="ids of other text"):
        check_expansion(base, new, [ids[::-1]], ["中国"])


def test_too_few_words_or_none_are_refused() -> None:
    base = with_pieces(CHINESE)
    with pytest.raises(ConfigError, match="count: found 5,000, but the texts hold only"):
        learn_words(base, script_named("han"), CHINESE, 5000)
    with pytest.raises(ConfigError, match="append its characters first"):
        learn_words(SentencePieceTokenizer(english_model()), script_named("han"), CHINESE, 5)
    unigram = parse_model(base.model_bytes, origin="base")
    unigram.trainer_spec.model_type = 1
    with pytest.raises(ConfigError, match="it is not BPE"):
        learn_words(
            SentencePieceTokenizer(unigram.SerializeToString()), script_named("han"), CHINESE, 5
        )


def test_numbers_that_the_pre_tokenizer_separates_form_no_word(tmp_path: Path) -> None:
    texts = ["二〇〇八年", "二〇〇八年", "一九九八年"]  # 〇 is a number, the others are letters
    base = with_merges(tmp_path / "base", texts)
    learned = learn_words(base, script_named("han"), texts, 2)
    assert {np.size(learned.tokenizer.encode(base.decode(m.ids))) for m in learned.merges} == {1}
