"""A piece of a row back to its text: the record read again from its shard, by the same readers.

    (shard, record, tokens) -> open_shard -> DocumentMaker -> tokens -> the text of these tokens

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
from linly.data.shards import open_shard
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
        shards: As frozen at the start of the run, by path.
    """

    name: str
    corpus: Corpus
    template: str | None
    data_root: Path
    shards: Mapping[str, Shard]


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
        return {line["path"]: Shard(line["path"], line["size_bytes"]) for line in lines}
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
    by_shard: dict[str, list[Wanted]] = {}
    for piece in wanted:
        by_shard.setdefault(piece.shard, []).append(piece)
    for path, pieces in sorted(by_shard.items()):
        if path not in source.shards:
            raise DataError(
                f"source {source.name!r}: shard {path!r} is not among the {len(source.shards)} "
                f"shards that the run froze for it; was the list in the run folder replaced?"
            )
        records = _read_records(source, source.shards[path], [piece.record for piece in pieces])
        for piece in pieces:
            document = maker.make(path, records[piece.record], piece.epoch)
            found[piece] = _text(source.name, document, tokenizer, piece)
    return found


def _read_records(
    source: TracedSource, shard: Shard, wanted: Sequence[int]
) -> dict[int, RawRecord]:
    """Some records of a shard, in one pass from the first to the last of them."""
    missing = set(wanted)
    records = {}
    last = None
    for raw in open_shard(source.corpus, source.data_root, shard, start_record=min(missing)):
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
