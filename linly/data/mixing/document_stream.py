"""Stream of encoded documents of one source, with the position of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from linly.data.cursor import BlockStart, DocumentPosition
from linly.data.documents.encoding import encode_documents
from linly.data.documents.quarantine import (
    GRACE_RECORDS,
    NUM_REASONS,
    BadRecordRule,
    reasons_of,
)
from linly.data.documents.templates import DocumentMaker
from linly.data.mixing.blocks import Block, BlockReader
from linly.data.mixing.source_spec import SourceSpec
from linly.data.reading.shards import ShardReader
from linly.data.types import BadRecord, Document, EncodedDocument
from linly.errors import DataError
from linly.tokenization.tokenizer import Tokenizer

BATCH_DOCUMENTS = 64
BATCH_CHARACTERS = 1 << 18
"""Limits of a batch for the tokenizer; they affect the speed, never the rows."""


class Place(NamedTuple):
    """Place of a document in the stream; converted to a position only where a row ends.

    Attributes:
        block: Block that contains the document.
        slot: Record within the permuted block.
        num_bad: Bad records before it, over all epochs.
        num_filtered: Filtered records before it, over all epochs.
        next_block: Start of the next block if this is the last record of its block, else None.
        bad: Bad records between the document before it in the block and this one.
    """

    block: BlockStart
    slot: int
    num_bad: int
    num_filtered: int
    next_block: BlockStart | None
    bad: tuple[BadRecord, ...]

    def at(self, token: int) -> DocumentPosition:
        """Position of one of its tokens."""
        return DocumentPosition(self.block, self.slot, token, 0, self.num_bad, self.num_filtered)

    def past(self) -> DocumentPosition:
        """Position after its last token."""
        if self.next_block is not None:
            return DocumentPosition(self.next_block, 0, 0, 0, self.num_bad, self.num_filtered)
        return DocumentPosition(self.block, self.slot + 1, 0, 0, self.num_bad, self.num_filtered)


@dataclass(frozen=True, slots=True)
class BlockEnd:
    """Marker after the last document of a block.

    Attributes:
        block: Block that ends.
        after: Start of the next block.
        bad: Bad records after the block's last document.
    """

    block: BlockStart
    after: DocumentPosition
    bad: tuple[BadRecord, ...]


DocumentItem = tuple[Place, EncodedDocument] | BlockEnd


@dataclass(slots=True)
class _Batch:
    documents: list[Document] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    num_characters: int = 0

    @property
    def full(self) -> bool:
        return len(self.documents) >= BATCH_DOCUMENTS or self.num_characters >= BATCH_CHARACTERS

    def add(self, place: Place, document: Document) -> None:
        self.places.append(place)
        self.documents.append(document)
        self.num_characters += sum(len(segment.text) for segment in document.segments)

    def encoded(self, tokenizer: Tokenizer) -> Iterator[tuple[Place, EncodedDocument]]:
        if not self.documents:
            return iter(())
        return zip(self.places, encode_documents(tokenizer, self.documents), strict=True)


class DocumentStream:
    """Encoded documents of a source from a position on, across blocks and epochs."""

    def __init__(
        self,
        spec: SourceSpec,
        tokenizer: Tokenizer,
        start: DocumentPosition,
        *,
        reading: Callable[[str], None] = lambda shard: None,
    ) -> None:
        """Prepare to read; files are opened with the first document.

        Args:
            spec: Specification of the source.
            tokenizer: Tokenizer of the run.
            start: Position of the first document.
            reading: Callback before each read, with the shard's path, and "" after each block.

        Raises:
            ConfigError: If the template or a field of the corpus file cannot be read.
            DataError: If there are no shards.
        """
        source = spec.source
        self._source = source.name
        self._blocks = BlockReader(
            source=source.name,
            seed=spec.seed,
            shards=spec.shards,
            later_lists=spec.later_lists,
            open_shard=ShardReader(source.corpus, source.data_root).read,
            start=start.block,
            max_epochs=spec.max_epochs,
            limits=spec.limits,
            reading=reading,
        )
        self._maker = DocumentMaker(source)
        self._tokenizer = tokenizer
        self._rule = BadRecordRule(source.name, source.corpus.max_bad_fraction)
        self._start = start

    def __iter__(self) -> Iterator[DocumentItem]:
        """Yield documents in order, and a `BlockEnd` after the last document of each block.

        Raises:
            DataError: If a shard is damaged, too many records are bad, or a whole epoch has no
                document.
        """
        position, whole_epoch, num_documents = self._start, False, 0
        bad: list[BadRecord] = []
        while (block := self._blocks.read()) is not None:
            if block.start.epoch_records == 0:
                whole_epoch, num_documents, bad = position.slot == 0, 0, []
            batch = _Batch()
            for item in self._documents(block, position):
                if isinstance(item, BlockEnd):
                    yield from batch.encoded(self._tokenizer)
                    yield item
                    position = item.after
                    bad += item.bad[: NUM_REASONS - len(bad)]
                    continue
                num_documents += 1
                batch.add(*item)
                if batch.full:
                    yield from batch.encoded(self._tokenizer)
                    batch = _Batch()
            if whole_epoch and num_documents == 0 and block.after.epoch > block.start.epoch:
                raise DataError(
                    f"source {self._source!r}: a whole epoch gave no document: of "
                    f"{position.num_records} records {position.num_filtered} were filtered "
                    f"(where, held_out) and {position.num_bad} bad; widen the filters or give the "
                    f"source no share{reasons_of(bad)}"
                )

    def _documents(
        self, block: Block, start: DocumentPosition
    ) -> Iterator[tuple[Place, Document] | BlockEnd]:
        """Documents of a block from a position on, then its end."""
        num_bad, num_filtered = start.num_bad, start.num_filtered
        at, last = block.start, len(block.records) - 1
        bad: list[BadRecord] = []
        for slot in range(start.slot, len(block.records)):
            shard, raw = block.records[slot]
            made = self._maker.make(shard, raw, at.epoch)
            num_records = at.records + slot + 1
            if isinstance(made, Document):
                next_block = block.after if slot == last else None
                yield Place(at, slot, num_bad, num_filtered, next_block, tuple(bad)), made
                bad = []
            elif isinstance(made, BadRecord):
                num_bad += 1
                bad.append(made)
                self._rule.saw_bad(made)
                self._rule.check(num_records=num_records, num_bad=num_bad)
            else:
                num_filtered += 1
            if num_records == GRACE_RECORDS:
                self._rule.check(num_records=num_records, num_bad=num_bad)
        yield BlockEnd(
            at, DocumentPosition(block.after, 0, 0, 0, num_bad, num_filtered), tuple(bad)
        )
