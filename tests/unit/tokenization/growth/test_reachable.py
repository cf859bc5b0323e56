"""Characters that a vocabulary can never give are found before they become dead tokens."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import sentencepiece

from linly.errors import ConfigError
from linly.tokenization.growth import reachable
from linly.tokenization.growth.byte_merges import extend_byte_level
from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.growth.merge import Scores, merge_vocabularies
from linly.tokenization.growth.reachable import dead_characters
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.byte_level import train_byte_level
from tests.support.vocabularies import ENGLISH, byte_level

WANTED = "山水，！Ａ\uf900①ﬁ々ゐ\u3099"
SIZES = {"bpe": 330, "unigram": 330, "char": 310, "word": 290}
NORMALIZERS = ("identity", "nmt_nfkc", "nfkc_cf")


@pytest.fixture
def few_code_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last texts that are tried are those of a fiftieth of Unicode."""
    monkeypatch.setattr(reachable, "_CODE_POINTS", range(1, 0x5000))


def trained(kind: str, rule: str, **more: object) -> SentencePieceTokenizer:
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(ENGLISH * 3),
        model_writer=writer,
        model_type=kind,
        vocab_size=SIZES[kind],
        character_coverage=1.0,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
        **({"normalization_rule_name": rule} | more),
    )
    return SentencePieceTokenizer(writer.getvalue())


@pytest.mark.usefixtures("few_code_points")
@pytest.mark.parametrize("rule", NORMALIZERS)
@pytest.mark.parametrize("kind", ["bpe", "unigram", "char"])
def test_every_piece_that_is_added_is_given_by_some_text(kind: str, rule: str) -> None:
    base = trained(kind, rule)
    dead = dead_characters(base, WANTED)
    assert ("，" in dead) == (rule != "identity")
    if dead:
        with pytest.raises(ConfigError, match=r"'，': the normalizer changes it to ','"):
            extend_vocabulary(base, WANTED)
    kept = [character for character in WANTED if character not in dead]
    new = SentencePieceTokenizer(extend_vocabulary(base, kept))
    added = set(range(base.vocab_size, new.vocab_size))
    assert len(added) == len(kept) >= 3
    texts = [f"{around}{character}" for character in kept for around in ("", "a")]
    assert added <= {int(token) for ids in new.encode_batch(texts) for token in ids}


@pytest.mark.usefixtures("few_code_points")
def test_a_word_model_takes_no_characters() -> None:
    dead = dead_characters(trained("word", "identity"), WANTED)
    assert dead == dict.fromkeys(WANTED, "a word model looks up only whole words")


def test_a_character_that_a_rule_makes_of_another_is_reachable(tmp_path: Path) -> None:
    """Whether that other is among the new characters, or anywhere else in Unicode."""
    rules, pairs = tmp_path / "rules.tsv", ("山水", "水a", "木b", "\U0010fffd木")
    rules.write_text("\n".join(f"{ord(a):X}\t{ord(b):X}" for a, b in pairs))
    base = trained("bpe", "user_defined", normalization_rule_tsv=str(rules))
    assert set(dead_characters(base, "山水木火")) == {"山"}


def test_a_byte_level_vocabulary_is_asked_in_the_same_way(tmp_path: Path) -> None:
    assert dead_characters(byte_level(tmp_path / "plain"), WANTED) == {}
    dead = dead_characters(byte_level(tmp_path / "nfc", nfc=True), WANTED)
    assert dead == {"\uf900": "the normalizer changes it to '\u8c48'"}


def test_a_pre_tokenizer_that_separates_the_bytes_of_a_character_is_found(tmp_path: Path) -> None:
    """The letters of some bytes are superscripts and fractions, which Falcon takes for digits."""
    falcon = train_byte_level(tmp_path / "falcon", "falcon", ENGLISH, size=300)
    qwen = train_byte_level(tmp_path / "qwen2", "qwen2", ENGLISH, size=300)
    dead = dict.fromkeys("白百艾", "the pre-tokenizer separates its bytes")
    assert dead_characters(falcon, list("白一百人艾")) == dead
    assert dead_characters(qwen, list("白一百人艾")) == {}
    grown = extend_byte_level(falcon, list("一人"), tried=range(0x4E00, 0x5000)).tokenizer
    assert [len(grown.encode(character)) for character in "一人"] == [1, 1]
    with pytest.raises(ConfigError, match=r"'白' .* the pre-tokenizer separates its bytes"):
        extend_byte_level(falcon, list("一白"), tried=())


def test_merged_pieces_are_judged_through_the_normalizer_too() -> None:
    """A leading space is no reason; two spaces in a row are, where the vocabulary removes one."""
    base, theirs = trained("bpe", "nmt_nfkc"), trained("bpe", "identity", add_dummy_prefix=False)
    model = theirs.model_bytes
    merged = merge_vocabularies(base, SentencePieceTokenizer(model), Scores.ranked)
    added = [p for p in theirs.pieces() if p not in base.pieces()]
    assert all(piece in added for piece in merged.unreachable)
    new = SentencePieceTokenizer(merged.model_bytes)
    given = {int(t) for ids in new.encode_batch([*ENGLISH, *(" ".join(ENGLISH),)]) for t in ids}
    assert not {new.piece(token) for token in given} & set(merged.unreachable)
