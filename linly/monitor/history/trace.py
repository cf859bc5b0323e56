"""The documents behind a step: its rows by loss, and the text that each of them held."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from linly.config.recipe import load_recipe
from linly.curriculum.decisions import fold
from linly.data.inspection.lookup import (
    FoundText,
    TracedSource,
    Wanted,
    find_texts,
    read_shard_list,
)
from linly.errors import DataError
from linly.monitor.history.documents import StepRow, rows_of_step
from linly.runs.runs import RunFolder
from linly.tokenization.load import load_tokenizer


@dataclass(frozen=True, slots=True)
class TracedRow:
    """A row and what its pieces say, in their order."""

    row: StepRow
    texts: tuple[FoundText, ...]


class Tracer:
    """Reads the text of a run's rows back from its shards."""

    def __init__(self, path: Path, *, data_root: Path | None = None) -> None:
        """Trace the run at `path`.

        Args:
            path: The run folder.
            data_root: Where its shards are now; by default where they were.

        Raises:
            ConfigError: There is no run, or its recipe cannot be read.
            CheckpointError: Its decision log cannot be read.
        """
        self._path = path
        self._course = fold(RunFolder.open(path).read("decisions"))
        self._tokenizer = load_tokenizer(path / "model")
        self._data_root = data_root or load_recipe(path / "recipe.yaml").data_root
        self._sources: dict[str, TracedSource] = {}

    def texts(self, rows: Sequence[StepRow]) -> tuple[TracedRow, ...]:
        """Rows with their texts, in the order given.

        Raises:
            DataError: A text cannot be read back, or is not what was trained on as far as the row
                record tells; says which and why.
        """
        wanted: dict[str, list[Wanted]] = {}
        for row in rows:
            wanted.setdefault(row.source, []).extend(_wanted(row))
        found: dict[str, Mapping[Wanted, FoundText]] = {
            name: find_texts(self._source(name), self._tokenizer, pieces)
            for name, pieces in sorted(wanted.items())
        }
        return tuple(
            _traced(row, [found[row.source][piece] for piece in _wanted(row)]) for row in rows
        )

    def _source(self, name: str) -> TracedSource:
        """A source as the newest curriculum says that names it; it may be gone by now."""
        if name not in self._sources:
            shares = self._course.sources
            if name not in shares:
                raise DataError(
                    f"source {name!r}: rows were made of it, but the decisions of {self._path} "
                    f"know {', '.join(sorted(shares))} alone"
                )
            folder = self._path / "shards"
            relisted = self._course.relisted.get(name, ())
            self._sources[name] = TracedSource(
                name,
                self._course.corpora[shares[name].corpus],
                shares[name].template,
                self._data_root,
                (
                    (0, read_shard_list(folder / f"{name}.jsonl")),
                    *((one.from_epoch, read_shard_list(folder / one.file)) for one in relisted),
                ),
            )
        return self._sources[name]


def worst_rows(path: Path, step: int, *, rank: int | None, top: int) -> tuple[StepRow, ...]:
    """Rows of a step with the highest loss first; those that carry no loss come last.

    Args:
        path: The run folder.
        step: From 1.
        rank: Only rows that this rank trained on; None takes all.
        top: How many at most.

    Raises:
        ConfigError: There is no run at `path`.
        DataError: The row record does not hold the step, or no row of the rank.
    """
    found = rows_of_step(path, step)
    if not found.rows:
        reach = (
            f"it holds steps up to {found.last_step}" if found.last_step else "it is empty as yet"
        )
        raise DataError(
            f"run {path}: step {step} is not in the row record ({reach}; rows are written with "
            f"each checkpoint)"
        )
    ranks = sorted({row.rank for row in found.rows})
    if rank is not None and rank not in ranks:
        raise DataError(
            f"run {path}: no row of step {step} was rank {rank}'s; ranks of this step: "
            f"{ranks[0]} to {ranks[-1]}"
        )
    mine = [row for row in found.rows if rank is None or row.rank == rank]
    return tuple(by_loss(mine)[:top])


def by_loss(rows: Iterable[StepRow]) -> list[StepRow]:
    """Highest loss first, a loss that is no number before all; rows without loss last."""

    def badness(row: StepRow) -> tuple[bool, bool, float]:
        if row.loss is None:
            return True, False, 0.0
        return False, row.loss == row.loss, -row.loss

    return sorted(rows, key=badness)


def _wanted(row: StepRow) -> list[Wanted]:
    """A row's pieces; one that does not reach the end of the row is the end of its document."""
    last = len(row.documents) - 1
    return [
        Wanted(d.shard, d.record, row.epoch, d.start, d.end, index < last or row.padding > 0)
        for index, d in enumerate(row.documents)
    ]


def _traced(row: StepRow, texts: Sequence[FoundText]) -> TracedRow:
    num_supervised = sum(text.num_supervised for text in texts)
    if num_supervised != row.supervised_tokens:
        shards = sorted({span.shard for span in row.documents})
        raise DataError(
            f"source {row.source!r}, row {row.row}: {row.supervised_tokens} of its tokens carried "
            f"loss, but {num_supervised} of those read back do: the shard ({', '.join(shards)}), "
            f"the corpus file or the tokenizer has changed since"
        )
    return TracedRow(row, tuple(texts))
