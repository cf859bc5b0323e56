"""Blocks of records: a source's shuffle, without a buffer that would have to be saved.

In each epoch the shards are permuted and up to `interleave` of them are open at a time. A block
takes raw records from the open shards in turn until it is full, then permutes them. The start of a
block (a record number for each open shard) is sufficient to read the same block again. So a resume
decompresses the open shards once, at any step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from linly.data.cursor import BlockStart
from linly.data.mixing.order import permutation
from linly.data.types import RawRecord, Shard, ShardList
from linly.errors import ConfigError, DataError

OpenShard = Callable[[Shard, int], Iterator[RawRecord]]
"""Opens a shard at a record and yields its records in order."""


@dataclass(frozen=True, slots=True)
class BlockLimits:
    """Block size and number of interleaved shards; they determine the order of rows."""

    num_records: int = 1024
    size_bytes: int = 64 << 20
    interleave: int = 8


@dataclass(frozen=True, slots=True)
class Block:
    """Records of one epoch in their order of use.

    Attributes:
        start: Start of this block.
        records: (path of the shard, raw record), permuted.
        after: Start of the next block.
    """

    start: BlockStart
    records: list[tuple[str, RawRecord]]
    after: BlockStart


@dataclass(slots=True)
class _Slot:
    place: int
    next_record: int
    records: Iterator[RawRecord]


class BlockReader:
    """Reads the blocks of a source in order, epoch after epoch.

    `reading` is called with the path of the shard about to be read, and with "" after each block,
    so that another process can report a hanging read.
    """

    def __init__(
        self,
        *,
        source: str,
        seed: int,
        shards: tuple[Shard, ...],
        open_shard: OpenShard,
        start: BlockStart,
        max_epochs: float = math.inf,
        limits: BlockLimits = BlockLimits(),
        later_lists: tuple[ShardList, ...] = (),
        reading: Callable[[str], None] = lambda shard: None,
    ) -> None:
        """Open at `start`.

        An epoch that has begun keeps its list of shards, so that a later list does not invalidate a
        cursor: each of `later_lists` holds from the start of its epoch.

        Raises:
            ConfigError: If `max_epochs` is below 1.
            DataError: If there are no shards.
        """
        if max_epochs < 1:
            raise ConfigError(
                f"source {source!r}: max_epochs {max_epochs:g} is below 1; lower its share instead"
            )
        if not shards:
            raise DataError(f"source {source!r}: it has no shards")
        self._source = source
        self._seed = seed
        self._lists = (ShardList(0, shards), *later_lists)
        self._open_shard = open_shard
        self._max_epochs = max_epochs
        self._limits = limits
        self._reading = reading
        self._start = start
        self._slots: list[_Slot] | None = None

    @property
    def start(self) -> BlockStart:
        """Start of the next block."""
        return self._start

    def read(self) -> Block | None:
        """Return the next block, never empty; None after `max_epochs`, rounded up.

        Raises:
            DataError: If a shard is damaged, a whole epoch has no record, or there are fewer shards
                than the start refers to.
        """
        while self._start.epoch < self._max_epochs:
            if self._slots is None:
                self._slots = self._open_slots(self._start)
            start, taken = self._start, self._take(self._slots)
            self._reading("")
            after = self._advance(self._slots, len(taken))
            self._start = after
            if taken:
                order = permutation(
                    len(taken), self._seed, self._source, "block", start.epoch, start.epoch_records
                )
                return Block(start, [taken[index] for index in order.tolist()], after)
        return None

    def _open_slots(self, start: BlockStart) -> list[_Slot]:
        lists = [found for found in self._lists if found.from_epoch <= start.epoch]
        self._shards = lists[-1].shards
        self._order = permutation(
            len(self._shards), self._seed, self._source, "shards", start.epoch
        ).tolist()
        places = [place for place, _ in start.open_shards]
        if max([start.next_shard - 1, *places]) >= len(self._shards):
            raise DataError(
                f"source {self._source!r}: the cursor points to shard {start.next_shard} of a "
                f"list of {len(self._shards)}; it belongs to another list of shards"
            )
        if start.open_shards:
            self._next_shard = start.next_shard
            return [self._open(place, next_record) for place, next_record in start.open_shards]
        self._next_shard = min(self._limits.interleave, len(self._shards))
        return [self._open(place, 0) for place in range(self._next_shard)]

    def _open(self, place: int, next_record: int) -> _Slot:
        shard = self._shards[self._order[place]]
        self._reading(shard.path)
        return _Slot(place, next_record, iter(self._open_shard(shard, next_record)))

    def _take(self, slots: list[_Slot]) -> list[tuple[str, RawRecord]]:
        """Records from the open shards in turn; a shard that ends is replaced by the next."""
        taken: list[tuple[str, RawRecord]] = []
        most, size_bytes, turn = self._limits.num_records, 0, 0
        while slots and len(taken) < most and size_bytes < self._limits.size_bytes:
            turn %= len(slots)
            slot = slots[turn]
            path = self._shards[self._order[slot.place]].path
            self._reading(path)
            raw = next(slot.records, None)
            if raw is None:
                self._replace(slots, turn)
                continue
            slot.next_record = raw.record + 1
            taken.append((path, raw))
            size_bytes += raw.size_bytes
            if raw.ends_shard:
                self._replace(slots, turn)  # at once: no cursor may open the shard past its end
            turn += 1
        return taken

    def _replace(self, slots: list[_Slot], turn: int) -> None:
        if self._next_shard < len(self._shards):
            slots[turn] = self._open(self._next_shard, 0)
            self._next_shard += 1
        else:
            del slots[turn]

    def _advance(self, slots: list[_Slot], num_taken: int) -> BlockStart:
        """Start of the next block; a new epoch if no shard is open any more."""
        start = self._start
        records = start.records + num_taken
        epoch_records = start.epoch_records + num_taken
        if slots:
            return BlockStart(
                epoch=start.epoch,
                open_shards=tuple((slot.place, slot.next_record) for slot in slots),
                next_shard=self._next_shard,
                records=records,
                epoch_records=epoch_records,
            )
        if epoch_records == 0:
            raise DataError(
                f"source {self._source!r}: its {len(self._shards)} shard(s) contain no record "
                f"(the first is {self._shards[0].path})"
            )
        self._slots = None
        return BlockStart(epoch=start.epoch + 1, records=records)
