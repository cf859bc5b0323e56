"""Perplexity of every record of a corpus, data-parallel and resumable.

    records --256 at a time--> a chunk --packed rows, one rank--> a part: parquet, atomic

A chunk is computed on one rank, and its packing does not depend on the others. So the number of
ranks changes nothing, and a start after an interruption computes only the missing parts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import PreTrainedModel

from linly.config.corpus import Corpus
from linly.config.source import Source
from linly.data.documents.encoding import encode_documents
from linly.data.documents.templates import DocumentMaker
from linly.data.reading.shards import ShardReader, list_shards
from linly.data.types import IGNORE_LABEL, Document, Shard
from linly.errors import ConfigError
from linly.evaluation.evaluation import windows
from linly.evaluation.packed_windows import PackedWindows
from linly.files import publish
from linly.modeling.attention.separation import Way
from linly.records.measures import bits_per_byte
from linly.tokenization.tokenizer import Tokenizer
from linly.training.ranks.processes import Processes

CHUNK_RECORDS = 256
"""Records of a part; an interruption loses at most one part per rank."""

IDENTITY = "scores.json"

_SCHEMA = pa.schema(
    [
        pa.field("record", pa.int64(), nullable=False),
        pa.field("nll", pa.float64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
    ]
)


class RecordScore(NamedTuple):
    """Score of one record.

    Attributes:
        shard: Path of its shard.
        record: Position in the shard.
        nll: Negative log-likelihood of its supervised tokens without EOS, in nats.
        tokens: Number of these tokens.
        size_bytes: UTF-8 bytes of their text.
    """

    shard: str
    record: int
    nll: float
    tokens: int
    size_bytes: int

    @property
    def perplexity(self) -> float:
        """Exponential of the mean negative log-likelihood; infinite beyond the largest float."""
        try:
            return math.exp(self.nll / self.tokens)
        except OverflowError:
            return math.inf

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte, which is comparable between vocabularies."""
        return bits_per_byte(self.nll, self.size_bytes)


@dataclass(frozen=True, slots=True)
class ScoringModel:
    """A model to score records with.

    Attributes:
        model: Model in evaluation mode, on its device.
        tokenizer: Its tokenizer.
        identity: Text that differs between models: hashes of their files.
        sequence_length: Tokens of a window; longer documents are cut, without overlap.
        batch_rows: Packed rows per forward pass.
        way: Way in which it keeps the documents of a row apart; None if it cannot.
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    identity: str
    sequence_length: int
    batch_rows: int
    way: Way | None


def score_corpus(
    corpus: Corpus, data_root: Path, scoring: ScoringModel, folder: Path, processes: Processes
) -> tuple[Shard, ...]:
    """Compute the missing parts of a corpus's scores; a collective.

    Every record that `where` keeps is scored, held-out ones too, by the text that carries loss.

    Args:
        corpus: Corpus to score; its record lists are ignored.
        data_root: Folder of its shards.
        scoring: Model to score with.
        folder: Folder of the parts.
        processes: Processes that share the chunks.

    Returns:
        The shards that were scored.

    Raises:
        ConfigError: If the folder has parts of another model, corpus or length.
        DataError: If there is no shard, or one is damaged.
    """
    whole = corpus.model_copy(update={"exclude_records": {}})
    shards = list_shards(corpus, data_root)
    with processes.together(f"preparing {folder}"):
        if processes.is_first:
            _claim(folder, _identity(whole, shards, scoring))
    source = Source(corpus.name, whole.model_copy(update={"held_out": ("",)}), None, data_root)
    with processes.together(f"scoring {corpus.name}"):
        for place, shard in enumerate(shards):
            for number, chunk in enumerate(_chunks(source, shard)):
                part = folder / f"{place:06d}-{number:06d}.parquet"
                is_mine = (place + number) % processes.world_size == processes.rank
                if is_mine and not part.exists():
                    _write_part(part, _scores(chunk, scoring, processes.device))
    return shards


def read_scores(folder: Path, shards: Sequence[Shard]) -> Iterator[RecordScore]:
    """Read all parts, in the order of shards and records."""
    for part in sorted(folder.glob("*-*.parquet")):
        shard = shards[int(part.stem.partition("-")[0])].path
        for row in pq.read_table(part, schema=_SCHEMA).to_pylist():
            yield RecordScore(shard, **row)


def _chunks(source: Source, shard: Shard) -> Iterator[list[Document]]:
    maker = DocumentMaker(source)
    documents: list[Document] = []
    for raw in ShardReader(source.corpus, source.data_root).read(shard):
        made = maker.make_held_out(shard.path, raw)
        if isinstance(made, Document):
            documents.append(made)
        if len(documents) == CHUNK_RECORDS:
            yield documents
            documents = []
    if documents:
        yield documents


@torch.no_grad()
def _scores(
    documents: Sequence[Document], scoring: ScoringModel, device: torch.device
) -> list[RecordScore]:
    length = scoring.sequence_length
    encoded = encode_documents(scoring.tokenizer, documents)
    cut = [list(windows(document, length)) for document in encoded]
    packed = PackedWindows(
        [[window for found in cut for window in found]],
        Processes(0, 1, device),
        sequence_length=length,
        batch_rows=scoring.batch_rows,
        way=scoring.way,
    )
    losses = iter(packed.nll(scoring.model)[0])
    return [
        RecordScore(
            document.shard,
            document.record,
            math.fsum(next(losses) for _ in found),
            sum(int((labels != IGNORE_LABEL).sum()) for _, labels in found),
            sum(
                len(s.text.encode())
                for s in document.segments
                if s.supervised and s.form != "special"
            ),
        )
        for document, found in zip(documents, cut, strict=True)
        if found
    ]


def _text_bytes(document: Document) -> int:
    """UTF-8 bytes of a document's supervised text."""
    texts = [s.text for s in document.segments if s.supervised and s.form != "special"]
    return sum(len(text.encode()) for text in texts)


def _write_part(path: Path, scores: Sequence[RecordScore]) -> None:
    columns = {name: [getattr(score, name) for score in scores] for name in _SCHEMA.names}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=_SCHEMA), sink, compression="zstd")
    publish(path, sink.getvalue().to_pybytes())


def _identity(corpus: Corpus, shards: Sequence[Shard], scoring: ScoringModel) -> dict[str, Any]:
    listed = orjson.dumps([[shard.path, shard.size_bytes, shard.version] for shard in shards])
    return {
        "model": scoring.identity,
        "corpus": corpus.file_form(),
        "shards": hashlib.sha256(listed).hexdigest(),
        "sequence_length": scoring.sequence_length,
        "chunk_records": CHUNK_RECORDS,
    }


def _claim(folder: Path, identity: dict[str, Any]) -> None:
    """Write what the parts belong to, or compare it with what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / IDENTITY
    if not path.exists():
        publish(path, orjson.dumps(identity))
        return
    try:
        before = orjson.loads(path.read_bytes())
        different = [key for key, value in identity.items() if before.get(key) != value]
    except (orjson.JSONDecodeError, AttributeError):
        different = ["unreadable"]
    if different:
        raise ConfigError(
            f"{folder}: found scores that were begun with another {', '.join(different)}; remove "
            f"the folder to begin again"
        )
