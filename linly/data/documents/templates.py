r"""Templates: turn the texts of a record into a document's segments.

    record --fields--> texts --template--> segments (text, supervised)

- text: the text, all supervised.
- parallel: one language, a newline, the other; all supervised, since pairs are pre-training text.
  Non-English comes first if (record + epoch) is even, else English.
- alpaca, alpaca-no-input, linly: prompt without loss, answer with loss; later turns of a
  conversation use the same delimiters. The end of the document is supervised with the answer.
- chat: the model's own chat template, with loss on the assistant's turns. If it writes earlier
  turns differently than a last one, each turn is a document of its own.
- inscp: the same template around a text, as the answer to an empty user turn, with loss on all of
  it (InsCP, arXiv 2405.20175).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from linly.config.chat_format import CHAT_TEMPLATES
from linly.config.corpus import TEMPLATES as TEMPLATE_NAMES
from linly.config.corpus import Kind
from linly.config.source import Source
from linly.data.documents.chat_layout import Part
from linly.data.documents.chat_template import ANSWERS, TEXT_ALONE, WHOLE, ChatTemplate
from linly.data.documents.conversations import Conversation
from linly.data.documents.record_texts import RecordTexts, plain_texts
from linly.data.reading.records import Texts, UnusableRecord, is_held_out
from linly.data.types import BadRecord, Document, Filtered, RawRecord, Segment
from linly.errors import ConfigError

Segments = tuple[Segment, ...]

PARALLEL_SEPARATOR = "\n"
"""Separator of the two sides of a pair: the most common break between equivalent paragraphs."""

HELD_OUT = "held out"
"""Reason for a record that `DocumentMaker.make` leaves to evaluation."""

# From Stanford's alpaca (tatsu-lab/stanford_alpaca, train.py).
ALPACA_PREAMBLE = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
ALPACA_INPUT_PREAMBLE = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request."
)


def plain_text(texts: Texts, turn: int) -> Segments:
    """Return the text unchanged."""
    return (Segment(texts[0][1], True),)


def parallel(texts: Texts, turn: int) -> Segments:
    """Join the sides of a pair; the first side comes first if `turn` is even.

    Args:
        texts: (language, text) of both sides, non-English first.
        turn: Sum of record and epoch: each shard is half and half, and two epochs cover both.
    """
    (_, first), (_, second) = texts if turn % 2 == 0 else texts[::-1]
    return (Segment(f"{first}{PARALLEL_SEPARATOR}{second}", True),)


def alpaca(texts: Texts, turn: int) -> Segments:
    """Build Stanford's prompt, in the variant with or without an input."""
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
    """Build Chinese-LLaMA-Alpaca's prompt: the input joined on, a space after the colon."""
    (_, instruction), (_, given), (_, output) = texts
    asked = _joined(instruction, given)
    prompt = f"{ALPACA_PREAMBLE}\n\n### Instruction:\n{asked}\n\n### Response: "
    return Segment(prompt, False), Segment(output, True)


def linly(texts: Texts, turn: int) -> Segments:
    """Build the prompt of the released Linly models: two spaces, no newline, no preamble."""
    (_, instruction), (_, given), (_, output) = texts
    asked = _joined(instruction, given)
    return Segment(f"### Instruction:{asked}  ### Response:", False), Segment(output, True)


def _joined(instruction: str, given: str) -> str:
    return f"{instruction}\n{given}" if given else instruction


class Delimiters(NamedTuple):
    """Text around the turns of a conversation.

    Attributes:
        preamble: Text before the first turn; a system turn replaces it.
        before: Text before the user's text.
        after: Text between the user's text and the answer.
    """

    preamble: str
    before: str
    after: str


DELIMITERS = {
    "alpaca": Delimiters(ALPACA_PREAMBLE, "\n\n### Instruction:\n", "\n\n### Response:"),
    "alpaca-no-input": Delimiters(ALPACA_PREAMBLE, "\n\n### Instruction:\n", "\n\n### Response: "),
    "linly": Delimiters("", "### Instruction:", "  ### Response:"),
}
"""Delimiters of each template for conversations; those of one turn are an instruction's."""


def _conversation(delimiters: Delimiters, said: Conversation, turn: int) -> Segments:
    """Build a prompt segment and an answer segment per turn.

    Args:
        delimiters: Text around the turns.
        said: Conversation in the form of `tidy_turns`.
        turn: Not used.

    Raises:
        UnusableRecord: If it has content that only a chat template can write.
    """
    if reason := said.why_not_plain():
        raise UnusableRecord(f"{reason} need the template `chat`, of a model that has them")
    preamble, before, after = delimiters
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
    "conversation": {name: partial(_conversation, each) for name, each in DELIMITERS.items()},
}
"""Kind of a corpus -> name -> template; `CHAT_TEMPLATES` also need the model's template."""


def messages_of(kind: Kind, texts: Texts | Conversation) -> Texts | Conversation:
    """Texts of a record as messages: a plain text answers an empty user turn."""
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
    source: Source,
) -> tuple[Callable[[Any, int], Segments], Callable[[Any, int], Segments]]:
    """Return the templates for training and for evaluation, which counts text only."""
    corpus, name = source.corpus, source.template or source.corpus.template
    allowed = TEMPLATE_NAMES[corpus.kind]
    if name not in allowed:
        raise ConfigError(
            f"source {source.name!r}: found template {name!r}, allowed for kind {corpus.kind}: "
            f"{', '.join(allowed)}"
        )
    if name not in CHAT_TEMPLATES:
        return TEMPLATES[corpus.kind][name], TEMPLATES[corpus.kind][name]
    if corpus.chat is None:
        raise ConfigError(
            f"source {source.name!r}: template {name!r} needs a chat template: that of the "
            f"recipe's `model`, or of the model folder given as tokenizer"
        )
    template = ChatTemplate(corpus.chat, date=corpus.chat_date)
    loss = WHOLE if name == "inscp" else ANSWERS
    return (
        partial(_chat, template, corpus.kind, loss),
        partial(_chat, template, corpus.kind, TEXT_ALONE),
    )


class DocumentMaker:
    """Builds documents from one source's records.

    `make` is for training and leaves out held-out records; `make_held_out` is for evaluation and
    accepts only those. Both return a value with the reason for a record that they cannot use.
    """

    def __init__(self, source: Source) -> None:
        """Prepare for a source.

        Raises:
            ConfigError: If a field cannot be parsed, or no such template exists for this kind.
        """
        corpus = source.corpus
        self._source = source.name
        self._template, self._evaluated = _templates_of(source)
        self._texts = RecordTexts(corpus)
        # Held-out files are separate shards: all their records count as held out.
        self._fraction = corpus.held_out if isinstance(corpus.held_out, float | int) else None

    def make(self, shard: str, raw: RawRecord, epoch: int) -> Document | BadRecord | Filtered:
        """Build the document of a record to train on.

        Args:
            shard: Path of the shard.
            raw: Record to convert.
            epoch: Epoch of the source, from 0; the order of parallel pairs alternates with it.
        """
        try:
            texts = self._texts.read(shard, raw)
            if isinstance(texts, str):
                return Filtered(shard, raw.record, texts)
            if self._fraction is not None and is_held_out(plain_texts(texts), self._fraction):
                return Filtered(shard, raw.record, HELD_OUT)
            segments = self._template(texts, raw.record + epoch)
            return Document(shard, raw.record, segments)
        except UnusableRecord as error:
            return BadRecord(self._source, shard, raw.record, str(error), raw.ends_shard)

    def make_held_out(self, shard: str, raw: RawRecord) -> Document | BadRecord | Filtered:
        """Build the document of a record to evaluate on; every record of held-out files is one."""
        try:
            texts = self._texts.read(shard, raw)
            if isinstance(texts, str):
                return Filtered(shard, raw.record, texts)
            if self._fraction is not None and not is_held_out(plain_texts(texts), self._fraction):
                return Filtered(shard, raw.record, "not held out")
            return Document(shard, raw.record, self._evaluated(texts, raw.record))
        except UnusableRecord as error:
            return BadRecord(self._source, shard, raw.record, str(error), raw.ends_shard)
