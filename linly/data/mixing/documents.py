"""Records to encoded documents, in block order, each with its place in the stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from linly.data.documents.encoding import encode_documents
from linly.data.documents.quarantine import GRACE_RECORDS, BadRecordRule
from linly.data.mixing.blocks import Block, BlockReader, BlockStart
from linly.data.types import BadRecord, Document, EncodedDocument, Filtered, RawRecord
from linly.errors import DataError
from linly.tokenization.tokenizer import Tokenizer

BATCH_DOCUMENTS = 64
BATCH_CHARACTERS = 1 << 18
"""Limits of a batch for the tokenizer; they affect the speed, never the rows."""


class SourceCursor(NamedTuple):
    """Position from which a source resumes: everything before it has been put into rows.

    Attributes:
        block: Block that contains the next token.
        slot: Record within the permuted block.
        token: Token within that record's document (chunking).
        packed_row: Row within the packed block (best-fit; slot and token are then 0).
        bad: Bad records before the slot, over all epochs.
        filtered: Filtered and held-out records before the slot, over all epochs.
        epoch_rows: Rows that began in its epoch; None if an older version, which did not count
            them, wrote the cursor.
        rows_per_epoch: Rows that began in the epoch before; None if not known.
    """

    block: BlockStart = BlockStart()
    slot: int = 0
    token: int = 0
    packed_row: int = 0
    bad: int = 0
    filtered: int = 0
    epoch_rows: int | None = 0
    rows_per_epoch: int | None = None

    @property
    def epoch(self) -> int:
        """Epoch of the next token."""
        return self.block.epoch

    @property
    def records(self) -> int:
        """Records before the slot, over all epochs."""
        return self.block.records + self.slot

    def to_json(self) -> dict[str, Any]:
        """Plain values for a state file."""
        return {
            "block": self.block.to_json(),
            "slot": self.slot,
            "token": self.token,
            "packed_row": self.packed_row,
            "bad": self.bad,
            "filtered": self.filtered,
            "epoch_rows": self.epoch_rows,
            "rows_per_epoch": self.rows_per_epoch,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> SourceCursor:
        """Restore from `to_json`."""
        return cls(
            block=BlockStart.from_json(value["block"]),
            slot=int(value["slot"]),
            token=int(value["token"]),
            packed_row=int(value["packed_row"]),
            bad=int(value["bad"]),
            filtered=int(value["filtered"]),
            epoch_rows=_integer(value.get("epoch_rows")),
            rows_per_epoch=_integer(value.get("rows_per_epoch")),
        )


def _integer(value: Any) -> int | None:
    return None if value is None else int(value)


class Place(NamedTuple):
    """Position of a document in the stream; converted to a cursor only where a row ends.

    Attributes:
        block: Block that contains the document.
        slot: Record within the permuted block.
        bad: Bad records before it.
        filtered: Filtered records before it.
        next_block: Start of the next block if this is the last record of its block, else None.
    """

    block: BlockStart
    slot: int
    bad: int
    filtered: int
    next_block: BlockStart | None

    def at(self, token: int) -> SourceCursor:
        """Cursor at one of its tokens."""
        return SourceCursor(self.block, self.slot, token, 0, self.bad, self.filtered)

    def past(self) -> SourceCursor:
        """Cursor after its last token."""
        if self.next_block is not None:
            return SourceCursor(self.next_block, 0, 0, 0, self.bad, self.filtered)
        return SourceCursor(self.block, self.slot + 1, 0, 0, self.bad, self.filtered)


@dataclass(frozen=True, slots=True)
class BlockEnd:
    """Marker after the last document of a block; `after` is the start of the next."""

    block: BlockStart
    after: SourceCursor


class Maker(Protocol):
    """Builds documents from raw records (`linly.data.documents.templates.DocumentMaker`)."""

    def make(self, shard: str, raw: RawRecord, epoch: int) -> Document | BadRecord | Filtered:
        """Return a document, or the reason why there is none."""


@dataclass(slots=True)
class _Batch:
    documents: list[Document] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    num_characters: int = 0
    end: BlockEnd | None = None

    @property
    def full(self) -> bool:
        return len(self.documents) >= BATCH_DOCUMENTS or self.num_characters >= BATCH_CHARACTERS

    def add(self, document: Document, place: Place) -> None:
        self.documents.append(document)
        self.places.append(place)
        self.num_characters += sum(len(segment.text) for segment in document.segments)


class DocumentStream:
    """Encoded documents of a source from a cursor on, across blocks and epochs."""

    def __init__(
        self,
        *,
        source: str,
        blocks: BlockReader,
        maker: Maker,
        tokenizer: Tokenizer,
        cursor: SourceCursor,
        max_bad_fraction: float,
    ) -> None:
        """Read `blocks`, which must be at the cursor's block."""
        self._source = source
        self._blocks = blocks
        self._maker = maker
        self._tokenizer = tokenizer
        self._rule = BadRecordRule(source, max_bad_fraction)
        self._batches = self._make(cursor)
        self._bad: deque[tuple[int, BadRecord]] = deque()

    def __iter__(self) -> Iterator[tuple[Place, EncodedDocument] | BlockEnd]:
        """Yield documents in order, and a `BlockEnd` after the last document of each block."""
        for batch in self._batches:
            if batch.documents:
                encoded = encode_documents(self._tokenizer, batch.documents)
                yield from zip(batch.places, encoded, strict=True)
            if batch.end is not None:
                yield batch.end

    def take_bad(self, before: int) -> tuple[BadRecord, ...]:
        """Return the bad records among the first `before` records of the stream, each only once."""
        taken = []
        while self._bad and self._bad[0][0] < before:
            taken.append(self._bad.popleft()[1])
        return tuple(taken)

    def _make(self, cursor: SourceCursor) -> Iterator[_Batch]:
        """Batches within one block; the last batch of a block carries its end."""
        whole_epoch, num_documents = False, 0
        while (block := self._blocks.read()) is not None:
            if block.start.epoch_records == 0:
                whole_epoch, num_documents = cursor.slot == 0, 0
            batch = _Batch()
            for document, place in self._documents(block, cursor):
                num_documents += 1
                batch.add(document, place)
                if batch.full:
                    yield batch
                    batch = _Batch()
            cursor = self._passed
            batch.end = BlockEnd(block.start, cursor)
            yield batch
            if whole_epoch and num_documents == 0 and block.after.epoch > block.start.epoch:
                raise self._nothing_left(cursor)

    def _documents(self, block: Block, cursor: SourceCursor) -> Iterator[tuple[Document, Place]]:
        """Documents of a block from the cursor's slot on; sets `_passed` at the block's end."""
        bad, filtered, last = cursor.bad, cursor.filtered, len(block.records) - 1
        start = block.start
        for slot in range(cursor.slot, len(block.records)):
            shard, raw = block.records[slot]
            made = self._maker.make(shard, raw, start.epoch)
            num_records = start.records + slot + 1
            if isinstance(made, Document):
                next_block = block.after if slot == last else None
                yield made, Place(start, slot, bad, filtered, next_block)
            elif isinstance(made, BadRecord):
                bad += 1
                self._bad.append((num_records - 1, made))
                self._rule.saw_bad(made)
                self._rule.check(num_records=num_records, num_bad=bad)
            else:
                filtered += 1
            if num_records == GRACE_RECORDS:
                self._rule.check(num_records=num_records, num_bad=bad)
        self._passed = SourceCursor(block.after, 0, 0, 0, bad, filtered)

    def _nothing_left(self, cursor: SourceCursor) -> DataError:
        reasons = "".join(
            f"\n  {bad.shard}, record {bad.record}: {bad.reason}" for _, bad in list(self._bad)[:3]
        )
        return DataError(
            f"source {self._source!r}: a whole epoch gave no document: of {cursor.records} records "
            f"{cursor.filtered} were filtered (where, held_out) and {cursor.bad} bad; widen the "
            f"filters or give the source no share{reasons}"
        )
