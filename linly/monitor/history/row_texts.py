"""Documents of a step: its rows by loss, and the text of each row."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from linly.config.recipe import load_recipe
from linly.config.source import DATA_VARIABLE, sources_of
from linly.curriculum.timeline import fold
from linly.data.inspection.lookup import (
    SpanText,
    TracedSource,
    TrainedSpan,
    find_texts,
)
from linly.data.shard_list import read_shard_list
from linly.data.types import Shard
from linly.errors import DataError
from linly.monitor.history.documents import rows_of_step
from linly.records.row_record import RowRecord
from linly.runs.runs import RunFolder
from linly.tokenization.load_tokenizer import load_tokenizer


@dataclass(frozen=True, slots=True)
class TracedRow:
    """A row and the texts of its spans, in order."""

    row: RowRecord
    texts: tuple[SpanText, ...]


class Tracer:
    """Reads the text of a run's rows from its shards again."""

    def __init__(self, path: Path, *, data_root: Path | None = None) -> None:
        """Trace the run at `path`.

        Args:
            path: The run folder.
            data_root: Current folder of its shards; by default the one used in training, or
                $LINLY_DATA if that is not on this machine.

        Raises:
            ConfigError: If there is no run, or its recipe cannot be read.
            CheckpointError: If its decision log cannot be read.
        """
        self._path = path
        self._course = fold(RunFolder.open(path).read("decisions"))
        self._tokenizer = load_tokenizer(path / "model")
        self._data_root = data_root or _present_data_root(path)
        self._sources: dict[str, TracedSource] = {}

    def texts(self, rows: Sequence[RowRecord]) -> tuple[TracedRow, ...]:
        """Rows with their texts, in the order given.

        Raises:
            DataError: If a text cannot be read, or does not match the row record; with the row and
                the reason.
        """
        trained: dict[str, list[TrainedSpan]] = {}
        for row in rows:
            trained.setdefault(row.source, []).extend(_spans(row))
        found: dict[str, Mapping[TrainedSpan, SpanText]] = {
            name: find_texts(self._source(name), self._tokenizer, spans)
            for name, spans in sorted(trained.items())
        }
        return tuple(
            _traced(row, [found[row.source][span] for span in _spans(row)]) for row in rows
        )

    def _source(self, name: str) -> TracedSource:
        """A source by the newest curriculum that has it; later ones may not have it."""
        if name not in self._sources:
            timeline = self._course
            sources = sources_of(timeline.sources, timeline.corpora, self._data_root)
            if name not in sources:
                raise DataError(
                    f"source {name!r}: the row record of {self._path} has rows of it, but its "
                    f"decisions have only {', '.join(sources)}"
                )
            folder = self._path / "shards"
            relisted = timeline.relisted.get(name, ())
            self._sources[name] = TracedSource(
                sources[name],
                (
                    (0, _by_path(folder / f"{name}.jsonl")),
                    *((one.from_epoch, _by_path(folder / one.file)) for one in relisted),
                ),
            )
        return self._sources[name]


def _present_data_root(run: Path) -> Path:
    """Folder of a run's shards on this machine."""
    trained = load_recipe(run / "recipe.yaml").data_root
    moved = os.environ.get(DATA_VARIABLE)
    return Path(moved) if moved and not trained.is_dir() else trained


def _by_path(path: Path) -> dict[str, Shard]:
    return {shard.path: shard for shard in read_shard_list(path)}


def worst_rows(path: Path, step: int, *, rank: int | None, top: int) -> tuple[RowRecord, ...]:
    """Rows of a step with the highest loss first; rows without loss come last.

    Args:
        path: The run folder.
        step: Step number, from 1.
        rank: Rank whose rows are returned; None for all ranks.
        top: Largest number of rows.

    Raises:
        ConfigError: If there is no run at `path`.
        DataError: If the row record does not hold the step, or a row of the rank.
    """
    found = rows_of_step(path, step)
    if not found.rows:
        reach = (
            f"it holds steps up to {found.last_step}" if found.last_step else "it is still empty"
        )
        raise DataError(
            f"run {path}: step {step} is not in the row record ({reach}; rows are written with "
            f"each checkpoint)"
        )
    ranks = sorted({row.rank for row in found.rows})
    if rank is not None and rank not in ranks:
        raise DataError(
            f"run {path}: rank {rank} has no row of step {step}; ranks of this step: "
            f"{ranks[0]} to {ranks[-1]}"
        )
    mine = [row for row in found.rows if rank is None or row.rank == rank]
    return tuple(by_loss(mine)[:top])


def by_loss(rows: Iterable[RowRecord]) -> list[RowRecord]:
    """Sort by loss, highest first: NaN comes before all, rows without loss last."""

    def badness(row: RowRecord) -> tuple[bool, bool, float]:
        if row.loss is None:
            return True, False, 0.0
        return False, row.loss == row.loss, -row.loss

    return sorted(rows, key=badness)


def _spans(row: RowRecord) -> list[TrainedSpan]:
    """Spans of a row; one that does not reach the row's end ends its document."""
    last = len(row.documents) - 1
    return [
        TrainedSpan(span, row.epoch, index < last or row.padding > 0)
        for index, span in enumerate(row.documents)
    ]


def _traced(row: RowRecord, texts: Sequence[SpanText]) -> TracedRow:
    num_supervised = sum(text.num_supervised for text in texts)
    if num_supervised != row.supervised_tokens:
        shards = sorted({span.shard for span in row.documents})
        raise DataError(
            f"source {row.source!r}, row {row.row}: {row.supervised_tokens} of its tokens carried "
            f"loss, but {num_supervised} of those read now do: the shard ({', '.join(shards)}), "
            f"the corpus file or the tokenizer has changed since"
        )
    return TracedRow(row, tuple(texts))
