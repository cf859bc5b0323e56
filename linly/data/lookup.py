"""A piece of a row back to its text: the record read again from its shard, by the same readers.

    (shard, record, tokens) -> ShardReader -> DocumentMaker -> tokens -> the text of these tokens

The row record keeps where each stretch of a row came from, not what it said. Reading it back goes
the way the row went, so that what is shown is what was trained on, or an error that says why not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from linly.config.corpus import Corpus
from linly.data.encoding import encode_documents
from linly.data.shards import ShardReader
from linly.data.templates import DocumentMaker
from linly.data.types import BadRecord, Document, Filtered, RawRecord, Shard
from linly.errors import DataError
from linly.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class TracedSource:
    """What a source's documents are made of.

    Attributes:
        name: In the curriculum.
        template: In place of the corpus file's.
        lists: (first epoch that it holds for, shards by path) of each list that the run froze.
    """

    name: str
    corpus: Corpus
    template: str | None
    data_root: Path
    lists: Sequence[tuple[int, Mapping[str, Shard]]]

    def shard(self, path: str, epoch: int) -> Shard:
        """A shard as it was listed for an epoch.

        A row that ends in the next epoch says the one that it began in, so that a shard which is
        in a later list alone is looked up there.

        Raises:
            DataError: It is in none.
        """
        held = [shards for from_epoch, shards in self.lists if from_epoch <= epoch]
        later = [shards for from_epoch, shards in self.lists if from_epoch > epoch]
        for shards in (*reversed(held), *later):
            if path in shards:
                return shards[path]
        raise DataError(
            f"source {self.name!r}: shard {path!r} is not among the shards that the run froze for "
            f"it; was the list in the run folder replaced?"
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Tokens [start, end) of a record's document, as it was made in an epoch."""

    shard: str
    record: int
    epoch: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class FoundText:
    """What these tokens say.

    Attributes:
        text: Of the tokens; the marks at a document's ends say nothing.
        num_tokens: Of the whole document.
    """

    text: str
    num_tokens: int


def read_shard_list(path: Path) -> dict[str, Shard]:
    """A source's frozen shard list (`shards/SOURCE.jsonl` of a run), by path.

    Raises:
        DataError: It cannot be read.
    """
    try:
        lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        return {line["path"]: Shard(**line) for line in lines}
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path}: the frozen shard list cannot be read: {error}") from error


def find_texts(
    source: TracedSource, tokenizer: Tokenizer, wanted: Iterable[Wanted]
) -> dict[Wanted, FoundText]:
    """Read the text of pieces, each shard once.

    A piece behind an epoch's end is of the epoch after its row's: the two sides of a parallel pair
    are then given the other way round.

    Raises:
        DataError: A shard is not in the frozen list, gone, changed or damaged, has no such record,
            or the record no longer gives a document with these tokens.
    """
    maker = DocumentMaker(source.name, source.corpus, source.template)
    found = {}
    by_shard: dict[Shard, list[Wanted]] = {}
    for piece in wanted:
        by_shard.setdefault(source.shard(piece.shard, piece.epoch), []).append(piece)
    for shard, pieces in sorted(by_shard.items(), key=lambda item: item[0].path):
        records = _read_records(source, shard, [piece.record for piece in pieces])
        for piece in pieces:
            document = maker.make(shard.path, records[piece.record], piece.epoch)
            found[piece] = _text(source.name, document, tokenizer, piece)
    return found


def _read_records(
    source: TracedSource, shard: Shard, wanted: Sequence[int]
) -> dict[int, RawRecord]:
    """Some records of a shard, in one pass from the first to the last of them."""
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
        ends = "holds nothing from there on" if last is None else f"ends with record {last}"
        raise DataError(
            f"source {source.name!r}, shard {shard.path!r}: there is no record {min(missing)}: "
            f"reading from record {min(wanted)} on, it {ends}; it is not the shard that was "
            f"trained on, or the corpus file reads it in another way"
        )
    return records


def _text(
    source: str, document: Document | BadRecord | Filtered, tokenizer: Tokenizer, piece: Wanted
) -> FoundText:
    where = f"source {source!r}, shard {piece.shard!r}, record {piece.record}"
    if not isinstance(document, Document):
        raise DataError(
            f"{where}: it was trained on, but gives no document now ({document.reason}): the shard "
            f"or the corpus file has changed since"
        )
    ids = encode_documents(tokenizer, [document])[0].ids
    if piece.end > len(ids):
        raise DataError(
            f"{where}: tokens {piece.start} to {piece.end} were trained on, but its document has "
            f"{len(ids)} now: the shard, the corpus file or the tokenizer has changed since"
        )
    return FoundText(tokenizer.decode(ids[piece.start : piece.end]), len(ids))
