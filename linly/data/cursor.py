"""Cursors: where a source resumes, as a few integers in versioned JSON.

BlockStart        start of a block of records: what the open shards have returned so far
DocumentPosition  a token in a source's documents: block, record of the block, token
SourceCursor      position between two rows, and the number of rows of its epochs
"""

from __future__ import annotations

from typing import Any, NamedTuple


class BlockStart(NamedTuple):
    """Start of a block; sufficient to read it again.

    Attributes:
        epoch: Epoch, from 0.
        open_shards: (position of the shard in the epoch's permutation, next record) of each slot.
        next_shard: Position in the permutation of the next shard to open.
        records: Records read before the block, over all epochs.
        epoch_records: Records read before the block in its epoch.
    """

    epoch: int = 0
    open_shards: tuple[tuple[int, int], ...] = ()
    next_shard: int = 0
    records: int = 0
    epoch_records: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values for a state file."""
        return {
            "epoch": self.epoch,
            "open_shards": [list(pair) for pair in self.open_shards],
            "next_shard": self.next_shard,
            "records": self.records,
            "epoch_records": self.epoch_records,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> BlockStart:
        """Restore from `to_json`."""
        return cls(
            epoch=int(value["epoch"]),
            open_shards=tuple((int(place), int(next_)) for place, next_ in value["open_shards"]),
            next_shard=int(value["next_shard"]),
            records=int(value["records"]),
            epoch_records=int(value["epoch_records"]),
        )


class DocumentPosition(NamedTuple):
    """Position in a source's documents: everything before it has been put into rows.

    Attributes:
        block: Block that contains the next token.
        slot: Record within the permuted block.
        token: Token within that record's document (chunk, one-document).
        packed_row: Row within the packed block (best-fit; slot and token are then 0).
        num_bad: Bad records before the slot, over all epochs.
        num_filtered: Filtered and held-out records before the slot, over all epochs.
    """

    block: BlockStart = BlockStart()
    slot: int = 0
    token: int = 0
    packed_row: int = 0
    num_bad: int = 0
    num_filtered: int = 0

    @property
    def epoch(self) -> int:
        """Epoch of the next token."""
        return self.block.epoch

    @property
    def num_records(self) -> int:
        """Records before the slot, over all epochs."""
        return self.block.records + self.slot


class SourceCursor(NamedTuple):
    """Position from which a source resumes after a row.

    Attributes:
        position: Position after the row's last token.
        epoch_rows: Rows that began in its epoch; None if an older version, which did not count
            them, wrote the cursor.
        rows_per_epoch: Rows that began in the epoch before; None if not known.
    """

    position: DocumentPosition = DocumentPosition()
    epoch_rows: int | None = 0
    rows_per_epoch: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for a state file."""
        at = self.position
        return {
            "block": at.block.to_json(),
            "slot": at.slot,
            "token": at.token,
            "packed_row": at.packed_row,
            "bad": at.num_bad,
            "filtered": at.num_filtered,
            "epoch_rows": self.epoch_rows,
            "rows_per_epoch": self.rows_per_epoch,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> SourceCursor:
        """Restore from `to_json`."""
        position = DocumentPosition(
            block=BlockStart.from_json(value["block"]),
            slot=int(value["slot"]),
            token=int(value["token"]),
            packed_row=int(value["packed_row"]),
            num_bad=int(value["bad"]),
            num_filtered=int(value["filtered"]),
        )
        return cls(
            position, _integer(value.get("epoch_rows")), _integer(value.get("rows_per_epoch"))
        )


def _integer(value: Any) -> int | None:
    return None if value is None else int(value)
