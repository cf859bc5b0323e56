"""Parts that a recipe names must be in the model: new rows by its record, a head of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from linly.config.sections.training_section import TrainingSettings
from linly.errors import ConfigError
from linly.modeling.embeddings import extend_model
from linly.modeling.load_model import init_model, save_model
from linly.modeling.parts.model_parts import count_elements
from linly.modeling.parts.new_rows import BASE_VOCABULARY_KEY, read_new_rows
from linly.modeling.parts.parts_check import describe_choices
from linly.modeling.suitability import SuitableModel, examine_model
from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.models import tiny_model
from tests.support.vocabularies import english_model

BASE = SentencePieceTokenizer(english_model())
ONCE = SentencePieceTokenizer(extend_vocabulary(BASE, list("山水")))
TWICE = SentencePieceTokenizer(extend_vocabulary(ONCE, list("亿俺é")))
NEW_ROWS = {"trainable": "new_rows"}
ALL_ROWS = {"trainable": {"new_rows": {"head": "all"}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was extended twice, with padding rows."""
    place = tmp_path_factory.mktemp("models")
    (place / "base").mkdir()
    save_model(init_model("nano", BASE, seed=5), BASE, place / "base")
    extend_model(place / "base", ONCE, place / "once", multiple=16)
    extend_model(place / "once", TWICE, place / "twice", multiple=16)
    return place


def examined(
    path: Path, tokenizer: SentencePieceTokenizer, training: dict[str, Any]
) -> SuitableModel:
    form = {"activation_checkpointing": "none", **training}
    settings = TrainingSettings.model_validate(form)
    return examine_model(path, tokenizer, settings, sequence_length=24)


def test_new_rows_are_those_since_the_first_extension_without_padding(folder: Path) -> None:
    assert read_new_rows(folder / "base", BASE) is None
    assert read_new_rows(folder / "once", ONCE) == range(BASE.vocab_size, ONCE.vocab_size)
    found = examined(folder / "twice", TWICE, NEW_ROWS)
    assert found.new_rows == range(BASE.vocab_size, TWICE.vocab_size)
    assert found.stored.config.vocab_size > TWICE.vocab_size
    width = found.stored.config.hidden_size
    settings = TrainingSettings.model_validate(NEW_ROWS)
    number = 2 * width * len(found.new_rows)
    assert count_elements(found.stored.model, found.new_rows, settings.trainable) == number
    (line,) = describe_choices(settings, (), found.stored.model, found.new_rows)
    assert line == f"new_rows ({number:,} parameters)"


@pytest.mark.parametrize(
    ("training", "key"),
    [
        (NEW_ROWS, "training.trainable"),
        ({"phases": [{"until": "5%", **NEW_ROWS}, {"trainable": "full"}]}, "training.phases[0]"),
        ({"lr_scale": {"new_rows": 2.0}}, "training.lr_scale.new_rows"),
    ],
)
def test_a_model_without_the_record_is_refused(
    folder: Path, training: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        examined(folder / "base", BASE, training)
    assert str(raised.value).startswith(key)
    assert "config.json does not say which tokens were added (base_vocab_size)" in str(raised.value)


def test_a_model_without_an_added_token_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.mkdir()
    save_model(init_model("nano", BASE, seed=5), BASE, path)
    config = json.loads((path / "config.json").read_text())
    config[BASE_VOCABULARY_KEY] = BASE.vocab_size
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="no token was added to its vocabulary"):
        examined(path, BASE, NEW_ROWS)


def save(name: str, path: Path, **sizes: Any) -> Path:
    tiny_model(name, **sizes).save_pretrained(path)
    config = json.loads((path / "config.json").read_text())
    config[BASE_VOCABULARY_KEY] = BASE.vocab_size - 5
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_a_tied_model_has_no_head_of_its_own(tmp_path: Path) -> None:
    path = save("llama", tmp_path / "tied", tie_word_embeddings=True)
    examined(path, BASE, NEW_ROWS)
    with pytest.raises(ConfigError, match=r"\{head: all\}: the output layer .* \(tied\)"):
        examined(path, BASE, ALL_ROWS)
    with pytest.raises(ConfigError, match=r"lr_scale\.head: found 2, but no such part is trained"):
        examined(path, BASE, {"lr_scale": {"head": 2.0}})


def test_a_scale_of_a_frozen_part_is_refused(tmp_path: Path) -> None:
    path = save("llama", tmp_path / "untied", tie_word_embeddings=False)
    examined(path, BASE, ALL_ROWS | {"lr_scale": {"head": 2.0, "embeddings": 0.5}})
    with pytest.raises(ConfigError, match=r"lr_scale\.head"):
        examined(path, BASE, {"trainable": "embeddings", "lr_scale": {"head": 2.0}})


def test_rows_of_tokens_outside_embedding_and_head_are_not_left_frozen(tmp_path: Path) -> None:
    path = save("gemma3n_text", tmp_path / "model")
    with pytest.raises(ConfigError, match=r"embed_tokens_per_layer.* has rows of tokens as well"):
        examined(path, BASE, NEW_ROWS)
