"""A base that could not be exported is refused before training, not after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from linly.errors import ConfigError
from linly.export import rehearsal
from linly.export.rehearsal import try_export
from linly.modeling.load_model import init_model, save_model
from linly.modeling.stored.stored_model import open_stored_model
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.vocabularies import english_model

TOKENIZER = SentencePieceTokenizer(english_model())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(init_model("nano", TOKENIZER), TOKENIZER, tmp_path)
    return tmp_path


def tried(model: Path) -> tuple[str, ...]:
    return try_export(model, open_stored_model(model).config, TOKENIZER)


def test_llama_2_s_settings_of_generation_can_be_exported(model: Path) -> None:
    assert tried(model) == ()
    settings = {"temperature": 0.6, "top_p": 0.9, "eos_token_id": 2}
    (model / "generation_config.json").write_text(json.dumps(settings))
    (note,) = tried(model)
    assert "generation_config.json: do_sample set or left out" in note


def test_a_file_that_is_not_json_is_refused(model: Path) -> None:
    config = open_stored_model(model).config
    (model / "generation_config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"generation_config\.json: not JSON"):
        try_export(model, config, TOKENIZER)


def test_whatever_fails_in_an_export_is_named_before_training(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("a value that transformers refuses")

    monkeypatch.setattr(rehearsal, "write_configuration", refuse)
    with pytest.raises(ConfigError, match=r"could not be exported: a value that transformers"):
        tried(model)
