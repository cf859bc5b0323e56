"""Texts of named corpora, for commands that analyze text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from linly.config.corpus import Corpus, load_corpus
from linly.config.source import Source
from linly.data.documents.templates import DocumentMaker
from linly.data.reading.shards import ShardReader, list_shards
from linly.data.types import BadRecord, Document
from linly.errors import ConfigError
from linly.tokenization.growth.fertility import LocatedText


@dataclass(slots=True)
class CorpusTexts:
    """Corpora read through the data path, with filters and templates, without held-out records.

    Attributes:
        corpora: Corpora by name, in the requested order.
        data_root: Folder of their shards.
        num_bad: Number of bad records so far.
        last_bad: Place of the last bad record, and the reason.
    """

    corpora: dict[str, Corpus]
    data_root: Path
    num_bad: int = 0
    last_bad: str = field(default="")

    @classmethod
    def open(cls, names: Sequence[str], folders: Sequence[Path], data_root: Path) -> CorpusTexts:
        """Find corpus files by name.

        Raises:
            ConfigError: If a name does not exist (lists those that do), or the data root is not a
                folder.
        """
        corpora = {name: load_corpus(name, folders) for name in names}
        if not data_root.is_dir():
            raise ConfigError(f"data root {data_root}: no such folder")
        return cls(corpora, data_root)

    def documents(self, name: str) -> Iterator[str]:
        """Iterate over the documents of one corpus, shard by shard, their segments joined."""
        return (located.text for located in self.located(name))

    def located(self, name: str) -> Iterator[LocatedText]:
        """Iterate like `documents`, each with its shard and record."""
        corpus = self.corpora[name]
        maker = DocumentMaker(Source(name, corpus, None, self.data_root))
        reader = ShardReader(corpus, self.data_root)
        for shard in list_shards(corpus, self.data_root):
            for raw in reader.read(shard):
                made = maker.make(shard.path, raw, 0)
                if isinstance(made, Document):
                    text = "".join(s.text for s in made.segments if s.form != "special")
                    yield LocatedText(shard.path, raw.record, text)
                elif isinstance(made, BadRecord):
                    self.num_bad += 1
                    self.last_bad = f"{made.shard}, record {made.record}: {made.reason}"

    def all_documents(self) -> Iterator[str]:
        """Iterate over the documents of all corpora, one corpus after another."""
        for name in self.corpora:
            yield from self.documents(name)

    def warning(self) -> str | None:
        """Return a line about bad records; None if there were none."""
        if not self.num_bad:
            return None
        return f"bad records left out: {self.num_bad:,}, the last: {self.last_bad}"
