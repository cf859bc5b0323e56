r"""Chat templates: a conversation as the model's own Jinja template writes it, with its loss.

    messages --template, contents marked--> literals around contents --loss--> segments

Special tokens are recognized in what the template writes, never in what people say: a document
that holds `<|im_end|>` holds those characters. A template is rendered as transformers does, in
Jinja's immutable sandbox, and what it gives must be its literals around the contents; a message
that it would change is a bad record. It is told no date, so that documents do not depend on one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from linly.config.chat import ChatFormat
from linly.data.records import Texts, UnusableRecord
from linly.data.types import Segment
from linly.errors import ConfigError

Part = Literal["prompt", "answer", "closing"]
"""Of a document: what the template writes or the user says; the assistant's text; what the
template puts behind that to end the turn."""

ANSWERS: frozenset[Part] = frozenset({"answer", "closing"})
WHOLE: frozenset[Part] = frozenset({"prompt", "answer", "closing"})
TEXT_ALONE: frozenset[Part] = frozenset({"answer"})
"""Parts with loss: of a chat, of an InsCP document (all of it), of either in evaluation."""

_OPEN, _CLOSE = "\ue000", "\ue001"
_PAD = " \n\t\n "
"""Around a mark: whether it is still there tells if the template strips contents."""


class _GenerationBlocks(jinja2.ext.Extension):
    """Lets `{% generation %}` blocks through; transformers marks the assistant's text by them."""

    tags = {"generation"}  # noqa: RUF012 (declared so by jinja2)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """Give the nodes inside the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Transformers' `tojson`: jinja2's own escapes HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """What a template writes for some roles, whatever they say.

    Attributes:
        literals: Before each content, and behind the last.
        strips: Of each content: whether its left and right ends are stripped.
    """

    literals: tuple[str, ...]
    strips: tuple[tuple[bool, bool], ...]

    def contents(self, messages: Texts) -> list[str]:
        """The contents as the template writes them."""
        found = []
        for (_, text), (left, right) in zip(messages, self.strips, strict=True):
            text = text.lstrip() if left else text
            found.append(text.rstrip() if right else text)
        return found


class ChatTemplate:
    """Makes segments of conversations by a chat format."""

    def __init__(self, chat: ChatFormat) -> None:
        """Compile the template and try it.

        Raises:
            ConfigError: It cannot be compiled, cannot be rendered without what we do not give
                (a date, tools), repeats or drops a message, or ends turns in different ways.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_GenerationBlocks, jinja2.ext.loopcontrols],
            autoescape=False,
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        self._tokens = dict(chat.tokens)
        self._bos, self._eos = self._tokens.get("bos_token"), self._tokens.get("eos_token")
        names = sorted(chat.special_tokens, key=len, reverse=True)
        self._special = re.compile(f"({'|'.join(map(re.escape, names))})") if names else None
        self._skeleton = lru_cache(maxsize=256)(self._make_skeleton)
        try:
            self._template = environment.from_string(chat.template)
            self._closing(self._skeleton(("user", "assistant") * 2), 1)
        except (jinja2.TemplateError, UnusableRecord) as error:
            raise ConfigError(f"the model's chat template cannot be used: {error}") from error

    def segments(self, messages: Texts, loss: frozenset[Part]) -> tuple[Segment, ...]:
        """Segments of one document.

        Args:
            messages: (role, text), ending with the assistant's; a user's text may be empty.
            loss: Parts that carry it.

        Raises:
            UnusableRecord: The template refuses such a conversation or would change a text.
        """
        try:
            skeleton = self._skeleton(
                tuple(role if text else f"{role}-" for role, text in messages)
            )
            written = self._render(messages)
        except jinja2.TemplateError as error:
            raise UnusableRecord(f"the chat template refuses the messages: {error}") from error
        contents = skeleton.contents(messages)
        if written != _interleaved(skeleton.literals, contents):
            raise UnusableRecord("the chat template changes the text of a message")
        pieces = self._pieces([role for role, _ in messages], skeleton, contents)
        return tuple(self._joined(pieces, loss))

    def _render(self, messages: Texts) -> str:
        said = [{"role": role, "content": text} for role, text in messages]
        given: dict[str, Any] = {**self._tokens, "messages": said, "tools": None, "documents": None}
        try:
            return self._template.render(**given, add_generation_prompt=False)
        except (jinja2.TemplateError, MemoryError):
            raise
        except Exception as error:  # a template is a program: it may raise anything
            raise jinja2.TemplateError(f"{type(error).__name__}: {error}") from error

    def _make_skeleton(self, roles: tuple[str, ...]) -> _Skeleton:
        """Render marks in place of contents; a role with `-` behind it says nothing."""
        silent = [role.endswith("-") for role in roles]
        marks = [f"{_OPEN}{index}{_CLOSE}" for index in range(len(roles))]
        messages = tuple(
            (role.removesuffix("-"), "" if empty else f"{_PAD}{mark}{_PAD}")
            for role, mark, empty in zip(roles, marks, silent, strict=True)
        )
        rest = self._render(messages)
        literals, strips, at = [""], [], 0
        for mark, empty in zip(marks, silent, strict=True):
            if empty:
                # What is around an empty text is one literal, the one before it.
                literals.append("")
                strips.append((True, True))
                continue
            before, found, rest = rest.partition(mark)
            if not found or mark in rest:
                raise UnusableRecord("the chat template drops or repeats a message")
            left, right = not before.endswith(_PAD), not rest.startswith(_PAD)
            literals[at] += before if left else before.removesuffix(_PAD)
            rest = rest if right else rest.removeprefix(_PAD)
            strips.append((left, right))
            literals.append("")
            at = len(literals) - 1
        literals[at] += rest
        return _Skeleton(tuple(literals), tuple(strips))

    def _closing(self, skeleton: _Skeleton, index: int) -> str:
        """What ends the assistant's turn `index`: what stands behind the last one."""
        closing, literal = skeleton.literals[-1], skeleton.literals[index + 1]
        if not literal.startswith(closing):
            raise UnusableRecord("the chat template ends the last turn as it ends no other")
        return closing

    def _pieces(
        self, roles: Sequence[str], skeleton: _Skeleton, contents: Sequence[str]
    ) -> Iterator[tuple[Part, str, bool]]:
        """Yield (part, text, whether the template wrote it), the document's BOS and EOS cut off."""
        literal = skeleton.literals[0]
        if self._bos:
            literal = literal.removeprefix(self._bos)
        for index, (role, content) in enumerate(zip(roles, contents, strict=True)):
            after = skeleton.literals[index + 1]
            if role != "assistant":
                yield "prompt", literal, True
                yield "prompt", content, False
                literal = after
                continue
            # A space before an answer is the answer's: tokens of words begin with it.
            space = " " if literal.endswith(" ") else ""
            yield "prompt", literal.removesuffix(" "), True
            yield "answer", space + content, False
            closing = self._closing(skeleton, index)
            literal = after.removeprefix(closing)
            is_last = index == len(roles) - 1
            yield "closing", self._without_eos(closing) if is_last else closing, True

    def _without_eos(self, closing: str) -> str:
        """The EOS at the end is the document's own; white space behind it is left out."""
        end = closing.rstrip()
        return end.removesuffix(self._eos) if self._eos and end.endswith(self._eos) else closing

    def _joined(
        self, pieces: Iterator[tuple[Part, str, bool]], loss: frozenset[Part]
    ) -> Iterator[Segment]:
        """Join a part's text to one segment, so that it is tokenized as one."""
        pending: Segment | None = None
        last_part: Part | None = None
        begins = True
        for part, text, is_literal in pieces:
            split = self._special.split(text) if is_literal and self._special else [text]
            for place, stretch in enumerate(split):
                is_special = place % 2 == 1
                if not stretch:
                    continue
                if pending is not None and not is_special and part == last_part:
                    pending = pending._replace(text=pending.text + stretch)
                    continue
                if pending is not None:
                    yield pending
                    pending, begins = None, False
                if is_special:
                    yield Segment(stretch, part in loss, "special")
                    begins = stretch == self._bos
                else:
                    form: Literal["text", "continued"] = "text" if begins else "continued"
                    pending = Segment(stretch, part in loss, form)
                last_part = part
        if pending is not None:
            yield pending


def _interleaved(literals: Sequence[str], contents: Sequence[str]) -> str:
    texts = [literals[0]]
    for content, literal in zip(contents, literals[1:], strict=True):
        texts += [content, literal]
    return "".join(texts)
