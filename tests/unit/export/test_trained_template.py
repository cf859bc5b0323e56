"""An export's chat template writes what training formatted, for every template and vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from jinja2 import TemplateError
from transformers import AutoTokenizer

from linly.config.chat_format import read_chat_templates
from linly.config.corpus import Corpus
from linly.config.curriculum import SourceShare
from linly.curriculum.timeline import Timeline
from linly.data.documents.encoding import encode_documents
from linly.data.documents.templates import DELIMITERS, DocumentMaker
from linly.data.types import Document, RawRecord
from linly.export.trained_template import jinja_template, joint, trained_template
from linly.tokenization.hugging_face.tokenizer_export import export_tokenizer
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer
from tests.support.gguf_models import few_texts
from tests.support.tiny_corpora import source_of
from tests.support.vocabularies import byte_level, byte_level_folder, english_model, hand_made

MakeCorpus = Callable[..., Corpus]

INSTRUCTION = "{language: en, kind: instruction, paths: [a.jsonl], template: linly}"
MESSAGES = """
    {language: en, kind: conversation, paths: [a.jsonl], template: linly,
     fields: {messages: messages, role: role, content: content}}
"""
ASKED = [
    {"role": "user", "content": "Where is the river?\n\n  And 河?"},
    {"role": "assistant", "content": "under the old bridge"},
    {"role": "user", "content": "And the \"fox\" {{ 'x' }}"},
    {"role": "assistant", "content": "jumps, 两 times"},
]
SYSTEM = {"role": "system", "content": "The keeper answers."}
CONVERSATIONS = [ASKED[:2], ASKED, [SYSTEM, *ASKED]]


def vocabulary(kind: str, folder: Path) -> Tokenizer:
    if kind == "sentencepiece":
        return SentencePieceTokenizer(english_model())
    if kind == "without prefix":
        pieces = [(letter, -i) for i, letter in enumerate("▁abcdefghijklmnopqrstuvwxyz")]
        return SentencePieceTokenizer(hand_made(pieces, add_dummy_prefix=False))
    if kind == "byte-level without BOS":
        byte_level_folder(folder)
        path = folder / "tokenizer_config.json"
        path.write_text(path.read_text().replace('"bos_token": "<|begin|>", ', ""))
    return byte_level(folder) if kind == "byte-level" else reload(folder)


def reload(folder: Path) -> Tokenizer:
    from linly.tokenization.load_tokenizer import load_tokenizer

    return load_tokenizer(folder)


VOCABULARIES = ("sentencepiece", "without prefix", "byte-level", "byte-level without BOS")


@pytest.fixture(scope="module", params=[(v, t) for v in VOCABULARIES for t in DELIMITERS], ids=str)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Tokenizer, Any]:
    """A template, a vocabulary, and the vocabulary as exported with the template."""
    kind, template = request.param
    place = tmp_path_factory.mktemp("tokenizer")
    for name in ("base", "out"):
        (place / name).mkdir()
    tokenizer = vocabulary(kind, place / "base")
    text = jinja_template(template, tokenizer)
    with few_texts():
        done = export_tokenizer(tokenizer, place / "out", source=place / "base", chat_template=text)
    assert done.exact or kind == "without prefix", done
    return template, tokenizer, AutoTokenizer.from_pretrained(place / "out")


def document(make_corpus: MakeCorpus, form: str, value: dict[str, Any], template: str) -> Document:
    maker = DocumentMaker(source_of(make_corpus(form), template=template))
    made = maker.make("a.jsonl", RawRecord(0, value, None, 1), 0)
    assert isinstance(made, Document), made
    return made


def trained_text(tokenizer: Tokenizer, made: Document) -> str:
    """Text of a document as its vocabulary reads it: BOS, its segments, EOS."""
    inner = joint(tokenizer).join(segment.text for segment in made.segments)
    return tokenizer.piece(tokenizer.bos_id) + inner + tokenizer.piece(tokenizer.eos_id)


@pytest.mark.parametrize("messages", CONVERSATIONS, ids=["one turn", "two turns", "system"])
def test_template_writes_the_trained_text(
    exported: tuple[str, Tokenizer, Any], make_corpus: MakeCorpus, messages: list[dict[str, str]]
) -> None:
    template, tokenizer, theirs = exported
    made = document(make_corpus, MESSAGES, {"messages": messages}, template)
    assert theirs.apply_chat_template(messages, tokenize=False) == trained_text(tokenizer, made)


def test_template_writes_the_text_of_an_instruction(
    exported: tuple[str, Tokenizer, Any], make_corpus: MakeCorpus
) -> None:
    template, tokenizer, theirs = exported
    asked, answer = ASKED[0]["content"], ASKED[1]["content"]
    record = {"instruction": asked, "output": answer}
    made = document(make_corpus, INSTRUCTION, record, template)
    written = theirs.apply_chat_template(ASKED[:2], tokenize=False)
    assert written == trained_text(tokenizer, made)


def test_prompt_has_the_trained_ids(
    exported: tuple[str, Tokenizer, Any], make_corpus: MakeCorpus
) -> None:
    """Up to the answer, which the model writes."""
    template, tokenizer, theirs = exported
    made = document(make_corpus, MESSAGES, {"messages": ASKED[:2]}, template)
    (encoded,) = encode_documents(tokenizer, [made])
    trained = encoded.ids[: int(encoded.supervised.argmax())].tolist()
    prompt = theirs.apply_chat_template(ASKED[:1], add_generation_prompt=True, return_dict=True)
    assert prompt["input_ids"] == trained


def test_conversation_has_the_trained_ids(
    exported: tuple[str, Tokenizer, Any], make_corpus: MakeCorpus
) -> None:
    """These texts have no piece that spans two segments."""
    template, tokenizer, theirs = exported
    if template == "alpaca-no-input":
        pytest.skip("its prompt ends with a space, which may be one piece with the answer's first")
    made = document(make_corpus, MESSAGES, {"messages": ASKED}, template)
    (encoded,) = encode_documents(tokenizer, [made])
    found = theirs.apply_chat_template(ASKED, return_dict=True)["input_ids"]
    assert found == encoded.ids.tolist()


def test_turns_that_do_not_alternate_are_refused(exported: tuple[str, Tokenizer, Any]) -> None:
    theirs = exported[2]
    for messages in (ASKED[1:2], [ASKED[0], ASKED[2]], [{"role": "tool", "content": "x"}]):
        with pytest.raises(TemplateError, match="must alternate"):
            theirs.apply_chat_template(messages, tokenize=False)


def test_base_templates_are_replaced_in_every_form(tmp_path: Path) -> None:
    base, out = byte_level_folder(tmp_path / "base"), tmp_path / "out"
    path = base / "tokenizer_config.json"
    path.write_text(path.read_text()[:-1] + ', "chat_template": "{{ 1 }}"}')
    (base / "chat_template.json").write_text('{"chat_template": "{{ 2 }}"}')
    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates/tool_use.jinja").write_text("{{ 3 }}")
    out.mkdir()
    export_tokenizer(reload(base), out, source=base, chat_template="{{ 4 }}")
    assert read_chat_templates(out) == {"default": "{{ 4 }}"}


def timeline(make_corpus: MakeCorpus, **templates: str) -> Timeline:
    corpora = {name: make_corpus(INSTRUCTION, name=name) for name in templates}
    corpora["plain"] = make_corpus("{language: en, kind: text, paths: [a.jsonl]}", name="plain")
    shares = {
        name: SourceShare(corpus=name, share=1.0, template=templates.get(name)) for name in corpora
    }
    return cast("Timeline", SimpleNamespace(corpora=corpora, sources=shares))


def test_most_supervised_template_is_chosen(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    tokenizer = byte_level(tmp_path)
    run = timeline(make_corpus, a="alpaca", b="linly", c="alpaca")
    chosen = trained_template(run, {"plain": 99, "a": 3, "b": 5, "c": 4}, tokenizer)
    assert (chosen.name, chosen.jinja) == ("alpaca", jinja_template("alpaca", tokenizer))
    assert "alpaca, with the most supervised tokens (7)" in chosen.notes[0]
    assert "also trained linly (5)" in chosen.notes[0]


def test_without_instructions_the_base_template_stays(
    make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    tokenizer = byte_level(tmp_path)
    nothing = trained_template(timeline(make_corpus, a="linly"), {"plain": 99}, tokenizer)
    assert (nothing.name, nothing.jinja, nothing.notes) == (None, None, ())
    own = trained_template(timeline(make_corpus, a="chat"), {"a": 1}, tokenizer)
    assert (own.name, own.jinja, own.notes) == ("chat", None, ())
