"""Layout of a conversation: the literals that a chat template writes, and the slots of the texts.

    turns with marks --template--> one text --cut at marks--> atoms: literals and slots

The literals do not depend on the texts, so one layout serves all conversations of one shape.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from linly.data.documents.conversations import Conversation, Message

Part = Literal["prompt", "answer", "closing"]
"""Part of a document. prompt: the template's text or the user's. answer: the assistant's text,
reasoning and tool calls. closing: the template's text that ends the assistant's turn."""

Reasoning = Literal["field", "text"]
"""Form of the reasoning for a template: as `reasoning_content`, or inside the text."""

THINK_OPEN, THINK_CLOSE = "<think>\n", "\n</think>\n\n"
MARK_OPEN, MARK_CLOSE = "\ue000", "\ue001"
_MARK = re.compile(f"{MARK_OPEN}(\\d+){MARK_CLOSE}")

Stripping = Literal["nothing", "newlines", "space"]
"""Characters that a template strips from an end of a text."""

CHARACTERS: dict[Stripping, str | None] = {"nothing": "", "newlines": "\n", "space": None}
"""Argument for `str.strip`."""


class Slot(NamedTuple):
    """Position of a text of a message."""

    message: int
    field: Literal["reasoning", "text"]


@dataclass(frozen=True, slots=True)
class Atom:
    """Part of a rendered conversation, a literal or a slot.

    Attributes:
        part: Part of the document that it belongs to.
        text: Literal text; empty for a slot.
        slot: Position of a text; None for a literal.
    """

    part: Part
    text: str
    slot: Slot | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of one document, shared by conversations of one shape.

    Attributes:
        messages: Number of messages that it renders, from the first on.
        reasoning: Form of the reasoning for the template.
        rendered: Output of the template; the rendering of a real conversation must be equal.
        atoms: Parts to train on: `rendered` without the EOS at the end, or with the reasoning that
            the template leaves out.
        strips: Characters that the template strips from the ends of each text (left, right).
    """

    messages: int
    reasoning: Reasoning
    rendered: tuple[Atom, ...]
    atoms: tuple[Atom, ...]
    strips: dict[Slot, tuple[Stripping, Stripping]]

    def fill(self, atoms: Sequence[Atom], conversation: Conversation) -> list[str]:
        """Texts of atoms, with slots filled and stripped as by the template."""
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
    """Messages in the form for templates (transformers' `apply_chat_template`)."""
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
    """The conversation without its texts, which is all that a layout depends on."""
    return conversation._replace(
        messages=tuple(
            message._replace(
                text="x" if message.text else "", reasoning="x" if message.reasoning else ""
            )
            for message in conversation.messages
        )
    )


def slots_of(shape: Conversation) -> list[Slot]:
    """Slots of the texts, in the order in which templates write them."""
    found = []
    for index, message in enumerate(shape.messages):
        if message.reasoning:
            found.append(Slot(index, "reasoning"))
        if message.text:
            found.append(Slot(index, "text"))
    return found


def up_to(shape: Conversation, turn: int) -> Conversation:
    """The conversation from its start up to and including a turn."""
    return shape._replace(messages=shape.messages[: turn + 1])


def cut_at_marks(
    text: str, shape: Conversation, spans: Sequence[tuple[int, int, int]]
) -> Iterator[Atom]:
    """Cut a rendering at its marks and at the boundaries of its assistant turns."""
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
    """Literals before each slot and after the last one, and the slots."""
    literals, slots = [""], []
    for atom in atoms:
        if atom.slot is None:
            literals[-1] += atom.text
        else:
            slots.append(atom.slot)
            literals.append("")
    return literals, slots
