"""Records, documents and tokens on a terminal; parts without loss are dim."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from linly.cli.shown_text import labelled, printable, shortened
from linly.config.fields import write_path
from linly.config.source import Source
from linly.data.documents.encoding import encode_documents
from linly.data.documents.templates import DocumentMaker
from linly.data.reading.shards import ShardReader, list_shards, paths_read
from linly.data.types import BadRecord, Document, Filtered, RawRecord
from linly.errors import DataError
from linly.tokenization.tokenizer import Tokenizer

MAX_CHARACTERS = 2_000
"""Characters shown of a record or a segment."""

MAX_DEPTH = 50
"""Levels of lists and objects shown of a record; deeper ones become "..."."""

MAX_TOKENS = 400
MAX_FIELDS = 40
"""Fields of a record shown in a list; nested ones count."""

MAX_NAMES = 4
"""Names in the path of a field in a list; deeper values are shown with the field above them."""

_MAX_PATH_WIDTH = 32
_MAX_VALUE = 120
MAX_RECORDS = 1_000
"""Largest number of records read in search of documents."""

_MASKED = "dim"


def open_view(source: Source, tokenizer: Tokenizer | None) -> CorpusView:
    """Open a view that prints to standard output."""
    return CorpusView(Console(highlight=False, soft_wrap=True), source, tokenizer)


@dataclass(frozen=True, slots=True)
class CorpusView:
    """Printer of a corpus's first documents.

    Attributes:
        console: Console to print on.
        source: Corpus to show, under its own name.
        tokenizer: Tokenizer to show tokens with; None leaves them out.
    """

    console: Console
    source: Source
    tokenizer: Tokenizer | None

    def show(self, num_documents: int) -> None:
        """Print documents with their records, and why other records gave no document.

        Raises:
            DataError: If there is no shard, one is damaged, or no record gives a document.
            ConfigError: If a field cannot be read, or the template does not exist.
        """
        shards = list_shards(self.source.corpus, self.source.data_root)
        reader = ShardReader(self.source.corpus, self.source.data_root)
        maker = DocumentMaker(self.source)
        num_shown = num_read = 0
        for shard in shards:
            for raw in reader.read(shard):
                made = maker.make(shard.path, raw, 0)
                self._show_record(shard.path, raw, made)
                num_read += 1
                if isinstance(made, Document):
                    self.show_document(made)
                    num_shown += 1
                if num_shown == num_documents or num_read == MAX_RECORDS:
                    break
            else:
                continue
            break
        if not num_shown:
            raise DataError(
                f"corpus {self.source.name!r}: none of its first {num_read:,} records gives a "
                f"document"
            )

    def _show_record(
        self, shard: str, raw: RawRecord, made: Document | BadRecord | Filtered
    ) -> None:
        title = f"{printable(shard)}, record {raw.record:,}"
        if not isinstance(made, Document):
            what = "bad" if isinstance(made, BadRecord) else "left out"
            self.console.print(Text(f"{title}: {what}: {printable(made.reason)}", "yellow"))
            return
        self.console.print(Rule(Text(title, "bold"), align="left"))
        self.console.print(Text("record", "bold"))
        self.console.print(Text(shortened(printable(_as_json(raw.value)), MAX_CHARACTERS)))

    def show_fields(self, record: Mapping[str, Any]) -> None:
        """Print all fields of a record, each with its path; `*` marks those that are used."""
        leaves = list(_leaves(record))
        used = [path.path for path in paths_read(self.source.corpus)]
        width = min(max((len(path) for path, _ in leaves), default=0), _MAX_PATH_WIDTH)
        for path, value in leaves[:MAX_FIELDS]:
            is_used = any(path == one or path.startswith(f"{one}.") for one in used)
            text = printable(_as_json(value)).replace("\n", " ")
            shown = text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]} ..."
            mark = "*" if is_used else " "
            self.console.print(Text(f"{mark} {printable(path):{width}}  {shown}"))
        if len(leaves) > MAX_FIELDS:
            self.console.print(Text(f"... and {len(leaves) - MAX_FIELDS:,} more"))

    def show_document(self, document: Document) -> None:
        """Print a document, a line for each segment."""
        self.console.print(Text("document", "bold"))
        for segment in document.segments:
            if segment.form == "next":
                self.console.print(Text("another document of the same record", "bold"))
                continue
            style = "" if segment.supervised else _MASKED
            label, text = labelled(segment.text, segment.supervised, MAX_CHARACTERS)
            line = Text.assemble((label, "cyan"))
            line.append(text, style)
            self.console.print(line)
        if self.tokenizer is not None:
            self._show_tokens(document, self.tokenizer)

    def _show_tokens(self, document: Document, tokenizer: Tokenizer) -> None:
        (encoded,) = encode_documents(tokenizer, [document])
        supervised = int(encoded.supervised.sum())
        head = f"{len(encoded.ids):,} tokens, {supervised:,} with loss"
        self.console.print(Text(head, "bold"))
        line = Text()
        pairs = zip(encoded.ids.tolist(), encoded.supervised.tolist(), strict=True)
        for count, (token, with_loss) in enumerate(pairs):
            if count == MAX_TOKENS:
                line.append(f"... and {len(encoded.ids) - count:,} more")
                break
            piece = printable(tokenizer.piece(token)).replace("\n", "\\n")
            line.append(f"{piece}", "" if with_loss else _MASKED)
            line.append(" ")
        self.console.print(line)


def _leaves(value: object, names: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    """Yield (path, value) of the fields of a record, and of the first element of each list."""
    inner = value
    while isinstance(inner, list | tuple) and inner:
        inner = inner[0]
    if isinstance(inner, Mapping) and inner and len(names) < MAX_NAMES:
        for name, one in inner.items():
            yield from _leaves(one, (*names, str(name)))
    else:
        yield write_path(names), value


def _as_json(value: object) -> str:
    """Format any value of a reader, including non-JSON ones: bytes, dates, bad UTF-8."""
    return json.dumps(_pruned(value), ensure_ascii=False, indent=2, default=repr)


def _pruned(value: object, depth: int = MAX_DEPTH) -> object:
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth == 0:
        return "..."
    if isinstance(value, Mapping):
        return {str(name): _pruned(inner, depth - 1) for name, inner in value.items()}
    return [_pruned(inner, depth - 1) for inner in value]
