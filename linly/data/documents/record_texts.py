"""Texts of a corpus's records, after its filters: `exclude_records`, then `where`."""

from __future__ import annotations

from linly.config.corpus import Corpus
from linly.config.shard_formats import FORMATS
from linly.data.documents.conversations import Conversation
from linly.data.documents.texts import text_reader
from linly.data.reading.formats import format_of
from linly.data.reading.records import Texts, UnusableRecord, compile_where
from linly.data.record_list import ExcludedRecords
from linly.data.types import RawRecord

EXCLUDED = "exclude_records"
"""Reason for a record that a list of the corpus leaves out."""


class RecordTexts:
    """Reads the texts of one corpus's records."""

    def __init__(self, corpus: Corpus) -> None:
        """Prepare for a corpus.

        Raises:
            ConfigError: If a field cannot be parsed.
            DataError: If a record list cannot be read.
        """
        self._read_texts = text_reader(corpus)
        self._excluded = ExcludedRecords(corpus) if corpus.exclude_records else None
        self._left_out = {
            as_text: compile_where(corpus.where, numbers_are_text=as_text)
            for as_text in (False, True)
        }
        self._format = corpus.format

    def read(self, shard: str, raw: RawRecord) -> Texts | Conversation | str:
        """Return a record's texts, or the reason why a list or `where` leaves it out.

        Raises:
            UnusableRecord: If the record does not match the corpus file.
        """
        if raw.value is None:
            raise UnusableRecord(raw.error or "the record could not be parsed")
        if self._excluded is not None and (shard, raw.record) in self._excluded:
            return EXCLUDED
        found = self._format or format_of(shard)
        as_text = found is not None and FORMATS[found].numbers_are_text
        left_out = self._left_out[as_text](raw.value)
        return left_out if left_out is not None else self._read_texts(raw.value)


def plain_texts(texts: Texts | Conversation) -> Texts:
    """Return the texts of a record of any kind as (role, text) pairs."""
    return texts.texts if isinstance(texts, Conversation) else texts
