"""linly.data.scanning.trained_questions: which questions are in the rows of a run."""

from __future__ import annotations

from pathlib import Path

from linly.data.record_list import ListedRecord, read_record_list, write_record_list
from linly.data.scanning.trained_questions import trained_questions
from linly.data.types import Shard
from linly.records.row_record import RowRecord
from linly.records.span import Span
from linly.runs.row_parts import RowParts


def row(index: int, source: str, *places: tuple[str, int]) -> RowRecord:
    spans = tuple(Span(shard, record, 0, 4) for shard, record in places)
    return RowRecord(index, index + 1, 0, 1, source, 0, 4, 0, 1.0, spans)


def test_questions_of_trained_records_count_once_and_by_step(tmp_path: Path) -> None:
    leak = ListedRecord("books", "a.jsonl", 3, "leak", "mmlu", "anatomy/test/1", 1.0)
    listed = [
        leak,
        leak._replace(question="anatomy/test/2"),
        leak._replace(record=9, task="cmmlu", question="agronomy/test/0"),
        leak._replace(record=5, question="anatomy/test/7"),
        leak._replace(record=4, reason="duplicate", task=None, question=None),
    ]
    path = tmp_path / "leaks.parquet"
    write_record_list(path, listed, {"books": [Shard("a.jsonl", 1)]}, {})
    (tmp_path / "rows").mkdir()
    parts = RowParts(tmp_path / "rows")
    parts.write([row(0, "en", ("a.jsonl", 2), ("a.jsonl", 3)), row(1, "en", ("a.jsonl", 3))])
    parts.write([row(2, "other", ("a.jsonl", 5)), row(3, "en", ("a.jsonl", 9), ("a.jsonl", 4))])
    columns = ("step", "source", "documents")
    lists = {"en": read_record_list(path, "books")}
    first = {"mmlu": {"anatomy/test/1", "anatomy/test/2"}}
    whole = first | {"cmmlu": {"agronomy/test/0"}}
    assert trained_questions(parts.read(columns), lists) == whole
    assert trained_questions(parts.read(columns), lists, last_step=3) == first
