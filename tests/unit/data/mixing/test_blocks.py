"""Blocks and order: every record once an epoch, any block read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linly.data.cursor import BlockStart
from linly.data.mixing.blocks import Block, BlockLimits, BlockReader
from linly.data.mixing.order import hash_seed, permutation
from linly.data.types import RawRecord, Shard
from linly.errors import ConfigError, DataError

Sizes = tuple[int, ...]


def reader(
    sizes: Sizes,
    *,
    start: BlockStart | None = None,
    max_epochs: float = float("inf"),
    limits: BlockLimits | None = None,
    seed: int = 1,
    record_bytes: int = 10,
) -> BlockReader:
    def open_shard(shard: Shard, first: int) -> Iterator[RawRecord]:
        for record in range(first, shard.size_bytes):
            yield RawRecord(record, {"text": str(record)}, None, record_bytes)

    return BlockReader(
        source="wiki",
        seed=seed,
        shards=tuple(Shard(f"s{index}", size) for index, size in enumerate(sizes)),
        open_shard=open_shard,
        start=start if start is not None else BlockStart(),
        max_epochs=max_epochs,
        limits=limits if limits is not None else BlockLimits(4, 1 << 20, 3),
    )


def keys(block: Block) -> list[tuple[str, int]]:
    return [(shard, raw.record) for shard, raw in block.records]


def read_all(blocks: BlockReader) -> list[Block]:
    read = []
    while (block := blocks.read()) is not None:
        read.append(block)
    return read


some_sizes = st.lists(st.integers(0, 9), min_size=1, max_size=7).filter(any).map(tuple)
some_limits = st.builds(BlockLimits, st.integers(1, 12), st.integers(10, 100), st.integers(1, 4))


@given(some_sizes, some_limits, st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_every_record_is_read_exactly_once_an_epoch(
    sizes: Sizes, limits: BlockLimits, epochs: int
) -> None:
    blocks = read_all(reader(sizes, limits=limits, max_epochs=epochs))
    expected = Counter((f"s{i}", r) for i, size in enumerate(sizes) for r in range(size))
    for epoch in range(epochs):
        taken = [key for b in blocks if b.start.epoch == epoch for key in keys(b)]
        assert Counter(taken) == expected


@given(some_sizes, some_limits)
@settings(max_examples=80, deadline=None)
def test_a_reader_opened_where_any_block_began_reads_the_same_tail(
    sizes: Sizes, limits: BlockLimits
) -> None:
    blocks = read_all(reader(sizes, limits=limits, max_epochs=2))
    for index, block in enumerate(blocks):
        start = BlockStart.from_json(block.start.to_json())
        again = read_all(reader(sizes, limits=limits, max_epochs=2, start=start))
        assert [(b.start, keys(b), b.after) for b in again] == [
            (b.start, keys(b), b.after) for b in blocks[index:]
        ]


@given(some_sizes, some_limits)
@settings(max_examples=50, deadline=None)
def test_a_block_is_full_at_either_limit_and_never_empty(sizes: Sizes, limits: BlockLimits) -> None:
    for block in read_all(reader(sizes, limits=limits, max_epochs=1)):
        assert 1 <= len(block.records) <= limits.num_records
        assert (len(block.records) - 1) * 10 < limits.size_bytes


def test_a_block_takes_records_from_the_open_shards_in_turn() -> None:
    block = reader((9, 9, 9, 9), limits=BlockLimits(6, 1 << 20, 3)).read()
    assert block is not None
    by_shard = Counter(shard for shard, _ in keys(block))
    assert sorted(by_shard.values()) == [2, 2, 2]


def test_the_order_of_two_epochs_differs() -> None:
    blocks = read_all(reader((20, 20, 20), max_epochs=2))
    first, second = (
        [key for b in blocks if b.start.epoch == epoch for key in keys(b)] for epoch in (0, 1)
    )
    assert first != second


def test_the_order_is_frozen() -> None:
    assert hash_seed(2023, "wiki", "shards", 0) == 53361300407628500974811710319870160494
    assert permutation(8, 2023, "wiki", "shards", 0).tolist() == [7, 3, 2, 5, 6, 0, 4, 1]
    block = reader((5, 5, 5, 5, 5)).read()
    assert block is not None
    assert keys(block) == [("s2", 0), ("s3", 0), ("s2", 1), ("s4", 0)]


@pytest.mark.parametrize(("max_epochs", "num_records"), [(1, 10), (2, 20), (2.5, 30), (1.01, 20)])
def test_max_epochs_ends_the_blocks_with_the_epoch_it_falls_in(
    max_epochs: float, num_records: int
) -> None:
    blocks = read_all(reader((3, 7), max_epochs=max_epochs))
    assert sum(len(block.records) for block in blocks) == num_records
    middle = blocks[len(blocks) // 2]
    rest = read_all(reader((3, 7), max_epochs=max_epochs, start=middle.start))
    assert [keys(b) for b in rest] == [keys(b) for b in blocks[len(blocks) // 2 :]]


def test_max_epochs_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'wiki': max_epochs 0.5 is below 1"):
        reader((3,), max_epochs=0.5)


def test_shards_without_any_record_are_an_error_not_an_endless_loop() -> None:
    with pytest.raises(DataError, match=r"'wiki': its 2 shard\(s\) contain no record"):
        reader((0, 0)).read()


def test_a_start_beyond_the_list_of_shards_is_refused() -> None:
    start = BlockStart(open_shards=((4, 0),), next_shard=5, records=9, epoch_records=9)
    with pytest.raises(DataError, match="belongs to another list of shards"):
        reader((3, 3), start=start).read()
