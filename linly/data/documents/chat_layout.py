"""The layout of a conversation: what a chat template writes around the texts, and their places.

    turns with marks --template--> one text --cut at marks--> atoms: literals and slots

What the template writes around the texts does not depend on them, so a layout serves all
conversations of one shape.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from linly.data.documents.conversations import Conversation, Message

Part = Literal["prompt", "answer", "closing"]
"""Part of a document: what the template writes or the user says; the assistant's text, reasoning
and tool calls; what the template writes to end that turn."""

Reasoning = Literal["field", "text"]
"""How reasoning is given to a template: as `reasoning_content`, or within the text."""

THINK_OPEN, THINK_CLOSE = "<think>\n", "\n</think>\n\n"
MARK_OPEN, MARK_CLOSE = "\ue000", "\ue001"
_MARK = re.compile(f"{MARK_OPEN}(\\d+){MARK_CLOSE}")

Stripping = Literal["nothing", "newlines", "space"]
"""What a template strips from an end of a text."""

CHARACTERS: dict[Stripping, str | None] = {"nothing": "", "newlines": "\n", "space": None}
"""What to give to `str.strip`."""


class Slot(NamedTuple):
    """A place for a text of a message."""

    message: int
    field: Literal["reasoning", "text"]


@dataclass(frozen=True, slots=True)
class Atom:
    """A stretch of a rendered conversation.

    Attributes:
        part: The part of the document that it belongs to.
        text: A literal; empty for a slot.
        slot: The place of a text.
    """

    part: Part
    text: str
    slot: Slot | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """One document of conversations of one shape.

    Attributes:
        messages: The number of messages that it renders, from the first on.
        reasoning: How reasoning is given to the template.
        rendered: What the template writes; a real rendering must be equal.
        atoms: What is trained on: the same without the EOS at the end, or with the reasoning that
            the template leaves out.
        strips: What the template strips from the ends of each text (left, right).
    """

    messages: int
    reasoning: Reasoning
    rendered: tuple[Atom, ...]
    atoms: tuple[Atom, ...]
    strips: dict[Slot, tuple[Stripping, Stripping]]

    def fill(self, atoms: Sequence[Atom], conversation: Conversation) -> list[str]:
        """The texts of atoms, slots filled as the template would."""
        return [
            atom.text if atom.slot is None else self._text(atom.slot, conversation)
            for atom in atoms
        ]

    def _text(self, slot: Slot, conversation: Conversation) -> str:
        message = conversation.messages[slot.message]
        text = message.text if slot.field == "text" else message.reasoning
        left, right = self.strips.get(slot, ("nothing", "nothing"))
        return text.lstrip(CHARACTERS[left]).rstrip(CHARACTERS[right])


def template_form(
    conversation: Conversation, reasoning: Reasoning, *, tool_role: str
) -> list[dict[str, Any]]:
    """Messages as templates take them (the form of transformers' `apply_chat_template`)."""
    return [_template_message(m, reasoning, tool_role) for m in conversation.messages]


def _template_message(message: Message, reasoning: Reasoning, tool_role: str) -> dict[str, Any]:
    text = message.text
    found: dict[str, Any] = {}
    if message.reasoning and reasoning == "field":
        found["reasoning_content"] = message.reasoning
    elif message.reasoning or message.marks[0]:
        before, after = message.marks if message.marks[0] else (THINK_OPEN, THINK_CLOSE)
        text = f"{before}{message.reasoning}{after}{text}"
    if message.calls:
        found["tool_calls"] = json.loads(message.calls)
    if message.name:
        found["name"] = message.name
    if message.call_id:
        found["tool_call_id"] = message.call_id
    role = tool_role if message.role == "tool" else message.role
    return {"role": role, "content": text, **found}


def shape_of(conversation: Conversation) -> Conversation:
    """The conversation without its texts: all that a layout depends on."""
    return conversation._replace(
        messages=tuple(
            message._replace(
                text="x" if message.text else "", reasoning="x" if message.reasoning else ""
            )
            for message in conversation.messages
        )
    )


def slots_of(shape: Conversation) -> list[Slot]:
    """Places of texts, in the order in which templates write them."""
    found = []
    for index, message in enumerate(shape.messages):
        if message.reasoning:
            found.append(Slot(index, "reasoning"))
        if message.text:
            found.append(Slot(index, "text"))
    return found


def up_to(shape: Conversation, turn: int) -> Conversation:
    """The conversation from its beginning to a turn, that one included."""
    return shape._replace(messages=shape.messages[: turn + 1])


def cut_at_marks(
    text: str, shape: Conversation, spans: Sequence[tuple[int, int, int]]
) -> Iterator[Atom]:
    """Cut a rendering at its marks and at the borders of its assistant's turns."""
    slots = slots_of(shape)
    borders: list[tuple[int, Part]] = [(0, "prompt")]
    for start, closing, end in spans:
        borders += [(start, "answer"), (closing, "closing"), (end, "prompt")]
    for index, (begin, part) in enumerate(borders):
        stop = borders[index + 1][0] if index + 1 < len(borders) else len(text)
        at = begin
        for found in _MARK.finditer(text, begin, stop):
            if at < found.start():
                yield Atom(part, text[at : found.start()])
            yield Atom(part, "", slots[int(found[1])])
            at = found.end()
        if at < stop:
            yield Atom(part, text[at:stop])


def literals_of(atoms: Iterable[Atom]) -> tuple[list[str], list[Slot]]:
    """What stands before each slot and behind the last, and the slots."""
    literals, slots = [""], []
    for atom in atoms:
        if atom.slot is None:
            literals[-1] += atom.text
        else:
            slots.append(atom.slot)
            literals.append("")
    return literals, slots
