"""Reads the rows of an exam's file, CSV, JSON lines or parquet, each with its place."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from linly.errors import DataError

_HEADERLESS = ("question", "A", "B", "C", "D", "answer")
"""Columns of a CSV file without header (hendrycks)."""


class ExamRow(NamedTuple):
    """One row of a file before its columns are interpreted.

    Attributes:
        place: `file:line`, in parquet `file: row n`.
        values: Values by column name; all are text in CSV.
    """

    place: str
    values: dict[str, Any]


def read_exam_rows(path: Path) -> Iterator[ExamRow]:
    """Read a file's rows in order.

    Raises:
        DataError: If the file cannot be read or a row of it is malformed; names file and line.
    """
    try:
        match path.suffix:
            case ".csv":
                yield from _csv_rows(path)
            case ".jsonl":
                yield from _json_rows(path)
            case _:
                yield from _parquet_rows(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _csv_rows(path: Path) -> Iterator[ExamRow]:
    """Read a CSV file; a first row with the cells `question` and `A` is the header."""
    reader = csv.reader(_lines(path), strict=True)
    columns: tuple[str, ...] | None = None
    line = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{path}:{line}: not valid CSV: {error} (a row begins on this line; check its "
                f"quotes)"
            ) from error
        if cells is None:
            return
        place, line = f"{path}:{line}", reader.line_num + 1
        if not cells:
            continue
        if columns is None:
            columns = _header(cells) or _HEADERLESS
            if columns is not _HEADERLESS:
                continue
        if len(cells) != len(columns):
            raise DataError(
                f"{place}: found {len(cells)} columns, expected {len(columns)}: "
                f"{', '.join(name or '(index)' for name in columns)}"
            )
        yield ExamRow(place, dict(zip(columns, cells, strict=True)))


def _header(cells: list[str]) -> tuple[str, ...] | None:
    names = tuple(cell.strip() for cell in cells)
    lower = {name.lower() for name in names}
    return names if {"question", "a"} <= lower else None


def _lines(path: Path) -> Iterator[str]:
    """Yield a file's lines with their ends; a line that is not UTF-8 is an error."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"{path}:{number}: not UTF-8: {error}") from error
            if "\0" in text:
                raise DataError(f"{path}:{number}: contains a NUL byte; the file is damaged")
            yield text


def _json_rows(path: Path) -> Iterator[ExamRow]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            values = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: not valid JSON: {error}") from error
        if not isinstance(values, dict):
            raise DataError(f"{path}:{number}: expected a JSON object, found {line.strip()[:40]!r}")
        yield ExamRow(f"{path}:{number}", values)


def _parquet_rows(path: Path) -> Iterator[ExamRow]:
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                number += 1
                yield ExamRow(f"{path}: row {number}", values)
