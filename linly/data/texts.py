"""The texts of a record by its corpus's kind: what its fields say, before any template."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any

from linly.config.corpus import Corpus
from linly.data.choices import fewer_choices
from linly.data.records import (
    FieldPath,
    Form,
    Texts,
    UnusableRecord,
    clean_text,
    parse_field,
    require_text,
)

TextReader = Callable[[Mapping[str, Any]], Texts]

_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "ai": "assistant",
}
"""What datasets call the parts of a conversation, lower case."""


def text_reader(corpus: Corpus) -> TextReader:
    """Give the function that reads a record's texts; it raises UnusableRecord for a reason.

    Texts by kind: text: one; parallel: the two languages, non-English first; instruction:
    instruction, input ("" when there is none), output, of long `choices` a few; conversation:
    `tidy_turns`.

    Raises:
        ConfigError: A field of the corpus file cannot be read.
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


def tidy_turns(turns: Iterable[tuple[str, str]]) -> Texts:
    """Bring a conversation to the form [system] (user assistant)+.

    Turns of one speaker in a row are joined by a newline, empty ones and a last one of the user
    (nothing answers it) are taken off.

    Args:
        turns: (role: system, user or assistant; text).

    Raises:
        UnusableRecord: The assistant begins, never speaks, or a system turn comes later on.
    """
    spoken = [turn for turn in turns if turn[1] and not turn[1].isspace()]
    tidy = [
        (role, "\n".join(text for _, text in group))
        for role, group in groupby(spoken, key=lambda turn: turn[0])
    ]
    if tidy and tidy[-1][0] != "assistant":
        tidy.pop()
    if not any(role == "assistant" for role, _ in tidy):
        raise UnusableRecord("the conversation has no answer of the assistant")
    exchange = tidy[1:] if tidy[0][0] == "system" else tidy
    expected = ("user", "assistant")
    for index, (role, _) in enumerate(exchange):
        if role != expected[index % 2]:
            raise UnusableRecord(
                f"turn {index} of the conversation is the {role}'s, not the {expected[index % 2]}'s"
            )
    return tuple(tidy)


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
    """The texts of a field's list; none for null."""
    if value is not None and not isinstance(value, list):
        raise UnusableRecord(f"field {name!r} is {type(value).__name__}, not a list of texts")
    return [clean_text(element, name) for element in value or ()]


def _conversation_reader(fields: Mapping[str, str]) -> TextReader:
    if "text" in fields:
        text = parse_field(fields["text"])
        return _marked_reader(text, fields["user_mark"], fields["assistant_mark"])
    messages = FieldPath.parse(fields["messages"])
    if "role" in fields:
        role, content = FieldPath.parse(fields["role"]), FieldPath.parse(fields["content"])
        return lambda record: tidy_turns(_turns(messages.find(record), role, content))
    user, answer = FieldPath.parse(fields["user"]), FieldPath.parse(fields["assistant"])
    return lambda record: tidy_turns(_exchanges(messages.find(record), user, answer))


def _turns(messages: object, role: FieldPath, content: FieldPath) -> Iterable[tuple[str, str]]:
    for message in _list_of_objects(messages):
        name = clean_text(role.find(message), role.path)
        if name.lower() not in _ROLES:
            raise UnusableRecord(f"role {name!r} of a turn is none of {', '.join(_ROLES)}")
        yield _ROLES[name.lower()], content.text(message)


def _exchanges(messages: object, user: FieldPath, answer: FieldPath) -> Iterable[tuple[str, str]]:
    for exchange in _list_of_objects(messages):
        yield "user", user.text(exchange)
        yield "assistant", answer.text(exchange)


def _list_of_objects(messages: object) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise UnusableRecord(f"messages are {type(messages).__name__}, not a list of objects")
    return messages


def _marked_reader(text: FieldPath | Form, user_mark: str, assistant_mark: str) -> TextReader:
    """Read turns that begin with marks; what comes before the first mark is no turn (Baize)."""
    marks = {user_mark: "user", assistant_mark: "assistant"}
    boundary = re.compile("(" + "|".join(map(re.escape, sorted(marks, key=len)[::-1])) + ")")

    def read(record: Mapping[str, Any]) -> Texts:
        parts = boundary.split(text.text(record))
        turns = zip(parts[1::2], parts[2::2], strict=True)
        return tidy_turns((marks[mark], said.strip()) for mark, said in turns)

    return read
