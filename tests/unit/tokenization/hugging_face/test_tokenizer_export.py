"""A tokenizer.json is sentencepiece's equal on every text, or is not written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from linly.errors import ConfigError
from linly.tokenization.growth.extend import add_pad_piece, extend_vocabulary
from linly.tokenization.hugging_face import tokenizer_export
from linly.tokenization.hugging_face.tokenizer_export import (
    compare,
    export_tokenizer,
    hugging_face_json,
    why_not_exact,
)
from linly.tokenization.model_file import SPACE, UNIGRAM
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.vocabularies import ENGLISH, HARD_TEXTS, english_model, hand_made

VOCABULARY = SentencePieceTokenizer(
    add_pad_piece(
        SentencePieceTokenizer(
            extend_vocabulary(SentencePieceTokenizer(english_model()), list("山水，。"))
        )
    )
)
RUNS = hand_made(
    [("a", -50.0), (SPACE, -51.0), (f"{SPACE}a", -1.0)]
    + [(SPACE * length, -1e9) for length in range(2, 9)]
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    assert export_tokenizer(VOCABULARY, folder).reason is None
    return folder


def test_auto_tokenizer_gives_the_same_ids(exported: Path) -> None:
    loaded = AutoTokenizer.from_pretrained(exported)
    for text in (*HARD_TEXTS, *ENGLISH, "山水，the river。\n  木 "):
        ids = VOCABULARY.encode(text).tolist()
        assert loaded(text, add_special_tokens=False).input_ids == ids, text
        assert loaded(text).input_ids == [VOCABULARY.bos_id, *ids]
        assert loaded.decode(ids) == VOCABULARY.decode(ids)
    assert loaded.pad_token_id == VOCABULARY.pad_id
    assert (loaded.bos_token_id, loaded.eos_token_id) == (1, 2)


CANDIDATE = hugging_face_json(VOCABULARY)
RUNS_CANDIDATE = hugging_face_json(SentencePieceTokenizer(RUNS))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_any_text_gives_the_same_ids(texts: list[str]) -> None:
    assert compare(VOCABULARY, CANDIDATE, texts).num_different == 0


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("a  \n"), max_size=60))
def test_blank_runs_with_one_score_grow_from_the_left(text: str) -> None:
    assert compare(SentencePieceTokenizer(RUNS), RUNS_CANDIDATE, [text]).num_different == 0


def test_a_wrong_order_of_merges_is_found_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = tokenizer_export.merges
    monkeypatch.setattr(tokenizer_export, "merges", lambda scores: right(scores)[::-1])
    done = export_tokenizer(VOCABULARY, tmp_path)
    assert not done.exact
    assert "the ids differ on" in (done.reason or "")
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.model"]


def test_tied_scores_are_refused_with_the_way_out(tmp_path: Path) -> None:
    tied = SentencePieceTokenizer(hand_made([("a", -5.0), ("b", -6.0), ("ab", 0.0), ("ba", 0.0)]))
    reason = why_not_exact(tied) or ""
    assert "2 pieces share their score" in reason
    assert "--scores ranked" in reason
    done = export_tokenizer(tied, tmp_path)
    assert (done.exact, done.reason) == (False, reason)
    assert not (tmp_path / "tokenizer.json").exists()
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="export to another folder"):
        export_tokenizer(tied, tmp_path)


def test_tied_scores_do_differ() -> None:
    tied = SentencePieceTokenizer(hand_made([("a", -5.0), ("b", -6.0), ("ab", 0.0), ("ba", 0.0)]))
    assert compare(tied, hugging_face_json(tied), ["ab", "ba", "aba", "bab"]).num_different > 0


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (hand_made([("a", -1.0)], kind=UNIGRAM), "not a BPE vocabulary"),
        (hand_made([("a", -1.0), ("ab", -2.0)]), "built from 'b'"),
    ],
)
def test_other_vocabularies_say_why_they_cannot(model: bytes, reason: str) -> None:
    assert reason in (why_not_exact(SentencePieceTokenizer(model)) or "")


def test_special_tokens_in_a_text_stay_text(exported: Path) -> None:
    configuration = json.loads((exported / "tokenizer_config.json").read_text())
    assert configuration["split_special_tokens"] is True
    assert configuration["tokenizer_class"] == "PreTrainedTokenizerFast"
    loaded = AutoTokenizer.from_pretrained(exported)
    assert VOCABULARY.eos_id not in loaded("</s>", add_special_tokens=False).input_ids
