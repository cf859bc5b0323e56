"""Byte-level exports give the vocabulary's ids in AutoTokenizer of transformers 4 and 5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from linly.tokenization.byte_level import CONFIG_JSON, TOKENIZER_JSON, ByteLevelTokenizer
from linly.tokenization.hugging_face import auto_tokenizer
from linly.tokenization.hugging_face.tokenizer_export import export_tokenizer
from tests.support.transformers4 import read_with_transformers4
from tests.support.vocabularies import ENGLISH, HARD_TEXTS, byte_level_folder

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [*HARD_TEXTS, "12345 678 9 it's IT'S  don't\n\n x", "a1b22c333d4444"]
CASES: dict[str, dict[str, Any]] = {
    "gpt2": {"tokenizer_class": "GPT2Tokenizer"},
    "qwen2": {"tokenizer_class": "Qwen2Tokenizer"},
    "llama": {"tokenizer_class": "LlamaTokenizer"},
    "plain": {"tokenizer_class": "PreTrainedTokenizerFast"},
    "transformers-5": {
        "tokenizer_class": "TokenizersBackend",
        "backend": "tokenizers",
        "extra_special_tokens": [],
    },
    "own-code": {
        "tokenizer_class": "TheirTokenizer",
        "auto_map": {"AutoTokenizer": ["theirs.TheirTokenizer", None]},
    },
    "unnamed": {"name_or_path": "/home/somebody", "special_tokens_map_file": "/home/somebody/x"},
}


def llama_3_vocabulary(folder: Path, configuration: dict[str, Any]) -> ByteLevelTokenizer:
    byte_level_folder(folder)
    content = json.loads((folder / TOKENIZER_JSON).read_text())
    content["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": LLAMA_3},
                "behavior": "Isolated",
                "invert": False,
            },
            {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": False,
            },
        ],
    }
    (folder / TOKENIZER_JSON).write_text(json.dumps(content))
    given = json.loads((folder / CONFIG_JSON).read_text())
    given.pop("tokenizer_class", None)
    (folder / CONFIG_JSON).write_text(json.dumps(given | configuration))
    return ByteLevelTokenizer.load(folder)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, ByteLevelTokenizer]]:
    place = tmp_path_factory.mktemp("tokenizers")
    made = {}
    for name, configuration in CASES.items():
        tokenizer = llama_3_vocabulary(place / "base" / name, configuration)
        folder = place / "exports" / name
        folder.mkdir(parents=True)
        assert export_tokenizer(tokenizer, folder).exact
        (folder / "texts.json").write_text(json.dumps(TEXTS))
        made[name] = (folder, tokenizer)
    return made


@pytest.mark.parametrize("name", CASES)
def test_auto_tokenizer_gives_the_vocabulary_s_ids(
    exports: dict[str, tuple[Path, ByteLevelTokenizer]], name: str
) -> None:
    folder, tokenizer = exports[name]
    loaded = AutoTokenizer.from_pretrained(folder)
    for text in (*TEXTS, *ENGLISH):
        ids = loaded(text, add_special_tokens=False).input_ids
        assert ids == tokenizer.encode(text).tolist(), text
    written = json.loads((folder / CONFIG_JSON).read_text())
    assert not written.keys() & {"auto_map", "name_or_path", "special_tokens_map_file", "backend"}


def test_transformers_4_gives_the_same_ids(
    exports: dict[str, tuple[Path, ByteLevelTokenizer]],
) -> None:
    folder, tokenizer = exports["gpt2"]
    found = read_with_transformers4(folder.parent)
    expected = [tokenizer.encode(text).tolist() for text in TEXTS]
    assert {name: each.get("error", each.get("ids")) for name, each in found.items()} == (
        dict.fromkeys(CASES, expected)
    )


def test_ids_that_no_class_gives_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = llama_3_vocabulary(tmp_path, CASES["gpt2"])
    monkeypatch.setattr(auto_tokenizer, "PLAIN_CLASS", "GPT2Tokenizer")
    done = export_tokenizer(tokenizer, tmp_path)
    assert not done.exact
    assert "the ids of AutoTokenizer (GPT2Tokenizer) differ on" in (done.reason or "")
