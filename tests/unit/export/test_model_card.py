"""Model cards have the metadata that the hub accepts, and no place of this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from linly.errors import ConfigError
from linly.export.model_card import CardFacts, model_card
from linly.export.model_export import ExportForm, base_model
from linly.export.run_checkpoints import MeanPart
from linly.modeling.parameters import ParameterCount
from linly.storage.hub import HubModel

FACTS = CardFacts(
    run="my-run",
    parts=(MeanPart("my-run", 20),),
    parameters=ParameterCount(10, 10),
    languages=("en", "zh", "zh-Hant"),
    license="apache-2.0",
    base=HubModel("org/base", "a" * 40),
    repository=None,
    is_exact=True,
    has_chat=True,
    gguf_files=(),
)
STATE: dict[str, Any] = {
    "books": {
        "rows": {"a": 3},
        "supervised": {"a": 5},
        "epochs": {"a": 0},
        "tokens_seen": 96,
        "largest_drift": 0.25,
    },
    "recipe": {
        "model": "/home/someone/models/base",
        "curriculum": {"name": "mix"},
        "training": {"trainable": "full"},
    },
    "step": 20,
    "evaluated_step": 20,
    "baseline": {},
    "latest": {},
}


def metadata(facts: CardFacts) -> dict[str, Any]:
    return ModelCard(model_card(facts, STATE)).data.to_dict()


def test_metadata_is_what_the_hub_reads() -> None:
    assert metadata(FACTS) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "apache-2.0",
        "language": ["en", "zh"],
        "language_bcp47": ["zh-Hant"],
        "base_model": "org/base",
        "base_model_relation": "finetune",
        "tags": ["linly"],
    }


def test_language_no_is_text_and_not_false() -> None:
    assert metadata(replace(FACTS, languages=("no",)))["language"] == ["no"]


def test_folder_is_named_in_the_text_only() -> None:
    card = model_card(replace(FACTS, base="base"), STATE)
    assert "base_model" not in metadata(replace(FACTS, base="base"))
    assert "Continual pre-training of `base` with linly" in card
    assert "/home" not in card


def test_use_names_the_repository_and_the_files() -> None:
    facts = replace(FACTS, repository="org/new", gguf_files=("my-run-q8_0.gguf",))
    card = model_card(facts, STATE)
    assert 'AutoTokenizer.from_pretrained("org/new")' in card
    assert "apply_chat_template" in card
    assert "`my-run-q8_0.gguf`, with a `Modelfile`" in card
    assert metadata(facts)["tags"] == ["linly", "gguf"]
    assert "apply_chat_template" not in model_card(replace(FACTS, has_chat=False), STATE)


@pytest.mark.parametrize(
    ("named", "grown", "expected"),
    [
        (f"org/name@{'a' * 40}", None, HubModel("org/name", "a" * 40)),
        ("/data/models/base", None, "base"),
        ("/data/models/extended", f"org/name@{'a' * 40}", HubModel("org/name", "a" * 40)),
        (
            f"/cache/models--org--name/snapshots/{'a' * 40}",
            None,
            HubModel("org/name", "a" * 40),
        ),
    ],
)
def test_base_is_a_hub_id_only_if_it_is_one(
    tmp_path: Path, named: str, grown: str | None, expected: HubModel | str
) -> None:
    text = "{}" if grown is None else f'{{"base_model": "{grown}"}}'
    (tmp_path / "config.json").write_text(text)
    assert base_model(named, tmp_path) == expected


def test_license_is_as_the_hub_names_it() -> None:
    assert ExportForm(license="llama2").license == "llama2"
    with pytest.raises(ConfigError, match="--license: found 'Apache 2"):
        ExportForm(license="Apache 2.0")
