"""Texts of a record, read from its fields by the kind of its corpus, before any template."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from linly.config.corpus import Corpus
from linly.data.documents.choices import fewer_choices
from linly.data.documents.conversations import (
    Conversation,
    Message,
    MessageReader,
    list_of_objects,
    read_weight,
    refuse_beside,
    tidy_turns,
)
from linly.data.documents.tool_calls import read_tools
from linly.data.documents.turn_lists import turns_of
from linly.data.reading.records import (
    FieldPath,
    Form,
    Texts,
    UnusableRecord,
    clean_text,
    parse_field,
    paths_of,
    require_text,
)

TextReader = Callable[[Mapping[str, Any]], Texts | Conversation]


def text_reader(corpus: Corpus) -> TextReader:
    """Return the function that reads a record's texts; it raises UnusableRecord with a reason.

    Texts by kind: text: one; parallel: the two languages, non-English first; instruction:
    instruction, input ("" if there is none), output, with long `choices` reduced. A conversation
    is a `Conversation`, as returned by `tidy_turns`.

    Raises:
        ConfigError: If a field of the corpus file cannot be parsed.
    """
    if corpus.kind == "conversation":
        return _conversation_reader(corpus.fields)
    fields = {role: parse_field(written) for role, written in corpus.fields.items()}
    if corpus.kind == "parallel":
        return _required_reader({role: fields[role] for role in parallel_order(fields)})
    if corpus.kind == "instruction":
        return _instruction_reader(
            fields["instruction"], fields.get("input"), fields["output"], fields.get("choices")
        )
    return _required_reader(fields)


def parallel_order(languages: Iterable[str]) -> list[str]:
    """Order the languages of pairs: by code, English last."""
    return sorted(languages, key=lambda code: (code.split("-")[0] == "en", code))


def _required_reader(fields: Mapping[str, FieldPath | Form]) -> TextReader:
    def read(record: Mapping[str, Any]) -> Texts:
        return tuple((role, require_text(f.text(record), role)) for role, f in fields.items())

    return read


def _instruction_reader(
    instruction: FieldPath | Form,
    given: FieldPath | Form | None,
    output: FieldPath | Form,
    choices: FieldPath | Form | None,
) -> TextReader:
    def read(record: Mapping[str, Any]) -> Texts:
        asked = require_text(instruction.text(record), "instruction")
        extra = "" if given is None else given.text(record)
        answer = require_text(output.text(record), "output")
        if isinstance(choices, FieldPath):
            named = _list_of_texts(choices.find(record), choices.path)
            asked, extra = (fewer_choices(text, named, answer) for text in (asked, extra))
        return (
            ("instruction", asked),
            ("input", "" if extra.isspace() else extra),
            ("output", answer),
        )

    return read


def _list_of_texts(value: object, name: str) -> list[str]:
    """Return the texts of a field's list; none for null."""
    if value is not None and not isinstance(value, list):
        raise UnusableRecord(f"field {name!r} is {type(value).__name__}, not a list of texts")
    return [clean_text(element, name) for element in value or ()]


def _conversation_reader(fields: Mapping[str, str]) -> TextReader:
    turns = _turns_reader(fields)
    system, tools = (_optional_field(fields.get(name)) for name in ("system", "tools"))
    named = [path.path for field in (system, tools) if field for path in paths_of(field)]

    def read(record: Mapping[str, Any]) -> Conversation:
        refuse_beside(record, named)
        messages = list(turns(record))
        if system is not None and (text := system.text(record)).strip():
            if messages and messages[0].role == "system":
                raise UnusableRecord("the record has a system text both in a turn and in a field")
            messages.insert(0, Message("system", text))
        described = "" if tools is None else read_tools(_value(tools, record), fields["tools"])
        return Conversation(tidy_turns(messages), described)

    return read


def _optional_field(written: str | None) -> FieldPath | Form | None:
    return None if written is None else parse_field(written)


def _value(field: FieldPath | Form, record: Mapping[str, Any]) -> object:
    return field.find(record) if isinstance(field, FieldPath) else field.text(record)


def _turns_reader(
    fields: Mapping[str, str],
) -> Callable[[Mapping[str, Any]], Iterable[Message]]:
    if "text" in fields:
        text = parse_field(fields["text"])
        return _marked_reader(text, fields["user_mark"], fields["assistant_mark"])
    messages = FieldPath.parse(fields["messages"])
    weight = FieldPath.parse(fields["weight"]) if "weight" in fields else None
    if "role" in fields:
        role, content = FieldPath.parse(fields["role"]), FieldPath.parse(fields["content"])
        reader = MessageReader(role, content, weight)
        return lambda record: reader.read(messages.find(record))
    if "user" not in fields:
        return lambda record: _alternating(messages.find(record), messages.path)
    user, answer = FieldPath.parse(fields["user"]), FieldPath.parse(fields["assistant"])
    return lambda record: _exchanges(messages.find(record), user, answer, weight)


def _alternating(texts: object, name: str) -> Iterator[Message]:
    """Yield the texts of a list as alternating turns of user and assistant."""
    turns = turns_of(texts)
    if turns is None:
        raise UnusableRecord(f"field {name!r} is {type(texts).__name__}, not a list of texts")
    for index, text in enumerate(turns):
        yield Message("assistant" if index % 2 else "user", clean_text(text, name))


def _exchanges(
    messages: object, user: FieldPath, answer: FieldPath, weight: FieldPath | None
) -> Iterator[Message]:
    for exchange in list_of_objects(messages):
        yield Message("user", user.text(exchange))
        yield Message("assistant", answer.text(exchange), read_weight(exchange, weight))


def _marked_reader(
    text: FieldPath | Form, user_mark: str, assistant_mark: str
) -> Callable[[Mapping[str, Any]], Iterable[Message]]:
    """Read turns that begin with marks; text before the first mark is ignored (Baize)."""
    marks = {user_mark: "user", assistant_mark: "assistant"}
    boundary = re.compile("(" + "|".join(map(re.escape, sorted(marks, key=len)[::-1])) + ")")

    def read(record: Mapping[str, Any]) -> Iterator[Message]:
        parts = boundary.split(text.text(record))
        for mark, said in zip(parts[1::2], parts[2::2], strict=True):
            yield Message(marks[mark], said.strip())

    return read
