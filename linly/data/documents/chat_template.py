r"""Chat templates: a conversation rendered with the model's own Jinja template, with its loss.

    conversation --layout (layout_maker)--> atoms --texts, special tokens, loss--> segments

Special tokens are recognized only in the template's own text, never in a message: a document that
contains `<|im_end|>` contains those characters. A template is rendered as in transformers, in
Jinja's immutable sandbox. The result must be its literals around the unchanged texts; otherwise the
record is bad. A template gets a date only if the corpus file sets one, so that documents do not
depend on the current day.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from linly.config.chat_format import ChatFormat
from linly.data.documents.chat_layout import Layout, Part, shape_of, template_form
from linly.data.documents.conversations import Conversation
from linly.data.documents.layout_maker import LayoutMaker
from linly.data.reading.records import Texts, UnusableRecord
from linly.data.types import Segment
from linly.errors import ConfigError

ANSWERS: frozenset[Part] = frozenset({"answer", "closing"})
WHOLE: frozenset[Part] = frozenset({"prompt", "answer", "closing"})
TEXT_ALONE: frozenset[Part] = frozenset({"answer"})
"""Parts with loss: of a chat, of an InsCP document (all parts), and of either in evaluation."""

_NEXT_DOCUMENT = Segment("", False, "next")
_NAMES_TOOL = re.compile("[\"']tool[\"']")


class _GenerationBlocks(jinja2.ext.Extension):
    """Passes `{% generation %}` blocks through; in transformers they mark the assistant's text."""

    tags = {"generation"}  # noqa: RUF012 (declared so by jinja2)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """Return the nodes inside the block."""
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
    """Filter `tojson` of transformers; that of jinja2 escapes HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


class ChatTemplate:
    """Builds segments from conversations with a chat format."""

    def __init__(self, chat: ChatFormat, *, date: str | None = None) -> None:
        """Compile and test the template.

        Args:
            chat: Chat format.
            date: Date that the template may request (`strftime_now`), as 2024-07-26.

        Raises:
            ConfigError: If it cannot be compiled, needs an input that is not available (such as a
                date that is not set), or repeats or drops a message.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_GenerationBlocks, jinja2.ext.loopcontrols],
            autoescape=False,
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        if date is not None:
            environment.globals["strftime_now"] = datetime.date.fromisoformat(date).strftime
        self._tokens = dict(chat.tokens)
        self._bos, self._eos = self._tokens.get("bos_token"), self._tokens.get("eos_token")
        names = sorted(chat.special_tokens, key=len, reverse=True)
        self._special = re.compile(f"({'|'.join(map(re.escape, names))})") if names else None
        self._eats_left, self._eats_right = frozenset(chat.lstrip), frozenset(chat.rstrip)
        self._maker = LayoutMaker(
            self._render,
            eos=self._eos,
            special=self._special,
            tool_role=_tool_role(chat),
        )
        self._layouts = lru_cache(maxsize=256)(self._maker.layouts)
        self._for_tools = None if chat.tool_use is None else _tool_template(chat, date)
        try:
            self._template = environment.from_string(chat.template)
            self._layouts(Conversation.of((("user", "x"), ("assistant", "x")) * 2))
        except (jinja2.TemplateError, UnusableRecord) as error:
            raise ConfigError(
                f"the model's chat template cannot be used: {error}{_cure(error)}"
            ) from error

    def segments(self, said: Conversation | Texts, loss: frozenset[Part]) -> tuple[Segment, ...]:
        """Build the segments of one record's documents, one document after another.

        Args:
            said: A conversation that ends with the assistant's turn, or its (role, text) pairs;
                a user's text may be empty.
            loss: Parts that carry loss.

        Raises:
            UnusableRecord: If the template rejects such a conversation or would change a text.
        """
        conversation = said if isinstance(said, Conversation) else Conversation.of(said)
        if conversation.tools and self._for_tools is not None:
            return self._for_tools.segments(conversation, loss)
        self._refuse_special(conversation)
        try:
            found: list[Segment] = []
            for layout in self._layouts(shape_of(conversation)):
                if found:
                    found.append(_NEXT_DOCUMENT)
                self._check(layout, conversation)
                found += self._joined(self._pieces(layout, conversation), loss)
        except jinja2.TemplateError as error:
            raise UnusableRecord(f"the chat template refuses the messages: {error}") from error
        return tuple(found)

    def _check(self, layout: Layout, conversation: Conversation) -> None:
        """Check that rendering the texts themselves changes nothing except the slots."""
        part = conversation._replace(messages=conversation.messages[: layout.messages])
        dicts = template_form(part, layout.reasoning, tool_role=self._maker.tool_role)
        written = self._render(dicts, part.tools, False)
        if written != "".join(layout.fill(layout.rendered, conversation)):
            raise UnusableRecord("the chat template changes the text of a message")

    def _refuse_special(self, conversation: Conversation) -> None:
        """Reject special tokens in a value that the template writes as part of its own text."""
        if self._special is None:
            return
        for text in (conversation.tools, *(m.calls + m.name for m in conversation.messages)):
            if found := self._special.search(text):
                raise UnusableRecord(f"tools or tool calls contain the special token {found[0]!r}")

    def _render(self, messages: Sequence[dict[str, Any]], tools: str, prompt: bool) -> str:
        given: dict[str, Any] = {
            **self._tokens,
            "tools": json.loads(tools) if tools else None,
            "documents": None,
            "add_generation_prompt": prompt,
        }
        if not any("tool_calls" in message for message in messages):
            return self._rendered(given, [messages])
        return self._with_calls(given, messages)

    def _with_calls(self, given: dict[str, Any], messages: Sequence[dict[str, Any]]) -> str:
        """Render messages with tool calls in a form that the template accepts.

        A turn that only calls a tool has no content (as DeepSeek's templates require), or empty
        content for a template that would write the word None or fail.
        """
        spoken = [list(messages), [_with_text_arguments(m) for m in messages]]
        silent = [[_silent(message) for message in form] for form in spoken]
        try:
            text = self._rendered(given, silent)
        except jinja2.TemplateError:
            return self._rendered(given, spoken)
        if "None" not in text:
            return text
        try:
            with_empty = self._rendered(given, spoken)
        except jinja2.TemplateError:
            return text
        return with_empty if text.count("None") > with_empty.count("None") else text

    def _rendered(self, given: dict[str, Any], forms: Sequence[Sequence[dict[str, Any]]]) -> str:
        """Render the first of several forms of the messages that the template accepts."""
        for form in forms[:-1]:
            try:
                return self._template.render(**given, messages=form)
            except TypeError:
                continue
        try:
            return self._template.render(**given, messages=forms[-1])
        except (jinja2.TemplateError, MemoryError):
            raise
        except Exception as error:  # a template is a program: it may raise anything
            raise jinja2.TemplateError(f"{type(error).__name__}: {error}") from error

    def _pieces(
        self, layout: Layout, conversation: Conversation
    ) -> Iterator[tuple[Part, str, bool]]:
        """Yield (part, text, whether it is the template's own), without the document's BOS."""
        texts = layout.fill(layout.atoms, conversation)
        for index, (atom, text) in enumerate(zip(layout.atoms, texts, strict=True)):
            if index == 0 and atom.slot is None and self._bos:
                text = text.removeprefix(self._bos)
            yield atom.part, text, atom.slot is None

    def _joined(
        self, pieces: Iterator[tuple[Part, str, bool]], loss: frozenset[Part]
    ) -> Iterator[Segment]:
        """Join the text of a part into one segment, so that it is tokenized as one.

        A special token may remove the white space next to it, as in `tokenizers`.
        """
        pending: Segment | None = None
        last_part: Part | None = None
        begins, eats = True, False
        for part, text, is_literal in pieces:
            split = self._special.split(text) if is_literal and self._special else [text]
            for place, stretch in enumerate(split):
                is_special = place % 2 == 1
                if eats and not is_special:
                    stretch = stretch.lstrip()
                if not stretch:
                    continue
                eats = is_special and stretch in self._eats_right
                if is_special and stretch in self._eats_left and pending is not None:
                    pending = pending._replace(text=pending.text.rstrip())
                if pending is not None and not is_special and part == last_part:
                    pending = pending._replace(text=pending.text + stretch)
                    continue
                if pending is not None and pending.text:
                    yield pending
                    begins = False
                pending = None
                if is_special:
                    yield Segment(stretch, part in loss, "special")
                    begins = stretch == self._bos
                else:
                    form: Literal["text", "continued"] = "text" if begins else "continued"
                    pending = Segment(stretch, part in loss, form)
                last_part = part
        if pending is not None and pending.text:
            yield pending


def _tool_template(chat: ChatFormat, date: str | None) -> ChatTemplate:
    return ChatTemplate(
        chat.model_copy(update={"template": chat.tool_use, "tool_use": None}), date=date
    )


def _silent(message: dict[str, Any]) -> dict[str, Any]:
    is_call = "tool_calls" in message and not message["content"]
    return {**message, "content": None} if is_call else message


def _with_text_arguments(message: dict[str, Any]) -> dict[str, Any]:
    """Convert arguments to JSON, for templates that concatenate them with text."""
    if "tool_calls" not in message:
        return message
    calls = []
    for call in message["tool_calls"]:
        arguments = _to_json(call["function"]["arguments"])
        calls.append({**call, "function": {**call["function"], "arguments": arguments}})
    return {**message, "tool_calls": calls}


def _tool_role(chat: ChatFormat) -> str:
    """Role of a tool's turn in the template: GLM-4 writes roles as tokens and has its own."""
    has_token = "<|observation|>" in chat.special_tokens
    return "observation" if has_token and not _NAMES_TOOL.search(chat.template) else "tool"


def _cure(error: Exception) -> str:
    if "strftime_now" not in str(error):
        return ""
    return "; it asks for today's date: set one in the corpus file, such as chat_date: 2024-07-26"
