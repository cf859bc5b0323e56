"""Conversations: the turns of a record, with their text, reasoning, tool calls and weights.

    record --fields--> messages --tidy--> [system] (user [tool ...] assistant)+

A turn may have tool calls, the reasoning before an answer, and a weight of 0 or 1 that determines
whether it is trained on. Known names of such keys are read; a known key that is not supported makes
the record bad, so that no part of a conversation is silently dropped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from linly.config.fields import BESIDE
from linly.data.documents.tool_calls import calls_in_text, read_calls, with_ids
from linly.data.documents.turn_lists import turns_of
from linly.data.reading.records import FieldPath, Texts, UnusableRecord, clean_text

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
    "function_call": "calls",
}
"""Speaker names in datasets, lower case; `calls` is for an assistant's tool calls."""

WEIGHTS = ("weight", "loss_weight", "train", "training", "loss")
"""Keys of a turn that determine whether it is trained on: 0 or 1, false or true."""

_UNSUPPORTED = ("audio", "audios", "image", "images", "video", "videos", "refusal", "train_detail")
_THINK = re.compile(r"(<think>\s*)(.*?)(\s*</think>\s*)(.*)", re.DOTALL)
_MAX_SHOWN = 60

NO_THINKING = ("", "")


class Message(NamedTuple):
    """One turn.

    Attributes:
        role: Speaker: system, user, assistant or tool.
        text: Text without the reasoning.
        has_loss: Whether an assistant's turn is trained on.
        reasoning: Text before the answer, without its marks.
        marks: Text before and after the reasoning, if the record wrote it into the text; both empty
            if it was a separate field.
        calls: Tool calls as JSON, a list in OpenAI's form; empty if there are none.
        name: Name of the tool whose result this is.
        call_id: Id of the call that a tool's result answers.
    """

    role: str
    text: str
    has_loss: bool = True
    reasoning: str = ""
    marks: tuple[str, str] = NO_THINKING
    calls: str = ""
    name: str = ""
    call_id: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether the message has only text."""
        return not (self.reasoning or self.calls or self.name or self.call_id)

    @property
    def full_text(self) -> str:
        """Text as the record wrote it, including reasoning that was in it."""
        before, after = self.marks
        return f"{before}{self.reasoning}{after}{self.text}" if before else self.text


class Conversation(NamedTuple):
    """Turns of a record, and the tools that they may call.

    Attributes:
        messages: Turns in order.
        tools: Descriptions of the tools as JSON, a list in OpenAI's form; empty if there are none.
    """

    messages: tuple[Message, ...]
    tools: str = ""

    @classmethod
    def of(cls, texts: Texts) -> Conversation:
        """Build a conversation from (role, text) pairs; all assistant turns have loss."""
        return cls(tuple(Message(role, text) for role, text in texts))

    @property
    def texts(self) -> Texts:
        """All its texts, as (role, text); their hash decides whether it is held out."""
        said = [("tools", self.tools)] if self.tools else []
        for message in self.messages:
            said.append((message.role, message.full_text))
            if message.reasoning and message.marks == NO_THINKING:
                said.append(("reasoning", message.reasoning))
            if message.calls:
                said.append(("calls", message.calls))
        return tuple(said)

    def why_not_plain(self) -> str | None:
        """Content that only a chat template can write; None if there are only texts."""
        if self.tools or any(message.calls or message.role == "tool" for message in self.messages):
            return "tools and tool calls"
        if any(message.reasoning and not message.marks[0] for message in self.messages):
            return "reasoning_content"
        return None


class MessageReader:
    """Reads the messages of records, with their known keys besides the text."""

    def __init__(self, role: FieldPath, content: FieldPath, weight: FieldPath | None) -> None:
        """Read from these paths; weights other than `weight` are found by their names."""
        self._role, self._content, self._weight = role, content, weight

    def read(self, messages: object) -> Iterator[Message]:
        """Yield the messages of one record.

        Raises:
            UnusableRecord: If one cannot be read, or has unsupported content.
        """
        call_ids: list[str] = []
        num_calls = 0
        for turn in list_of_objects(messages):
            name = clean_text(self._role.find(turn), self._role.path)
            role = ROLES.get(name.lower())
            if role is None:
                raise UnusableRecord(f"role {name!r} of a turn is none of {', '.join(ROLES)}")
            _refuse_unsupported(turn)
            calls = read_calls(turn)
            text = self._text(turn, may_lack=bool(calls))
            if role == "calls":
                role, calls, text = "assistant", calls_in_text(text), ""
            calls, ids = with_ids(calls, num_calls)
            num_calls += len(ids)
            call_ids += ids
            call_id = ""
            if role == "tool":
                call_id = _optional_text(turn, "tool_call_id") or (call_ids[0] if call_ids else "")
                call_ids = [other for other in call_ids if other != call_id]
            is_assistant = role == "assistant"
            if calls and not is_assistant:
                raise UnusableRecord(f"a turn of the {role} has tool calls")
            reasoning, marks, text = (
                _reasoning(turn, text) if is_assistant else ("", ("", ""), text)
            )
            yield Message(
                role,
                text,
                not is_assistant or read_weight(turn, self._weight),
                reasoning,
                marks,
                _as_json(calls),
                _optional_text(turn, "name") if role == "tool" else "",
                call_id,
            )

    def _text(self, turn: Mapping[str, Any], *, may_lack: bool) -> str:
        path = self._content
        if may_lack and path.path not in turn:
            return ""
        value = path.find(turn)
        if isinstance(value, list) and any(isinstance(part, dict) for part in value):
            return "\n".join(_part(part, path.path) for part in value)
        return path.text(turn)


def tidy_turns(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Convert a conversation to the form [system] (user [tool ...] assistant)+.

    Consecutive plain turns of one speaker are joined by a newline. Empty turns and turns
    after the last one of the assistant are left out.

    Raises:
        UnusableRecord: If the turns are in another order, or none has loss.
    """
    spoken = [message for message in messages if message.text.strip() or not message.is_plain]
    tidy: list[Message] = []
    for _, group in groupby(spoken, key=lambda message: message.role):
        tidy += _joined(list(group))
    while tidy and tidy[-1].role != "assistant":
        tidy.pop()
    if not tidy:
        raise UnusableRecord("the conversation has no answer of the assistant")
    exchange = tidy[1:] if tidy[0].role == "system" else tidy
    may_come: tuple[str, ...] = ("user",)
    for index, message in enumerate(exchange):
        if message.role not in may_come:
            raise UnusableRecord(
                f"turn {index} of the conversation is the {message.role}'s, not the "
                f"{' or '.join(may_come)}'s"
            )
        may_come = _next_roles(message)
    if not any(message.has_loss for message in tidy if message.role == "assistant"):
        raise UnusableRecord("every turn of the assistant has weight 0: nothing to train on")
    return tuple(tidy)


def _next_roles(message: Message) -> tuple[str, ...]:
    if message.role == "tool":
        return ("assistant", "tool")
    if message.role == "user":
        return ("assistant",)
    return ("user", "tool")  # a call may be written in the text


def _joined(turns: list[Message]) -> list[Message]:
    """Join plain turns of one speaker; results of several tools remain separate."""
    if len(turns) == 1 or turns[0].role == "tool":
        return turns
    first, *others = turns
    if not all(turn.is_plain and turn.has_loss == first.has_loss for turn in [first, *others]):
        raise UnusableRecord(
            f"consecutive turns of the {first.role} differ in weight, or have tool calls or "
            f"reasoning: they cannot be joined"
        )
    return [first._replace(text="\n".join(turn.text for turn in turns))]


def read_weight(turn: Mapping[str, Any], path: FieldPath | None = None) -> bool:
    """Whether a turn is trained on, according to a path or a key of a known name.

    Raises:
        UnusableRecord: If its weight is neither 0 nor 1, or two keys contradict each other.
    """
    found = {name: turn[name] for name in WEIGHTS if turn.get(name) is not None}
    if path is not None:
        value = path.find(turn)
        found = {} if value is None else {path.path: value}
    for name, value in found.items():
        if not isinstance(value, int | float) or value not in (0, 1):
            raise UnusableRecord(
                f"{name} of a turn is {str(value)[:_MAX_SHOWN]!r}, allowed: 0 or 1"
            )
    if len({bool(value) for value in found.values()}) > 1:
        raise UnusableRecord(f"{' and '.join(found)} of a turn contradict each other")
    return all(found.values())


def refuse_beside(record: Mapping[str, Any], read: Sequence[str]) -> None:
    """Reject fields of a record that belong to its conversation but are not read.

    Args:
        record: Record to check.
        read: Paths in the corpus file's `fields`.

    Raises:
        UnusableRecord: If there is one; says how to add it to `fields`.
    """
    for role, name in ((role, name) for role, names in BESIDE.items() for name in names):
        value = record.get(name)
        if name not in read and value and not (isinstance(value, str) and not value.strip()):
            raise UnusableRecord(
                f'field {name!r} next to the messages would be lost: add `{role}: "{name}?"` to '
                f"the corpus file's fields"
            )
    _refuse_unsupported(record, "the record")


def list_of_objects(messages: object) -> list[dict[str, Any]]:
    """Return the turns of a record, in any form that `turns_of` accepts.

    Raises:
        UnusableRecord: If it is not a list of objects.
    """
    turns = turns_of(messages)
    if turns is None or not all(isinstance(turn, dict) for turn in turns):
        raise UnusableRecord(f"messages are {type(messages).__name__}, not a list of objects")
    return turns


def _refuse_unsupported(holder: Mapping[str, Any], what: str = "a turn") -> None:
    found = [name for name in _UNSUPPORTED if holder.get(name)]
    if found:
        raise UnusableRecord(f"field {found[0]!r} of {what} is not supported")


def _part(part: object, name: str) -> str:
    if isinstance(part, dict) and part.get("type", "text") == "text":
        return clean_text(part.get("text"), name)
    if isinstance(part, dict):
        kind = str(part.get("type"))[:_MAX_SHOWN]
        raise UnusableRecord(f"a part of {name!r} of type {kind!r} is not supported")
    return clean_text(part, name)


def _reasoning(turn: Mapping[str, Any], text: str) -> tuple[str, tuple[str, str], str]:
    """Return the reasoning, its marks and the text after it."""
    names = ("reasoning_content", "reasoning", "thinking")
    given = [_optional_text(turn, name) for name in names]
    found = next((reasoning for reasoning in given if reasoning.strip()), "")
    inside = _THINK.fullmatch(text.lstrip())
    if inside is None or not inside[2]:
        return found, NO_THINKING, text
    if found:
        raise UnusableRecord("a turn has reasoning both in its text and in a field")
    return inside[2], (inside[1], inside[3]), inside[4]


def _optional_text(turn: Mapping[str, Any], name: str) -> str:
    value = turn.get(name)
    return "" if value is None else clean_text(value, name)


def _as_json(calls: list[dict[str, Any]]) -> str:
    return clean_text(json.dumps(calls, ensure_ascii=False), "tool_calls") if calls else ""
