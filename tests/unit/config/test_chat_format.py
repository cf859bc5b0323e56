"""linly.config.chat_format: the chat format of a model folder, in all forms that folders have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from linly.config.chat_format import ChatFormat, read_chat_format
from linly.config.corpus import load_corpus, with_chat
from linly.config.yaml.yaml import write_yaml
from linly.errors import ConfigError
from tests.support.chat_templates import CHATML, LLAMA3, SPECIAL, write_byte_level


def write(folder: Path, config: object, **files: str) -> Path:
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    for name, text in files.items():
        (folder / name.replace("_json", ".json").replace("_jinja", ".jinja")).write_text(text)
    return folder


def test_template_tokens_and_special_tokens_are_read(tmp_path: Path) -> None:
    chat = read_chat_format(write_byte_level(tmp_path, LLAMA3))
    assert chat.template == LLAMA3
    assert chat.tokens == {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
    assert chat.special_tokens == tuple(sorted(SPECIAL))


def test_a_template_file_comes_before_the_configuration(tmp_path: Path) -> None:
    folder = write(tmp_path, {"chat_template": LLAMA3}, chat_template_jinja=CHATML)
    assert read_chat_format(folder).template == CHATML


def test_special_tokens_are_found_in_every_form(tmp_path: Path) -> None:
    config = {
        "eos_token": {"content": "</s>"},
        "pad_token": None,
        "additional_special_tokens": ["<a>", {"content": "<b>"}],
        "extra_special_tokens": {"image_token": "<c>"},
        "added_tokens_decoder": {
            "7": {"content": "<d>", "special": True},
            "8": {"content": "plain", "special": False},
        },
        "chat_template": [{"name": "tools", "template": "x"}, {"name": "default", "template": "t"}],
    }
    chat = read_chat_format(write(tmp_path, config))
    assert chat == ChatFormat(
        template="t",
        tokens={"eos_token": "</s>"},
        special_tokens=("</s>", "<a>", "<b>", "<c>", "<d>"),
    )


@pytest.mark.parametrize("config", [{}, {"chat_template": [{"name": "rag", "template": "x"}]}])
def test_a_folder_without_a_template_is_refused(tmp_path: Path, config: object) -> None:
    with pytest.raises(ConfigError, match=r"no chat template: neither chat_template\.jinja nor"):
        read_chat_format(write(tmp_path, config))


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"tokenizer_config.json: (not JSON|found list)"):
        read_chat_format(tmp_path)


def test_a_corpus_with_a_chat_format_reads_back_equal(tmp_path: Path) -> None:
    folder = write_byte_level(tmp_path / "model", CHATML)
    (tmp_path / "a.yaml").write_text("{language: en, kind: text, paths: [a.txt], template: inscp}")
    corpus = with_chat(load_corpus("a", [tmp_path]), None, folder)
    assert corpus.chat == read_chat_format(folder)
    (tmp_path / "a.yaml").write_text(write_yaml(corpus.file_form()), encoding="utf-8")
    assert load_corpus("a", [tmp_path]) == corpus


def test_only_chat_templates_look_into_the_model_folder(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{language: en, kind: text, paths: [a.txt]}")
    corpus = load_corpus("a", [tmp_path])
    assert with_chat(corpus, None, tmp_path / "no model") is corpus
    with pytest.raises(ConfigError, match="no chat template"):
        with_chat(corpus, "inscp", tmp_path / "no model")
