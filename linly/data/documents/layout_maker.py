"""Finds the layout of a conversation in a chat template by rendering marks in place of its texts.

An assistant's turn begins at the end of the template's generation prompt, and ends at the end of
the conversation up to that turn. If a template writes an earlier turn differently than a last one,
each turn gets its own layout.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from linly.data.documents.chat_layout import (
    CHARACTERS,
    MARK_CLOSE,
    MARK_OPEN,
    THINK_CLOSE,
    Atom,
    Layout,
    Reasoning,
    Slot,
    Stripping,
    cut_at_marks,
    literals_of,
    slots_of,
    template_form,
    up_to,
)
from linly.data.documents.conversations import Conversation, Message
from linly.data.reading.records import UnusableRecord

Render = Callable[[Sequence[dict[str, Any]], str, bool], str]
"""Renders messages, tools as JSON, and a flag that adds the generation prompt."""

_PAD_LEFT, _PAD_RIGHT = "\n \t", "\t \n"


class LayoutMaker:
    """Finds the layouts of a template."""

    def __init__(
        self,
        render: Render,
        *,
        eos: str | None,
        special: re.Pattern[str] | None,
        tool_role: str,
    ) -> None:
        """Store the template's renderer, its EOS and special tokens, and its role for tools."""
        self._render_dicts = render
        self._eos = eos
        self._special = special
        self.tool_role = tool_role

    def layouts(self, shape: Conversation) -> tuple[Layout, ...]:
        """Layouts of a conversation's documents: one, or one for each turn with loss.

        There are several if the template writes an earlier turn differently than a last one (such
        as templates that leave out earlier reasoning), since each turn is trained on as the model
        would write it.

        Raises:
            UnusableRecord: If the template drops, repeats or changes a text.
            jinja2.TemplateError: If the template rejects such a conversation.
        """
        forms, refused = _forms(shape), []
        for reasoning in forms:
            try:
                whole = self._whole(shape, reasoning)
            except UnusableRecord as error:
                refused.append(error)
                continue
            if whole is not None:
                return (whole,)
        if len(refused) == len(forms):
            raise refused[0]
        turns = [i for i, m in enumerate(shape.messages) if m.role == "assistant" and m.has_loss]
        return tuple(self._one_turn(shape, turn) for turn in turns)

    def _whole(self, shape: Conversation, reasoning: Reasoning) -> Layout | None:
        """Layout of all turns at once; None if the template changes earlier turns."""
        text = self._marked(shape, reasoning)
        trained = [i for i, m in enumerate(shape.messages) if m.role == "assistant" and m.has_loss]
        if not _has_all_reasoning(text, shape, trained):
            return None
        if any(self._is_doubled(up_to(shape, turn), turn, reasoning) for turn in trained):
            return None
        spans = []
        for turn in trained:
            end = len(self._without_eos(text))
            if turn < len(shape.messages) - 1:
                alone = self._marked(up_to(shape, turn), reasoning)
                ends = (alone, self._without_eos(alone))
                whole = next((each for each in ends if text.startswith(each)), None)
                begun, mark, _ = alone.partition(_mark(shape, Slot(turn, "text")))
                if whole is None and mark and text.startswith(begun + mark):
                    raise UnusableRecord("the chat template ends the last turn as it ends no other")
                if whole is None:
                    return None
                end = len(whole)
            spans.append(self._span(shape, turn, reasoning, text, end))
        return self._layout(shape, reasoning, text, spans)

    def _one_turn(self, shape: Conversation, turn: int) -> Layout:
        """Layout of the conversation up to a turn, with loss on that turn only."""
        part = up_to(shape, turn)
        for reasoning in _forms(shape):
            text = self._marked(part, reasoning)
            is_written = _has_all_reasoning(text, part, [turn])
            if is_written and not self._is_doubled(part, turn, reasoning):
                end = len(self._without_eos(text))
                span = self._span(part, turn, reasoning, text, end)
                return self._layout(part, reasoning, text, [span])
        return self._with_left_out_reasoning(part, turn)

    def _is_doubled(self, shape: Conversation, turn: int, reasoning: Reasoning) -> bool:
        """Whether both the generation prompt and the answer open the reasoning."""
        if not shape.messages[turn].reasoning:
            return False
        prompt = self._prompt(shape, turn, reasoning)
        text = self._marked(shape, reasoning)
        opens = prompt.rstrip().endswith("<think>") and text.startswith(prompt)
        return opens and text[len(prompt) :].lstrip().startswith("<think>")

    def _with_left_out_reasoning(self, shape: Conversation, turn: int) -> Layout:
        """Layout for a template that prompts for reasoning but does not write it (DeepSeek-R1)."""
        reasoning: Reasoning = "field"
        text = self._marked(shape, reasoning)
        prompt = self._prompt(shape, turn, reasoning)
        mark = _mark(shape, Slot(turn, "text"))
        header, _, closing = text.partition(mark)
        if mark not in text or not prompt.startswith(header):
            raise UnusableRecord("the chat template drops the reasoning of a turn")
        if not prompt.rstrip().endswith("<think>"):
            raise UnusableRecord("the chat template drops the reasoning of a turn")
        plain = self._layout(shape, reasoning, text, [])
        before = [*cut_at_marks(prompt, shape, [])]
        after = shape.messages[turn].marks[1] or THINK_CLOSE
        answer = [
            Atom("answer", "", Slot(turn, "reasoning")),
            Atom("answer", after),
            Atom("answer", "", Slot(turn, "text")),
            Atom("closing", self._without_eos(closing)),
        ]
        return Layout(plain.messages, reasoning, plain.rendered, (*before, *answer), plain.strips)

    def _layout(
        self,
        shape: Conversation,
        reasoning: Reasoning,
        text: str,
        spans: Sequence[tuple[int, int, int]],
    ) -> Layout:
        rendered = tuple(cut_at_marks(text, shape, []))
        found = [atom.slot for atom in rendered if atom.slot is not None]
        missing = [slot for slot in slots_of(shape) if slot.field == "text" and slot not in found]
        if (
            missing
            or found != sorted(found, key=slots_of(shape).index)
            or len({*found}) < len(found)
        ):
            raise UnusableRecord("the chat template drops or repeats a message")
        self._check_calls(shape, text)
        cut = self._without_eos(text)
        return Layout(
            messages=len(shape.messages),
            reasoning=reasoning,
            rendered=rendered,
            atoms=tuple(cut_at_marks(cut, shape, spans)),
            strips=self._strips(shape, reasoning, rendered),
        )

    def _span(
        self, shape: Conversation, turn: int, reasoning: Reasoning, text: str, end: int
    ) -> tuple[int, int, int]:
        """Start of an assistant's turn, start of its closing, and its end."""
        message = shape.messages[turn]
        plain = Message("assistant", "x")
        as_plain = shape._replace(messages=(*shape.messages[:turn], plain))
        header, _, closing = self._marked(as_plain, reasoning).partition(
            _mark(as_plain, Slot(turn, "text"))
        )
        start = _common(header, text[:end])
        if message.reasoning or message.marks[0]:
            prompt = self._prompt(shape, turn, reasoning)
            asked = prompt != self._marked(up_to(shape, turn - 1), reasoning)
            start = len(prompt) if asked and text.startswith(prompt) else start
        start = self._not_within_special(text, start)
        # A space before an answer belongs to the answer: tokens of words begin with it.
        start -= text[:start].endswith(" ")
        endings = (closing, self._without_eos(closing))
        found = next((each for each in endings if text[start:end].endswith(each)), "")
        return start, end - len(found), end

    def _prompt(self, shape: Conversation, turn: int, reasoning: Reasoning) -> str:
        return self._marked(up_to(shape, turn - 1), reasoning, prompt=True)

    def _not_within_special(self, text: str, position: int) -> int:
        for found in self._special.finditer(text) if self._special else ():
            if found.start() < position < found.end():
                return found.start()
        return position

    def _without_eos(self, text: str) -> str:
        """Remove the EOS at the end, which the document adds, and white space after it."""
        end = text.rstrip()
        return end.removesuffix(self._eos) if self._eos and end.endswith(self._eos) else text

    def _strips(
        self, shape: Conversation, reasoning: Reasoning, rendered: Sequence[Atom]
    ) -> dict[Slot, tuple[Stripping, Stripping]]:
        """Characters that the template strips, from the white space that remains around marks.

        The two ends are tested separately, since the results could be equal.
        """
        literals, slots = literals_of(rendered)
        padded = self._marked(shape, reasoning, before=_PAD_LEFT)
        left, left_slots = literals_of(cut_at_marks(padded, shape, []))
        padded = self._marked(shape, reasoning, after=_PAD_RIGHT)
        right, right_slots = literals_of(cut_at_marks(padded, shape, []))
        if left_slots != slots or right_slots != slots:
            raise UnusableRecord("the chat template changes the text of a message")
        return {
            slot: (
                _stripping(left[place].removeprefix(literals[place]), _PAD_LEFT, str.lstrip),
                _stripping(
                    right[place + 1].removesuffix(literals[place + 1]), _PAD_RIGHT, str.rstrip
                ),
            )
            for place, slot in enumerate(slots)
        }

    def _check_calls(self, shape: Conversation, text: str) -> None:
        """Reject a template that does not write tool calls or tools."""
        written = [call for m in shape.messages if m.calls for call in json.loads(m.calls)]
        for call in written:
            function = call["function"]
            if not all(name in text for name in (function["name"], *function["arguments"])):
                raise UnusableRecord("the chat template does not write tool calls")
        for tool in json.loads(shape.tools) if shape.tools else ():
            if tool["function"]["name"] not in text:
                raise UnusableRecord("the chat template does not write the tools of a conversation")

    def _marked(
        self,
        shape: Conversation,
        reasoning: Reasoning,
        *,
        prompt: bool = False,
        before: str = "",
        after: str = "",
    ) -> str:
        """Render a shape with marks in place of its texts."""
        numbers = {slot: number for number, slot in enumerate(slots_of(shape))}

        def mark(index: int, field: Literal["reasoning", "text"], text: str) -> str:
            number = numbers.get(Slot(index, field))
            return text if number is None else f"{before}{MARK_OPEN}{number}{MARK_CLOSE}{after}"

        marked = shape._replace(
            messages=tuple(
                message._replace(
                    text=mark(index, "text", message.text),
                    reasoning=mark(index, "reasoning", message.reasoning),
                )
                for index, message in enumerate(shape.messages)
            )
        )
        dicts = template_form(marked, reasoning, tool_role=self.tool_role)
        return self._render_dicts(dicts, shape.tools, prompt)


def _common(one: str, other: str) -> int:
    """Length of the common prefix of two texts."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _stripping(left: str, padding: str, strip: Callable[[str, str | None], str]) -> Stripping:
    """Characters stripped from `padding`, given the remaining ones."""
    for name, characters in CHARACTERS.items():
        if left == strip(padding, characters):
            return name
    raise UnusableRecord("the chat template changes the text of a message")


def _forms(shape: Conversation) -> tuple[Reasoning, ...]:
    """Forms of the reasoning to try with the template, the record's own first."""
    thinking = [m for m in shape.messages if m.reasoning or m.marks[0]]
    if not thinking:
        return ("field",)
    return ("text", "field") if thinking[-1].marks[0] else ("field", "text")


def _mark(shape: Conversation, slot: Slot) -> str:
    slots = slots_of(shape)
    return f"{MARK_OPEN}{slots.index(slot)}{MARK_CLOSE}" if slot in slots else MARK_OPEN * 2


def _has_all_reasoning(text: str, shape: Conversation, turns: Sequence[int]) -> bool:
    wanted = [Slot(turn, "reasoning") for turn in turns if shape.messages[turn].reasoning]
    return all(_mark(shape, slot) in text for slot in wanted)
