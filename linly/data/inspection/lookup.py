"""Maps a span of a row back to its text by reading the record again, with the same readers.

    (shard, record, tokens) -> ShardReader -> DocumentMaker -> tokens -> the text of these tokens

The row record stores the origin of each part of a row, not its text. Reading it back takes the same
path as the row. Lengths and targets are compared with the row record, so a replaced shard is an
error, unless its documents have the same numbers of tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from linly.config.source import Source
from linly.data.documents.encoding import encode_documents
from linly.data.documents.templates import DocumentMaker
from linly.data.reading.shards import ShardReader
from linly.data.types import Document, EncodedDocument, RawRecord, Shard
from linly.errors import DataError
from linly.records.span import Span
from linly.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class TracedSource:
    """Inputs that a source's documents are built from.

    Attributes:
        source: Source as the run trained on it.
        lists: (first epoch, shards by path) of each shard list that the run froze.
    """

    source: Source
    lists: Sequence[tuple[int, Mapping[str, Shard]]]

    def shard(self, path: str, epoch: int) -> Shard:
        """Return a shard as it was listed for an epoch.

        A row that ends in the next epoch records the one that it began in. So a shard that
        is only in a later list is looked up there.

        Raises:
            DataError: If it is in none.
        """
        held = [shards for from_epoch, shards in self.lists if from_epoch <= epoch]
        later = [shards for from_epoch, shards in self.lists if from_epoch > epoch]
        for shards in (*reversed(held), *later):
            if path in shards:
                return shards[path]
        raise DataError(
            f"source {self.source.name!r}: shard {path!r} is not in the run's pinned list; "
            f"restore the list in the run folder from a backup"
        )


@dataclass(frozen=True, slots=True)
class TrainedSpan:
    """A span of a row that was trained on.

    Attributes:
        span: Origin of the tokens.
        epoch: Epoch of the row.
        ends: Whether the document ends with these tokens.
    """

    span: Span
    epoch: int
    ends: bool


@dataclass(frozen=True, slots=True)
class SpanText:
    """Text of a span.

    Attributes:
        text: Text of the tokens; the marks at a document's ends are empty text.
        num_tokens: Number of tokens of the whole document.
        num_supervised: Number of tokens that carry loss in a row with these tokens.
    """

    text: str
    num_tokens: int
    num_supervised: int


def find_texts(
    traced: TracedSource, tokenizer: Tokenizer, spans: Iterable[TrainedSpan]
) -> dict[TrainedSpan, SpanText]:
    """Read the text of spans, each shard once.

    A span after an epoch's end belongs to the epoch after its row's. If the token counts do not
    distinguish the two, the sides of a parallel pair are returned in the opposite order.

    Raises:
        DataError: If a shard is not in the pinned list, or is missing, changed or damaged, has no
            such record, or the record no longer yields a document with as many tokens.
    """
    maker = DocumentMaker(traced.source)
    found = {}
    by_shard: dict[Shard, list[TrainedSpan]] = {}
    for trained in spans:
        shard = traced.shard(trained.span.shard, trained.epoch)
        by_shard.setdefault(shard, []).append(trained)
    for shard, wanted in sorted(by_shard.items(), key=lambda item: item[0].path):
        records = _read_records(traced.source, shard, [one.span.record for one in wanted])
        for one in wanted:
            document = _encoded(traced.source, maker, tokenizer, one, records[one.span.record])
            found[one] = _text(document, tokenizer, one.span)
    return found


def _read_records(source: Source, shard: Shard, wanted: Sequence[int]) -> dict[int, RawRecord]:
    """Read some records of a shard, in one pass from the first to the last of them."""
    missing = set(wanted)
    records = {}
    last = None
    for raw in ShardReader(source.corpus, source.data_root).read(shard, min(missing)):
        last = raw.record
        if raw.record in missing:
            records[raw.record] = raw
            missing.remove(raw.record)
            if not missing:
                break
    if missing:
        ends = "has nothing from there on" if last is None else f"ends with record {last}"
        raise DataError(
            f"source {source.name!r}, shard {shard.path!r}: there is no record {min(missing)}: "
            f"reading from record {min(wanted)} on, it {ends}; it is not the shard that was "
            f"trained on, or the corpus file now reads it differently"
        )
    return records


def _encoded(
    source: Source,
    maker: DocumentMaker,
    tokenizer: Tokenizer,
    trained: TrainedSpan,
    raw: RawRecord,
) -> EncodedDocument:
    """Encode the span's document as built in its epoch, or in the next if only that fits."""
    span = trained.span
    where = f"source {source.name!r}, shard {span.shard!r}, record {span.record}"
    turns = source.corpus.kind == "parallel"
    for epoch in (trained.epoch, trained.epoch + 1)[: 1 + turns]:
        document = maker.make(span.shard, raw, epoch)
        if not isinstance(document, Document):
            raise DataError(
                f"{where}: it was trained on, but yields no document now ({document.reason}): the "
                f"shard or the corpus file has changed since"
            )
        (encoded,) = encode_documents(tokenizer, [document])
        num_tokens = len(encoded.ids)
        if span.end in encoded.ends or (span.end < num_tokens and not trained.ends):
            return encoded
    raise DataError(
        f"{where}: tokens {span.start} to {span.end}{' (its end)' * trained.ends} were trained "
        f"on, but its document has {num_tokens} now: the shard, the corpus file or the tokenizer "
        f"has changed since"
    )


def _text(document: EncodedDocument, tokenizer: Tokenizer, span: Span) -> SpanText:
    ids = document.ids[span.start : span.end]
    targets = document.supervised[span.start + 1 : span.end]  # none predicts the first
    return SpanText(tokenizer.decode(ids), len(document.ids), int(targets.sum()))
