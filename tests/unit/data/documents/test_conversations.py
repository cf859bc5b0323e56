"""linly.data.documents.conversations: nothing that a conversation says is lost in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from linly.config.corpus import Corpus
from linly.data.documents.conversations import Conversation, Message
from linly.data.documents.templates import DocumentMaker
from linly.data.documents.texts import text_reader
from linly.data.reading.records import UnusableRecord
from linly.data.types import BadRecord, Document, RawRecord
from linly.errors import ConfigError
from tests.support.tiny_corpora import source_of

MakeCorpus = Callable[..., Corpus]
OPENAI = "{language: en, kind: conversation, paths: [a.jsonl], fields: {messages: messages, role: role, content: content%s}}"  # noqa: E501
SHAREGPT = "{language: en, kind: conversation, paths: [a.jsonl], fields: {messages: conversations, role: from, content: value%s}}"  # noqa: E501
CALL = {"name": "map", "arguments": {"of": "river"}}
AS_JSON = json.dumps([{"id": "call00000", "type": "function", "function": CALL}])
TOOL = {"name": "map", "description": "A map.", "parameters": {"type": "object"}}


@pytest.fixture
def read(make_corpus: MakeCorpus) -> Callable[..., Conversation]:
    def read(value: dict[str, Any], more: str = "") -> Conversation:
        yaml = OPENAI if "messages" in value else SHAREGPT
        said = text_reader(make_corpus(yaml % more))(value)
        assert isinstance(said, Conversation)
        return said

    return read


def openai(*turns: dict[str, Any], **beside: Any) -> dict[str, Any]:
    roles = ("user", "assistant") * len(turns)
    whole = [
        {"role": role, "content": "x", **turn} for role, turn in zip(roles, turns, strict=False)
    ]
    return {"messages": whole, **beside}


def sharegpt(*turns: tuple[str, str], **beside: Any) -> dict[str, Any]:
    return {"conversations": [{"from": who, "value": said} for who, said in turns], **beside}


PAIR = (("human", "Where?"), ("gpt", "To the sea."))


def test_a_system_field_beside_the_messages_is_read(read: Callable[..., Conversation]) -> None:
    said = read(sharegpt(*PAIR, system="Be brief."), ", system: system")
    assert said.messages[0] == Message("system", "Be brief.")
    without = read(sharegpt(*PAIR, system=""), ', system: "system?"')
    assert without == read(sharegpt(*PAIR), ', system: "system?"')
    assert [m.role for m in without.messages] == ["user", "assistant"]
    with pytest.raises(UnusableRecord, match="both in a turn and in a field"):
        read(sharegpt(("system", "a"), *PAIR, system="b"), ", system: system")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("system", "Be brief."),
        ("system_prompt", "Be brief."),
        ("system_message", "Be brief."),
        ("tools", [TOOL]),
        ("functions", json.dumps([TOOL])),
    ],
)
def test_a_field_beside_the_messages_that_nothing_reads_is_named(
    read: Callable[..., Conversation], name: str, value: object
) -> None:
    for record in (sharegpt(*PAIR, **{name: value}), openai({}, {}, **{name: value})):
        with pytest.raises(UnusableRecord, match=f"field '{name}' next to .* would be lost: add"):
            read(record)
    for empty in ("", " ", None, []):
        assert read(sharegpt(*PAIR, **{name: empty}))


@pytest.mark.parametrize("name", ["weight", "loss_weight", "train", "training", "loss"])
def test_a_turn_of_weight_zero_has_no_loss(read: Callable[..., Conversation], name: str) -> None:
    for none, whole in ((0, 1), (0.0, 1.0), (False, True), (0, None)):
        said = read(openai({}, {name: none}, {}, {name: whole}))
        assert [m.has_loss for m in said.messages if m.role == "assistant"] == [False, True]
    for bad in (0.5, "0", -1, 2, [0]):
        with pytest.raises(UnusableRecord, match=f"{name} of a turn is .*allowed: 0 or 1"):
            read(openai({}, {name: bad}))
    with pytest.raises(UnusableRecord, match="weight 0: nothing to train on"):
        read(openai({}, {name: 0}))


def test_a_weight_may_have_any_name(read: Callable[..., Conversation]) -> None:
    said = read(openai({}, {"keep": 0}, {}, {"keep": 1}), ', weight: "keep?"')
    assert [m.has_loss for m in said.messages] == [True, False, True, True]
    with pytest.raises(UnusableRecord, match="contradict"):
        read(openai({}, {"weight": 0, "train": True}))


def test_weights_hold_in_every_template(make_corpus: MakeCorpus) -> None:
    value = openai({}, {"content": "no", "weight": 0}, {}, {"content": "yes"})
    for template in ("alpaca", "alpaca-no-input", "linly"):
        made = DocumentMaker(source_of(make_corpus(OPENAI % ""), template=template)).make(
            "a", RawRecord(0, value, None, 1), 0
        )
        assert isinstance(made, Document)
        assert [s.text for s in made.segments if s.supervised] == ["yes"]
    firefly = (
        "{language: zh, kind: conversation, paths: [a], "
        "fields: {messages: m, user: human, assistant: assistant}}"
    )
    pairs = [{"human": "q", "assistant": "no", "train": False}, {"human": "q", "assistant": "a"}]
    said = text_reader(make_corpus(firefly))({"m": pairs})
    assert isinstance(said, Conversation)
    assert [m.has_loss for m in said.messages] == [True, False, True, True]


RESULT = {"role": "tool", "content": "sea"}
CALLS: dict[str, dict[str, Any]] = {
    "openai": openai(
        {},
        {"content": None, "tool_calls": [{"function": {**CALL, "arguments": '{"of": "river"}'}}]},
        RESULT,
        {},
    ),
    "openai function_call": openai(
        {}, {"content": "", "function_call": CALL}, {**RESULT, "role": "function"}, {}
    ),
    "llama-factory": sharegpt(
        ("human", "x"), ("function_call", json.dumps(CALL)), ("observation", "sea"), ("gpt", "x")
    ),
    "llama-factory, a list": sharegpt(
        ("human", "x"), ("function_call", json.dumps([CALL])), ("observation", "sea"), ("gpt", "x")
    ),
}


@pytest.mark.parametrize("value", CALLS.values(), ids=CALLS)
def test_tool_calls_of_every_form_are_the_same_turns(
    read: Callable[..., Conversation], value: dict[str, Any]
) -> None:
    assert read(value).messages == (
        Message("user", "x"),
        Message("assistant", "", calls=AS_JSON),
        Message("tool", "sea", call_id="call00000"),
        Message("assistant", "x"),
    )


@pytest.mark.parametrize("value", CALLS.values(), ids=CALLS)
def test_tool_calls_need_a_chat_template(make_corpus: MakeCorpus, value: dict[str, Any]) -> None:
    yaml = OPENAI if "messages" in value else SHAREGPT
    maker = DocumentMaker(source_of(make_corpus(yaml % "")))
    made = maker.make("a", RawRecord(0, value, None, 1), 0)
    assert isinstance(made, BadRecord)
    assert "tools and tool calls need the template `chat`" in made.reason


@pytest.mark.parametrize("written", [[TOOL], json.dumps([TOOL]), [{"function": TOOL}]])
def test_tools_of_every_form_are_the_same(
    read: Callable[..., Conversation], written: object
) -> None:
    found = json.loads(read(sharegpt(*PAIR, tools=written), ", tools: tools").tools)
    assert [tool["function"] for tool in found] == [TOOL]


def test_reasoning_is_read_beside_the_text_and_in_it(read: Callable[..., Conversation]) -> None:
    for name in ("reasoning_content", "reasoning", "thinking"):
        answer = read(openai({}, {name: "Think."})).messages[1]
        assert answer == Message("assistant", "x", reasoning="Think.")
    answer = read(openai({}, {"content": "<think>\nThink.\n</think>\n\nx"})).messages[1]
    assert (answer.reasoning, answer.text) == ("Think.", "x")
    assert answer.full_text == "<think>\nThink.\n</think>\n\nx"


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"images": ["a.png"]}, "field 'images' of a turn is not supported"),
        ({"audio": {"id": "x"}}, "field 'audio' of a turn is not supported"),
        ({"refusal": "No."}, "field 'refusal' of a turn is not supported"),
        ({"content": [{"type": "image_url", "image_url": {}}]}, "of type 'image_url' is not"),
        ({"tool_calls": [{"function": {}}]}, "no function with a name"),
        ({"tool_calls": "{"}, "tool_calls of a turn is not JSON"),
        ({"function_call": {"name": "f", "arguments": "["}}, "arguments of a turn is not JSON"),
        ({"function_call": {"name": "f", "arguments": "[]"}}, "are not a JSON object"),
        (
            {"content": "<think>a</think>b", "reasoning_content": "c"},
            "both in its text and in a field",
        ),
    ],
)
def test_what_is_not_supported_is_named(
    read: Callable[..., Conversation], turn: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnusableRecord, match=reason):
        read(openai({}, turn))


def test_turns_that_differ_in_weight_are_not_joined(read: Callable[..., Conversation]) -> None:
    with pytest.raises(UnusableRecord, match=r"consecutive turns of .* differ in weight"):
        read(sharegpt(*PAIR) | {"conversations": [
            {"from": "human", "value": "q"},
            {"from": "gpt", "value": "a", "weight": 0},
            {"from": "gpt", "value": "b"},
        ]})  # fmt: skip


def test_parts_of_text_are_joined_and_a_chat_may_be_json(
    read: Callable[..., Conversation],
) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert read(openai({}, {"content": parts})).messages[1].text == "a\nb"
    written = sharegpt(*PAIR)
    assert read({"conversations": json.dumps(written["conversations"])}) == read(written)


def test_what_is_held_out_does_not_change_for_plain_chats() -> None:
    texts = (("user", "a"), ("assistant", "b"))
    assert Conversation.of(texts).texts == texts
    calls = Conversation((Message("user", "a"), Message("assistant", "b", calls=AS_JSON)))
    assert calls.texts != texts


def test_fields_beside_the_turns_are_checked(make_corpus: MakeCorpus) -> None:
    assert make_corpus(OPENAI % ", system: s, tools: t, weight: w")
    with pytest.raises(ConfigError, match="with messages also system, tools and weight"):
        make_corpus(OPENAI % ", sytem: s")
    with pytest.raises(ConfigError, match="a date such as 2024-07-26"):
        make_corpus((OPENAI % "").replace("kind:", "chat_date: 26 Jul 2024, kind:"))


CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


@pytest.mark.parametrize(
    ("fields", "messages"),
    [
        ("messages: m, role: role, content: content", CHAT),
        ("messages: m, role: role, content: content", json.dumps(CHAT)),
        ("messages: m, role: role, content: content", {k: [t[k] for t in CHAT] for k in CHAT[0]}),
        (
            "messages: m, role: role, content: content",
            json.dumps({k: [t[k] for t in CHAT] for k in CHAT[0]}),
        ),
        ("messages: m", ["Hi", "Hello"]),
        ("messages: m", json.dumps(["Hi", "Hello"])),
        ("messages: m, user: q, assistant: a", [{"q": "Hi", "a": "Hello"}]),
        ("messages: m, user: q, assistant: a", {"q": ["Hi"], "a": ["Hello"]}),
    ],
)
def test_a_list_of_turns_is_read_in_every_form(
    make_corpus: Callable[..., Corpus], fields: str, messages: object
) -> None:
    corpus = make_corpus(f"{{language: en, kind: conversation, paths: [a], fields: {{{fields}}}}}")
    said = text_reader(corpus)({"m": messages})
    assert isinstance(said, Conversation)
    assert said.texts == (("user", "Hi"), ("assistant", "Hello"))


@pytest.mark.parametrize(
    ("fields", "messages"),
    [
        ("messages: m, role: role, content: content", {"role": ["user"], "content": []}),
        ("messages: m, role: role, content: content", "[broken"),
        ("messages: m, role: role, content: content", "Hi"),
        ("messages: m, role: role, content: content", ["Hi", "Hello"]),
        ("messages: m", "Hi"),
        ("messages: m", CHAT),
        ("messages: m", None),
    ],
)
def test_what_is_no_list_of_turns_is_a_bad_record(
    make_corpus: Callable[..., Corpus], fields: str, messages: object
) -> None:
    corpus = make_corpus(f"{{language: en, kind: conversation, paths: [a], fields: {{{fields}}}}}")
    with pytest.raises(UnusableRecord, match=r"not a list of|is dict, not text"):
        text_reader(corpus)({"m": messages})
