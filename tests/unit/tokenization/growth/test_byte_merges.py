"""Characters appended to a byte-level BPE: what stays, what changes, and that it is all said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from linly.errors import ConfigError
from linly.tokenization.byte_level import ByteLevelTokenizer, to_letters
from linly.tokenization.growth import byte_merges
from linly.tokenization.growth.byte_merges import ByteLevelExtension, extend_byte_level
from linly.tokenization.subtokens import added_subtokens, check_grows
from tests.support.vocabularies import CHINESE, ENGLISH, HARD_TEXTS, byte_level

CHARACTERS = "漢字、河海é😀"
SOME = (*range(0x800), *range(0x2000, 0xA000, 7), *range(0x6C00, 0x6F80), *range(0x1F600, 0x1F700))
KINDS = ("english", "bilingual", "crossing", "nfc", "whole-words")


@dataclass(frozen=True)
class Case:
    base: ByteLevelTokenizer
    free: ByteLevelExtension
    exact: ByteLevelExtension


def make(kind: str, folder: Path) -> Case:
    both = [*ENGLISH, *CHINESE * 3]
    base = {
        "english": lambda: byte_level(folder, ENGLISH),
        "bilingual": lambda: byte_level(folder, both),
        # No cuts between words, much text of few characters: merges over all borders.
        "crossing": lambda: byte_level(folder, ["中国山水中文" * 9, *both], words=False, size=600),
        "nfc": lambda: byte_level(folder, both, nfc=True),
        "whole-words": lambda: byte_level(folder, both, ignore_merges=True),
    }[kind]()
    return Case(
        base,
        extend_byte_level(base, list(CHARACTERS), tried=SOME),
        extend_byte_level(base, list(CHARACTERS), exact=True, tried=SOME),
    )


@pytest.fixture(scope="module", params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make(request.param, tmp_path_factory.mktemp("bpe"))


TEXTS = st.text(
    st.sampled_from(CHARACTERS + "中国人山水文 the river\n汉沣沲一丁ê😁〇")
    | st.characters(exclude_categories=["Cs"]),
    max_size=40,
)


def normalized(tokenizer: ByteLevelTokenizer, text: str) -> str:
    normalizer = tokenizer.hugging_face.normalizer
    return text if normalizer is None else normalizer.normalize_str(text)


@settings(max_examples=200, deadline=None)
@given(text=TEXTS)
def test_encode_and_decode_round_trip(case: Case, text: str) -> None:
    for extension in (case.free, case.exact):
        new = extension.tokenizer
        assert new.decode(new.encode(text)) == normalized(case.base, text)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_a_text_without_a_named_character_keeps_its_ids(case: Case, text: str) -> None:
    for extension in (case.free, case.exact):
        named = set(extension.characters + extension.changed + extension.exposed)
        kept = "".join(c for c in normalized(case.base, text) if c not in named)
        if named.isdisjoint(normalized(case.base, kept)):
            assert extension.tokenizer.encode(kept).tolist() == case.base.encode(kept).tolist()


def test_exact_names_no_character_but_the_added_ones(case: Case) -> None:
    assert case.exact.changed == case.exact.exposed == ""
    assert set(case.exact.characters) | set(case.exact.left_out) == set(CHARACTERS)
    assert "é" in case.exact.characters  # two bytes need no helper


def test_an_added_character_is_one_token_and_old_ids_stay(case: Case) -> None:
    base, new = case.base, case.free.tokenizer
    check_grows(base, new)
    for character in CHARACTERS:
        (token,) = new.split(to_letters(character.encode()))
        assert token >= base.vocab_size
        assert new.readable(token) == character
    assert new.vocab_size == base.vocab_size + len(CHARACTERS) + len(case.free.helpers)
    for token in range(400, base.vocab_size):
        assert new.piece(token) == base.piece(token)
    assert (new.bos_id, new.eos_id) == (base.bos_id, base.eos_id)
    assert new.encode("a<tool>b").tolist() == base.encode("a<tool>b").tolist()
    for text in (*HARD_TEXTS[:-1], *ENGLISH):
        if not set(CHARACTERS + case.free.changed + case.free.exposed) & set(text):
            assert new.encode(text).tolist() == base.encode(text).tolist()


def test_helpers_are_listed_with_their_bytes_and_characters(case: Case) -> None:
    new = case.free.tokenizer
    old = set(case.base.pieces())
    named = {helper.token: helper for helper in case.free.helpers}
    for token in range(case.base.vocab_size, new.vocab_size):
        if new.readable(token) not in CHARACTERS:
            helper = named.pop(token)
            assert new.bytes_of(token) == helper.data
            assert new.piece(token) not in old
            assert helper.characters
            assert all(c.encode().startswith(helper.data) for c in helper.characters)
    assert not named


def test_twice_is_once(case: Case) -> None:
    again = extend_byte_level(case.free.tokenizer, list(CHARACTERS))
    assert again.tokenizer.model_bytes == case.free.tokenizer.model_bytes
    assert again.characters == ""


def test_a_later_extension_grows_the_first(case: Case) -> None:
    later = extend_byte_level(case.free.tokenizer, list("湖江"), tried=SOME)
    check_grows(case.free.tokenizer, later.tokenizer)
    assert later.tokenizer.encode("湖").tolist()[-1] >= case.free.tokenizer.vocab_size


def test_subtokens_are_the_old_pieces_of_the_bytes(case: Case) -> None:
    parts = added_subtokens(case.base, case.free.tokenizer)
    assert len(parts) == case.free.tokenizer.vocab_size - case.base.vocab_size
    for token, part in enumerate(parts, start=case.base.vocab_size):
        pieces = sorted(b"".join(case.base.bytes_of(old) for old in part))
        assert pieces == sorted(case.free.tokenizer.bytes_of(token))


def test_transformers_gives_the_same_ids(case: Case, tmp_path: Path) -> None:
    case.free.tokenizer.write(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.convert_tokens_to_ids("<|end|>") == case.base.eos_id
    for text in (*ENGLISH, *CHINESE, *CHARACTERS, "漢字の河、海"):
        assert loaded(text, add_special_tokens=False).input_ids == (
            case.free.tokenizer.encode(text).tolist()
        )


def test_left_helpers_stay_in_the_neighbourhood(tmp_path: Path) -> None:
    extension = make("english", tmp_path).free
    assert [helper.data.hex() for helper in extension.helpers] == [
        "e6bc", "e5ad", "e380", "e6b2", "e6b5", "f09f", "f09f98",
    ]  # fmt: skip
    near = {ord(c) // 64 for c in "漢字、河海"} | {0x1F000 // 64 + i for i in range(64)}
    assert {ord(c) // 64 for c in extension.changed} == near
    assert len(extension.changed) == 64 * len(near) - len("漢字、河海😀")
    assert extension.exposed == ""


def test_a_piece_over_a_border_exposes_a_character(tmp_path: Path) -> None:
    case = make("crossing", tmp_path)
    tails = byte_merges._tails(case.base)
    assert tails, "the vocabulary was to hold pieces that cross borders"
    assert set(case.free.exposed).isdisjoint(case.free.changed)


def test_what_was_not_to_change_is_found(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_merges, "_reached", lambda *_: {})
    with pytest.raises(ConfigError, match="should not change, but changed from"):
        extend_byte_level(case.base, list(CHARACTERS), tried=SOME)


def test_refused_characters_are_listed_with_reasons(tmp_path: Path) -> None:
    base = byte_level(tmp_path, [*ENGLISH, *CHINESE * 3], nfc=True)
    with pytest.raises(ConfigError) as error:
        extend_byte_level(base, ["中", "ab", "\x01", "木", "木"])
    for part in (
        "4 characters cannot be added",
        "'中': the base has it",
        "'ab': 2 characters",
        "control",
        "'木': given twice",
    ):
        assert part in str(error.value)
    with pytest.raises(ConfigError, match="normalizer changes it to '豈' before the look-up"):
        extend_byte_level(base, ["\uf900"])
