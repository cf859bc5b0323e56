"""Modelfiles write turns with the delimiters of training."""

from __future__ import annotations

import re

import pytest

from linly.data.documents.templates import DELIMITERS
from linly.export.ollama import modelfile
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.vocabularies import english_model, hand_made

WITH_PREFIX = SentencePieceTokenizer(english_model())
WITHOUT_PREFIX = SentencePieceTokenizer(hand_made([("a", -1.0)], add_dummy_prefix=False))


def written(template: str | None, tokenizer: SentencePieceTokenizer = WITH_PREFIX) -> str:
    return modelfile("my-run-q8_0.gguf", name="My-Run", template=template, tokenizer=tokenizer)


def literals(text: str) -> list[str]:
    """Texts that the template writes as they are, in order."""
    return re.findall(r'\{\{ "(.*?)" \}\}', text)


@pytest.mark.parametrize("template", DELIMITERS)
@pytest.mark.parametrize("tokenizer", [WITH_PREFIX, WITHOUT_PREFIX])
def test_turns_have_the_delimiters_of_training(
    template: str, tokenizer: SentencePieceTokenizer
) -> None:
    preamble, before, after = DELIMITERS[template]
    join = " " if tokenizer is WITH_PREFIX else ""
    found = [text.replace("\\n", "\n") for text in literals(written(template, tokenizer))]
    assert found == [preamble, before, after, join, join]
    assert f'PARAMETER stop "{before.strip()}"' in written(template)


def test_file_and_name_are_those_of_the_export() -> None:
    lines = written("linly").splitlines()
    assert lines[:2] == ["# ollama create my-run -f Modelfile", "FROM ./my-run-q8_0.gguf"]


def test_model_without_instructions_continues_the_prompt() -> None:
    assert written(None).endswith('TEMPLATE """{{ .Prompt }}"""\n')


def test_own_template_is_left_to_the_gguf_file() -> None:
    assert 'TEMPLATE """' not in written("chat")
