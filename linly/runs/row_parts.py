"""The row record of a run on disk: `rows/step-FIRST-LAST.parquet`, a part per checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from linly.files import fsync_directory, publish
from linly.records.row_record import ROW_SCHEMA, RowRecord, read_part, row_table

_PART_NAME = re.compile(r"step-(\d{8,})-(\d{8,})\.parquet")


class RowParts:
    """The parts of a row record in a folder."""

    def __init__(self, folder: Path) -> None:
        """Use the parts in `folder`."""
        self._folder = folder

    def write(self, rows: Sequence[RowRecord]) -> None:
        """Add a part, atomically; it is on disk when this returns.

        Args:
            rows: Rows of complete steps, ascending, after all written steps; not empty.
        """
        first, last = rows[0].step, rows[-1].step
        parts = self.found()
        assert all(a.step <= b.step for a, b in pairwise(rows)), "unordered"
        assert not parts or parts[-1][1] < first, f"steps {first}-{last} are written already"
        self._publish(row_table(rows), first, last)

    def read(self, columns: Sequence[str] = ROW_SCHEMA.names) -> Iterator[pa.Table]:
        """The parts in order, each a table with these columns."""
        for _, _, path in self.found():
            yield read_part(path, columns)

    def found(self) -> list[tuple[int, int, Path]]:
        """(first step, last step, path) of each part.

        If a crash left both a shortened part and its original, the shortened part counts.
        """
        found: dict[int, tuple[int, int, Path]] = {}
        for path in self._folder.glob("step-*.parquet"):
            match = _PART_NAME.fullmatch(path.name)
            if match:
                part = (int(match[1]), int(match[2]), path)
                found[part[0]] = min(part, found.get(part[0], part))
        return [found[first] for first in sorted(found)]

    def truncate(self, step: int) -> None:
        """Remove all rows of steps after `step`."""
        for first, last, path in self.found():
            if first <= step < last:
                table = read_part(path)
                kept = table.filter(pc.less_equal(table["step"], step))
                self._publish(kept, first, step)
        for path in self._folder.glob("step-*.parquet"):
            match = _PART_NAME.fullmatch(path.name)
            if match and int(match[2]) > step:
                path.unlink()
        fsync_directory(self._folder)

    def _publish(self, table: pa.Table, first: int, last: int) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        path = self._folder / f"step-{first:08d}-{last:08d}.parquet"
        publish(path, sink.getvalue().to_pybytes())
