"""linly.data.documents.templates: documents of records, and the reason where there is none."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from linly.config.chat_format import CHAT_TEMPLATES
from linly.config.corpus import Corpus
from linly.config.shard_formats import FORMATS
from linly.data.documents.templates import HELD_OUT, TEMPLATES, DocumentMaker
from linly.data.documents.texts import parallel_order
from linly.data.types import BadRecord, Document, Filtered, RawRecord, Segment
from linly.errors import ConfigError
from tests.support.tiny_corpora import source_of

MakeCorpus = Callable[..., Corpus]

TEXT = "{language: en, kind: text, paths: [a.jsonl]}"
PAIRS = "{kind: parallel, paths: [a.jsonl], fields: {en: english, zh: chinese}}"
INSTRUCTION = """
    {language: en, kind: instruction, paths: [a.jsonl],
     fields: {instruction: instruction, input: "input?", output: output}}
"""
MESSAGES = """
    {language: zh, kind: conversation, paths: [a.jsonl],
     fields: {messages: messages, role: role, content: content}}
"""
FIREFLY = """
    {language: zh, kind: conversation, paths: [a.jsonl],
     fields: {messages: conversation, user: human, assistant: assistant}}
"""
BAIZE = """
    {language: en, kind: conversation, paths: [a.json],
     fields: {text: input, user_mark: "[|Human|]", assistant_mark: "[|AI|]"}}
"""
PREAMBLE = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
INPUT_PREAMBLE = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request."
)


def raw(value: dict[str, Any], record: int = 0) -> RawRecord:
    return RawRecord(record, value, None, 1)


def made(
    corpus: Corpus, value: dict[str, Any], template: str | None = None
) -> Document | BadRecord | Filtered:
    return DocumentMaker(source_of(corpus, template=template)).make("a.jsonl", raw(value, 4), 0)


def segments(
    corpus: Corpus, value: dict[str, Any], template: str | None = None
) -> list[tuple[str, bool]]:
    document = made(corpus, value, template)
    assert isinstance(document, Document), document
    return [(segment.text, segment.supervised) for segment in document.segments]


def reason(corpus: Corpus, value: dict[str, Any]) -> str:
    bad = made(corpus, value)
    assert isinstance(bad, BadRecord), bad
    assert (bad.source, bad.shard, bad.record) == ("source", "a.jsonl", 4)
    return bad.reason


def test_a_text_is_one_supervised_segment(make_corpus: MakeCorpus) -> None:
    document = made(make_corpus(TEXT), {"text": "a text", "more": 1})
    assert document == Document("a.jsonl", 4, (Segment("a text", True),))


def test_a_pair_turns_around_with_record_and_epoch(make_corpus: MakeCorpus) -> None:
    maker = DocumentMaker(source_of(make_corpus(PAIRS)))
    value = {"english": "one", "chinese": "一"}

    def first(record: int, epoch: int) -> str:
        document = maker.make("s", raw(value, record), epoch)
        assert isinstance(document, Document)
        assert [s.supervised for s in document.segments] == [True]
        return document.segments[0].text

    assert [first(0, 0), first(1, 0)] == ["一\none", "one\n一"]
    assert [first(0, 1), first(1, 1)] == ["one\n一", "一\none"]


@pytest.mark.parametrize("languages", [["zh", "en"], ["en", "zh"]])
def test_the_order_of_languages_in_the_file_changes_nothing(languages: list[str]) -> None:
    assert parallel_order(languages) == ["zh", "en"]
    assert parallel_order(["fr", "de"]) == ["de", "fr"]
    assert parallel_order(["en-GB", "zh-Hant"]) == ["zh-Hant", "en-GB"]


def test_alpaca_has_a_form_for_records_with_an_input(make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(INSTRUCTION)
    assert segments(corpus, {"instruction": "Add.", "input": "1 2", "output": "3"}) == [
        (f"{INPUT_PREAMBLE}\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:", False),
        ("3", True),
    ]
    expected = [(f"{PREAMBLE}\n\n### Instruction:\nGreet.\n\n### Response:", False), ("Hi", True)]
    for given in ({"input": ""}, {"input": None}, {"input": " \n"}, {}):
        assert segments(corpus, {"instruction": "Greet.", "output": "Hi", **given}) == expected


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("alpaca-no-input", f"{PREAMBLE}\n\n### Instruction:\nAdd.\n1 2\n\n### Response: "),
        ("linly", "### Instruction:Add.\n1 2  ### Response:"),
    ],
)
def test_an_input_is_joined_to_the_instruction_elsewhere(
    make_corpus: MakeCorpus, template: str, prompt: str
) -> None:
    value = {"instruction": "Add.", "input": "1 2", "output": "3"}
    assert segments(make_corpus(INSTRUCTION), value, template) == [(prompt, False), ("3", True)]


EXCHANGES = [("q1", "a1"), ("q2", "a2")]
AS_MESSAGES = {
    "messages": [
        {"role": role, "content": text}
        for user, answer in EXCHANGES
        for role, text in (("user", user), ("assistant", answer))
    ]
}
AS_FIREFLY = {"conversation": [{"human": user, "assistant": a} for user, a in EXCHANGES]}
AS_BAIZE = {
    "input": "The conversation between human and AI assistant.\n"
    "[|Human|] q1\n[|AI|] a1\n[|Human|] q2\n[|AI|] a2\n[|Human|] "
}


@pytest.mark.parametrize(
    ("yaml", "value"), [(MESSAGES, AS_MESSAGES), (FIREFLY, AS_FIREFLY), (BAIZE, AS_BAIZE)]
)
def test_conversations_of_every_form_give_the_same_document(
    make_corpus: MakeCorpus, yaml: str, value: dict[str, Any]
) -> None:
    corpus = make_corpus(yaml)
    assert segments(corpus, value, "alpaca") == [
        (f"{PREAMBLE}\n\n### Instruction:\nq1\n\n### Response:", False),
        ("a1", True),
        ("\n\n### Instruction:\nq2\n\n### Response:", False),
        ("a2", True),
    ]
    assert segments(corpus, value, "linly") == [
        ("### Instruction:q1  ### Response:", False),
        ("a1", True),
        ("### Instruction:q2  ### Response:", False),
        ("a2", True),
    ]
    assert segments(corpus, value, "alpaca-no-input")[2][0].endswith("### Response: ")


def turns(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in pairs]}


def test_a_system_turn_stands_for_the_preamble(make_corpus: MakeCorpus) -> None:
    value = turns(("system", "Be brief."), ("human", "q"), ("gpt", "a"))
    assert segments(make_corpus(MESSAGES), value)[0] == (
        "Be brief.\n\n### Instruction:\nq\n\n### Response:",
        False,
    )


def test_turns_of_one_speaker_are_joined_and_an_unanswered_one_is_taken_off(
    make_corpus: MakeCorpus,
) -> None:
    value = turns(("user", "q"), ("user", "more"), ("assistant", "a"), ("user", "and?"))
    assert segments(make_corpus(MESSAGES), value, "linly") == [
        ("### Instruction:q\nmore  ### Response:", False),
        ("a", True),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (turns(), "no answer of the assistant"),
        (turns(("user", "q")), "no answer of the assistant"),
        (turns(("user", "q"), ("assistant", " ")), "no answer of the assistant"),
        (turns(("assistant", "a")), "turn 0 of the conversation is the assistant's"),
        (turns(("user", "q"), ("system", "s"), ("assistant", "a")), "is the system's"),
        (turns(("tool", "t"), ("assistant", "a")), "turn 0 of the conversation is the tool's"),
        (turns(("bing", "t"), ("assistant", "a")), "role 'bing' of a turn is none of"),
        ({"messages": "text"}, "messages are str, not a list"),
        ({"messages": [{"role": "user"}]}, "field 'content' is missing"),
        ({"other": []}, "field 'messages' is missing"),
    ],
)
def test_a_conversation_out_of_order_is_a_bad_record(
    make_corpus: MakeCorpus, value: dict[str, Any], expected: str
) -> None:
    assert expected in reason(make_corpus(MESSAGES), value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"text": ""}, "text is empty"),
        ({"text": " \u3000\n"}, "text is empty"),
        ({"text": None}, "text is empty"),
        ({"content": "a"}, "field 'text' is missing; fields found: 'content'"),
        ({"text": 12}, "field 'text' is int, not text"),
        ({"text": "a\x00b"}, "NUL"),
        ({"text": "a\ud800"}, "lone surrogate"),
    ],
)
def test_a_record_without_usable_text_is_bad(
    make_corpus: MakeCorpus, value: dict[str, Any], expected: str
) -> None:
    assert expected in reason(make_corpus(TEXT), value)


@pytest.mark.parametrize("missing", ["instruction", "output"])
def test_an_instruction_needs_both_its_parts(make_corpus: MakeCorpus, missing: str) -> None:
    value = {"instruction": "i", "input": "", "output": "o", missing: ""}
    assert reason(make_corpus(INSTRUCTION), value) == f"{missing} is empty"


@pytest.mark.parametrize("side", ["english", "chinese"])
def test_half_a_pair_is_bad(make_corpus: MakeCorpus, side: str) -> None:
    value = {"english": "one", "chinese": "一", side: " "}
    assert reason(make_corpus(PAIRS), value).endswith("is empty")


def test_a_record_that_was_not_parsed_keeps_its_reason(make_corpus: MakeCorpus) -> None:
    maker = DocumentMaker(source_of(make_corpus(TEXT)))
    bad = maker.make("a.jsonl", RawRecord(7, None, "not JSON: why", 3), 0)
    assert bad == BadRecord("source", "a.jsonl", 7, "not JSON: why")


def test_where_leaves_records_out_without_calling_them_bad(make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(
        "{language: en, kind: text, paths: [a], where: [{field: set, not_in: [Github]}]}"
    )
    assert isinstance(made(corpus, {"text": "a", "set": "Book"}), Document)
    filtered = made(corpus, {"text": "a", "set": "Github"})
    assert filtered == Filtered("a.jsonl", 4, "where: set is 'Github'")
    assert isinstance(made(corpus, {"text": "a"}), BadRecord)


def test_training_and_evaluation_share_no_record(make_corpus: MakeCorpus) -> None:
    maker = DocumentMaker(
        source_of(make_corpus("{language: en, kind: text, paths: [a], held_out: 20%}"))
    )
    values = [raw({"text": f"text {i}"}, i) for i in range(500)]
    trained = {r.record for r in values if isinstance(maker.make("a", r, 0), Document)}
    held = {r.record for r in values if isinstance(maker.make_held_out("a", r), Document)}
    assert trained | held == set(range(500))
    assert not trained & held
    assert 60 < len(held) < 140
    assert maker.make("a", values[min(held)], 0) == Filtered("a", min(held), HELD_OUT)


def test_the_held_out_records_do_not_depend_on_template_direction_or_place(
    make_corpus: MakeCorpus,
) -> None:
    corpus = make_corpus("held_out: 30%\n" + _block(INSTRUCTION))
    values = [{"instruction": f"i{i}", "output": f"o{i}"} for i in range(200)]

    def held(template: str, first_record: int) -> list[int]:
        maker = DocumentMaker(source_of(corpus, template=template))
        made = (maker.make_held_out("x", raw(v, first_record + i)) for i, v in enumerate(values))
        return [i for i, document in enumerate(made) if isinstance(document, Document)]

    assert 30 < len(held("alpaca", 0)) < 90
    assert held("alpaca", 0) == held("linly", 0) == held("alpaca-no-input", 1000)

    pairs = make_corpus("held_out: 30%\n" + _block(PAIRS))
    maker = DocumentMaker(source_of(pairs))
    value = [{"english": f"e{i}", "chinese": f"c{i}"} for i in range(200)]
    choices = [
        [isinstance(maker.make("x", raw(v, i + shift), 0), Document) for i, v in enumerate(value)]
        for shift in (0, 1)
    ]
    assert choices[0] == choices[1]


def _block(yaml: str) -> str:
    """A flow mapping's keys as lines of a block mapping."""
    inner = yaml.strip().removeprefix("{").removesuffix("}")
    depth, parts = 0, [""]
    for character in inner:
        depth += character in "{[" or -(character in "}]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return "\n".join(part.strip() for part in parts) + "\n"


def test_a_template_that_does_not_fit_is_a_config_error(make_corpus: MakeCorpus) -> None:
    with pytest.raises(ConfigError, match="found template 'alpaca', allowed for kind text: text"):
        DocumentMaker(source_of(make_corpus(TEXT), template="alpaca"))


def test_the_templates_are_those_a_corpus_file_may_name() -> None:
    from linly.config import corpus

    for kind, names in corpus.TEMPLATES.items():
        assert set(names) - CHAT_TEMPLATES == set(TEMPLATES[kind])
    assert set(TEMPLATES) == set(corpus.TEMPLATES)


def test_no_record_whatever_it_holds_breaks_the_maker(make_corpus: MakeCorpus) -> None:
    makers = [
        DocumentMaker(source_of(make_corpus(yaml)))
        for yaml in (TEXT, PAIRS, INSTRUCTION, MESSAGES, FIREFLY, BAIZE)
    ]
    chance = random.Random(7)
    keys = ["text", "english", "chinese", "instruction", "input", "output", "messages", "role"]
    keys += ["conversation", "human", "assistant", "content"]

    def anything(depth: int) -> Any:
        kind = chance.randrange(9 if depth < 3 else 6)
        if kind >= 7:
            return {chance.choice(keys): anything(depth + 1) for _ in range(4)}
        if kind == 6:
            return [anything(depth + 1) for _ in range(chance.randrange(4))]
        return [None, 3, 1.5, True, "some text", "[|Human|] a [|AI|] b"][kind]

    for _ in range(3000):
        value = {key: anything(0) for key in chance.sample(keys, 6)}
        for maker in makers:
            assert isinstance(maker.make("a", raw(value), 0), Document | BadRecord)


@pytest.mark.parametrize(
    ("format", "shard", "is_made"),
    [
        ("", "a.csv", True),
        ("", "a.tsv.gz", True),
        ("format: csv, ", "part-0", True),
        ("", "a.jsonl", False),
        ("format: jsonl, ", "a.csv", False),
    ],
)
def test_where_compares_numbers_in_the_text_of_tables(
    make_corpus: Callable[..., Corpus], format: str, shard: str, is_made: bool
) -> None:
    where = "where: [{field: score, at_least: 2}]"
    maker = DocumentMaker(
        source_of(make_corpus(f"{{language: en, kind: text, {format}paths: [a], {where}}}"))
    )
    made = maker.make(shard, raw({"text": "a text", "score": "4"}, 0), 0)
    assert isinstance(made, Document if is_made else BadRecord)


def test_a_format_without_columns_may_have_numbers_in_text(
    make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, "txt", replace(FORMATS["txt"], numbers_are_text=True))
    where = "where: [{field: score, at_least: 2}]"
    maker = DocumentMaker(source_of(make_corpus(f"{TEXT[:-1]}, {where}}}")))
    found = [maker.make("a.txt", raw({"text": "x", "score": n}), 0) for n in ("10", "1")]
    assert [type(one) for one in found] == [Document, Filtered]
