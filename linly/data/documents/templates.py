r"""Templates: how the texts of a record become a document's segments.

    record --fields--> texts --template--> segments (text, supervised)

- text: the text, all supervised.
- parallel: one language, a newline, the other; all supervised, for pairs are pre-training text.
  Non-English comes first when (record + epoch) is even, else English first.
- alpaca, alpaca-no-input, linly: prompt without loss, answer with loss; a conversation's later
  turns go on with the same delimiters. The end of the document is supervised with the answer.
- chat: the model's own chat template, loss on the assistant's turns. Where it writes earlier turns
  otherwise than a last one, each turn is a document of its own.
- inscp: that template around a text, as the answer to an empty user turn, with loss on all of it
  (InsCP, arXiv 2405.20175).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from linly.config.chat import CHAT_TEMPLATES
from linly.config.corpus import TEMPLATES as TEMPLATE_NAMES
from linly.config.corpus import Corpus, Kind
from linly.data.documents.chat import ANSWERS, TEXT_ALONE, WHOLE, ChatTemplate
from linly.data.documents.chat_layout import Part
from linly.data.documents.conversations import Conversation
from linly.data.documents.texts import text_reader
from linly.data.reading.formats import format_of
from linly.data.reading.records import Texts, UnusableRecord, compile_where, is_held_out
from linly.data.types import BadRecord, Document, Filtered, RawRecord, Segment
from linly.errors import ConfigError

Segments = tuple[Segment, ...]

PARALLEL_SEPARATOR = "\n"
"""Between the two sides of a pair: the most common break between paragraphs of one meaning."""

HELD_OUT = "held out"
"""Reason of a record that `DocumentMaker.make` leaves to evaluation."""

# Of Stanford's alpaca (tatsu-lab/stanford_alpaca, train.py).
ALPACA_PREAMBLE = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
ALPACA_INPUT_PREAMBLE = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request."
)


def plain_text(texts: Texts, turn: int) -> Segments:
    """Give the text as it is."""
    return (Segment(texts[0][1], True),)


def parallel(texts: Texts, turn: int) -> Segments:
    """Join the sides of a pair, the first side first when `turn` is even.

    Args:
        texts: (language, text) of both sides, non-English first.
        turn: record + epoch: each shard is half and half, and two epochs see both.
    """
    (_, first), (_, second) = texts if turn % 2 == 0 else texts[::-1]
    return (Segment(f"{first}{PARALLEL_SEPARATOR}{second}", True),)


def alpaca(texts: Texts, turn: int) -> Segments:
    """Give Stanford's prompt, with its own form for a record that has an input."""
    (_, instruction), (_, given), (_, output) = texts
    if given:
        prompt = (
            f"{ALPACA_INPUT_PREAMBLE}\n\n### Instruction:\n{instruction}\n\n"
            f"### Input:\n{given}\n\n### Response:"
        )
    else:
        prompt = f"{ALPACA_PREAMBLE}\n\n### Instruction:\n{instruction}\n\n### Response:"
    return Segment(prompt, False), Segment(output, True)


def alpaca_no_input(texts: Texts, turn: int) -> Segments:
    """Give Chinese-LLaMA-Alpaca's prompt: the input joined on, a space after the colon."""
    (_, instruction), (_, given), (_, output) = texts
    asked = _joined(instruction, given)
    prompt = f"{ALPACA_PREAMBLE}\n\n### Instruction:\n{asked}\n\n### Response: "
    return Segment(prompt, False), Segment(output, True)


def linly(texts: Texts, turn: int) -> Segments:
    """Give the prompt of the released Linly models: two spaces, no newline, no preamble."""
    (_, instruction), (_, given), (_, output) = texts
    asked = _joined(instruction, given)
    return Segment(f"### Instruction:{asked}  ### Response:", False), Segment(output, True)


def _joined(instruction: str, given: str) -> str:
    return f"{instruction}\n{given}" if given else instruction


def conversation_alpaca(said: Conversation, turn: int) -> Segments:
    """Give a conversation in `alpaca`'s delimiters; a system turn stands for the preamble."""
    return _conversation(said, ALPACA_PREAMBLE, "\n\n### Instruction:\n", "\n\n### Response:")


def conversation_alpaca_no_input(said: Conversation, turn: int) -> Segments:
    """Give a conversation in `alpaca-no-input`'s delimiters."""
    return _conversation(said, ALPACA_PREAMBLE, "\n\n### Instruction:\n", "\n\n### Response: ")


def conversation_linly(said: Conversation, turn: int) -> Segments:
    """Give a conversation in `linly`'s delimiters; a system turn stands right before them."""
    return _conversation(said, "", "### Instruction:", "  ### Response:")


def _conversation(said: Conversation, preamble: str, before: str, after: str) -> Segments:
    """Give a prompt segment and an answer segment a turn.

    Args:
        said: As `tidy_turns` has it.
        preamble: Of the first prompt, when there is no system turn.
        before: Between what came before and the user's text.
        after: Between the user's text and the answer.

    Raises:
        UnusableRecord: It holds what only a chat template can write.
    """
    if reason := said.why_not_plain():
        raise UnusableRecord(f"{reason} need the template `chat`, of a model that has them")
    messages = said.messages
    if messages[0].role == "system":
        preamble = messages[0].text
        messages = messages[1:]
    segments = []
    for asked, answer in zip(messages[::2], messages[1::2], strict=True):
        segments += [
            Segment(f"{preamble}{before}{asked.text}{after}", False),
            Segment(answer.full_text, answer.has_loss),
        ]
        preamble = ""
    return tuple(segments)


TEMPLATES: dict[str, dict[str, Callable[[Any, int], Segments]]] = {
    "text": {"text": plain_text},
    "parallel": {"parallel": parallel},
    "instruction": {"alpaca": alpaca, "alpaca-no-input": alpaca_no_input, "linly": linly},
    "conversation": {
        "alpaca": conversation_alpaca,
        "alpaca-no-input": conversation_alpaca_no_input,
        "linly": conversation_linly,
    },
}
"""Kind of a corpus -> name -> template; those of `CHAT_TEMPLATES` need the model's besides."""


def messages_of(kind: Kind, texts: Texts | Conversation) -> Texts | Conversation:
    """What a record says as messages: a text answers an empty user turn."""
    if isinstance(texts, Conversation):
        return texts
    if kind == "instruction":
        (_, instruction), (_, given), (_, output) = texts
        return ("user", _joined(instruction, given)), ("assistant", output)
    return ("user", ""), ("assistant", texts[0][1])


def _chat(
    template: ChatTemplate,
    kind: Kind,
    loss: frozenset[Part],
    texts: Texts | Conversation,
    turn: int,
) -> Segments:
    return template.segments(messages_of(kind, texts), loss)


def _templates_of(
    source: str, corpus: Corpus, name: str
) -> tuple[Callable[[Any, int], Segments], Callable[[Any, int], Segments]]:
    """Give the template to train with, and the one to evaluate with: there text alone counts."""
    allowed = TEMPLATE_NAMES[corpus.kind]
    if name not in allowed:
        raise ConfigError(
            f"source {source!r}: found template {name!r}, allowed for kind {corpus.kind}: "
            f"{', '.join(allowed)}"
        )
    if name not in CHAT_TEMPLATES:
        return TEMPLATES[corpus.kind][name], TEMPLATES[corpus.kind][name]
    if corpus.chat is None:
        raise ConfigError(
            f"source {source!r}: template {name!r} needs a chat template: that of the recipe's "
            f"`model`, or of the model folder given as tokenizer"
        )
    template = ChatTemplate(corpus.chat, date=corpus.chat_date)
    loss = WHOLE if name == "inscp" else ANSWERS
    return (
        partial(_chat, template, corpus.kind, loss),
        partial(_chat, template, corpus.kind, TEXT_ALONE),
    )


def _plain(texts: Texts | Conversation) -> Texts:
    return texts.texts if isinstance(texts, Conversation) else texts


class DocumentMaker:
    """Makes documents of one source's records.

    `make` is for training and leaves held-out records out, `make_held_out` is for evaluation
    and takes only those; both give what they cannot use as a value that says why.
    """

    def __init__(self, source: str, corpus: Corpus, template: str | None = None) -> None:
        """Prepare for a source.

        Args:
            source: Its name in the curriculum.
            corpus: Its corpus file.
            template: In place of the corpus file's.

        Raises:
            ConfigError: A field cannot be read, or no such template for records of this kind.
        """
        self._source = source
        self._template, self._evaluated = _templates_of(source, corpus, template or corpus.template)
        self._read_texts = text_reader(corpus)
        self._left_out = {
            is_table: compile_where(corpus.where, is_table=is_table) for is_table in (False, True)
        }
        self._format = corpus.format
        # Held-out files are shards of their own: all their records count as held out.
        self._fraction = corpus.held_out if isinstance(corpus.held_out, float | int) else None

    def make(self, shard: str, raw: RawRecord, epoch: int) -> Document | BadRecord | Filtered:
        """Make the document of a record to train on.

        Args:
            shard: The shard's path.
            raw: The record.
            epoch: Of the source, from 0; parallel pairs turn around with it.
        """
        try:
            texts = self._texts(shard, raw)
            if isinstance(texts, str):
                return Filtered(shard, raw.record, texts)
            if self._fraction is not None and is_held_out(_plain(texts), self._fraction):
                return Filtered(shard, raw.record, HELD_OUT)
            segments = self._template(texts, raw.record + epoch)
            return Document(shard, raw.record, segments)
        except UnusableRecord as error:
            return BadRecord(self._source, shard, raw.record, str(error), raw.ends_shard)

    def make_held_out(self, shard: str, raw: RawRecord) -> Document | BadRecord | Filtered:
        """Make the document of a record to evaluate on; of held-out files every record is."""
        try:
            texts = self._texts(shard, raw)
            if isinstance(texts, str):
                return Filtered(shard, raw.record, texts)
            if self._fraction is not None and not is_held_out(_plain(texts), self._fraction):
                return Filtered(shard, raw.record, "not held out")
            return Document(shard, raw.record, self._evaluated(texts, raw.record))
        except UnusableRecord as error:
            return BadRecord(self._source, shard, raw.record, str(error), raw.ends_shard)

    def _texts(self, shard: str, raw: RawRecord) -> Texts | Conversation | str:
        """Give a record's texts, or why `where` leaves it out."""
        if raw.value is None:
            raise UnusableRecord(raw.error or "the record could not be parsed")
        is_table = (self._format or format_of(shard)) in ("csv", "tsv")
        left_out = self._left_out[is_table](raw.value)
        return left_out if left_out is not None else self._read_texts(raw.value)
