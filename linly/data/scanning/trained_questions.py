"""Exam questions that a run was trained on: its row record against a record list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from linly.curriculum.timeline import fold
from linly.data.record_list import RecordList, check_scanned, read_record_list
from linly.data.shard_list import read_shard_list
from linly.runs.row_parts import RowParts
from linly.runs.runs import RunFolder

Questions = dict[str, set[str]]
"""Exam -> questions, as `SUBJECT/SPLIT/INDEX`."""


def questions_of_run(run: Path, record_list: Path, *, last_step: int | None = None) -> Questions:
    """Find the questions in the records that a run was trained on.

    A record counts if a row with any part of it was trained on.

    Args:
        run: Folder of the run.
        record_list: List that `linly corpora scan --against` made from the run's corpora.
        last_step: Step up to which rows count; None for all that are recorded.

    Raises:
        DataError: If the list cannot be read, was made without a corpus of the run, or from shards
            of other sizes.
        LinlyError: If the run's records cannot be read.
    """
    folder = RunFolder.open(run)
    lists = {}
    for source, share in fold(list(folder.read("decisions"))).sources.items():
        found = read_record_list(record_list, share.corpus)
        check_scanned(found, share.corpus, read_shard_list(run / "shards" / f"{source}.jsonl"))
        lists[source] = found
    tables = RowParts(run / "rows").read(("step", "source", "documents"))
    return trained_questions(tables, lists, last_step=last_step)


def trained_questions(
    tables: Iterable[pa.Table], lists: Mapping[str, RecordList], *, last_step: int | None = None
) -> Questions:
    """Find the questions in the records of rows.

    Args:
        tables: Parts of a row record, with `step`, `source` and `documents`.
        lists: List of each source's corpus.
        last_step: Step up to which rows count.
    """
    held: dict[tuple[str, str, int], list[tuple[str, str]]] = {}
    for source, found in lists.items():
        for row in found.table.to_pylist():
            if row["reason"] == "leak":
                place = source, row["shard"], row["record"]
                held.setdefault(place, []).append((row["task"], row["question"]))
    questions: Questions = {}
    for table in tables:
        for row in table.to_pylist():
            if last_step is not None and row["step"] > last_step:
                continue
            for span in row["documents"] or ():
                place = row["source"], span["shard"], span["record"]
                for task, question in held.get(place, ()):
                    questions.setdefault(task, set()).add(question)
    return questions
