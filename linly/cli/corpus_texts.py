"""Texts of named corpora, for commands that look at text and train nothing on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from linly.config.corpus import Corpus, load_corpora
from linly.data.documents.templates import DocumentMaker
from linly.data.reading.shards import ShardReader, list_shards
from linly.data.types import BadRecord, Document
from linly.errors import ConfigError
from linly.tokenization.growth.fertility import LocatedText


@dataclass(slots=True)
class CorpusTexts:
    """Reads corpora through the data path: filters and templates apply, held-out records do not.

    Attributes:
        corpora: By name, in the order asked for.
        data_root: Folder of their shards.
        num_bad: Records that could not be used, so far.
        last_bad: Where the last of them is and why.
    """

    corpora: dict[str, Corpus]
    data_root: Path
    num_bad: int = 0
    last_bad: str = field(default="")

    @classmethod
    def open(cls, names: Sequence[str], folders: Sequence[Path], data_root: Path) -> CorpusTexts:
        """Find corpus files by name.

        Raises:
            ConfigError: A name is not there (lists those that are), or the data root is none.
        """
        known = load_corpora(folders)
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"corpus: found {name!r}, allowed {', '.join(sorted(known)) or 'none'} "
                    f"(of {', '.join(map(str, folders))})"
                )
        if not data_root.is_dir():
            raise ConfigError(f"data root {data_root}: no such folder")
        return cls({name: known[name] for name in names}, data_root)

    def documents(self, name: str) -> Iterator[str]:
        """The documents of one corpus, their segments joined, shard after shard."""
        return (located.text for located in self.located(name))

    def located(self, name: str) -> Iterator[LocatedText]:
        """`documents`, each with its shard and record."""
        corpus = self.corpora[name]
        maker = DocumentMaker(name, corpus)
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
        """The documents of all corpora, one corpus after another."""
        for name in self.corpora:
            yield from self.documents(name)

    def warning(self) -> str | None:
        """A line on the records that could not be used; None when there were none."""
        if not self.num_bad:
            return None
        return f"bad records left out: {self.num_bad:,}, the last: {self.last_bad}"
