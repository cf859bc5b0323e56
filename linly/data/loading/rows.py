"""The rows of a recipe without training: an iterator with a state to resume from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from linly.config.recipe import Recipe
from linly.data.inspection.first_records import check_first_records
from linly.data.loading.stream import data_stream
from linly.data.mixing.mixed_row import MixedRow
from linly.data.mixing.source_stream import Exhausted
from linly.data.mixing.state import MixerState
from linly.data.mixing.stream_plan import StreamPlan, stream_plan
from linly.data.reading.shards import list_shards
from linly.errors import ConfigError
from linly.storage.hub import configuration_folder


class Rows:
    """The global stream of rows of a recipe: iterate over it, and close it, or use it in `with`.

    Nothing is evaluated, so ratio guards do not act: the curves are followed unchanged.

    Attributes:
        plan: Everything that the rows depend on.
        state: Position of the stream after the last row.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        tokenizer: Path | None = None,
        state: Mapping[str, Any] | None = None,
        producers: int | None = None,
    ) -> None:
        """Open the stream; the rows are the same for any number of producers.

        Args:
            recipe: Recipe; of its model only the tokenizer is read.
            tokenizer: Vocabulary to use instead of the model's.
            state: Result of `state_dict` to resume from; None to begin with the first row.
            producers: Processes that build rows; None for the recipe's `data.producers`.

        Raises:
            ConfigError: If there is no vocabulary, or the recipe does not fit the data.
            DataError: If a source has no shards, or its first records give no documents.
            CheckpointError: If the state belongs to another stream.
        """
        self.plan = _plan(recipe, tokenizer)
        new = self.plan.new_state()
        self.state = new if state is None else MixerState.from_json(state, self.plan.identity)
        self._stream = data_stream(
            self.plan,
            self.state,
            producers=recipe.data.producers if producers is None else producers,
            prefetch_rows=recipe.data.prefetch_rows,
            timeout_s=recipe.data.timeout_s,
        )

    @property
    def exhausted(self) -> Exhausted | None:
        """The source that ended the stream early; None if none did."""
        return self._stream.exhausted

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last row, as plain data for JSON."""
        return self.state.to_json()

    def close(self) -> None:
        """End the producers."""
        self._stream.close()

    def __iter__(self) -> Rows:
        """Iterate from the current position on."""
        return self

    def __next__(self) -> MixedRow:
        """Build the next row."""
        mixed = next(self._stream)
        self.state.advance(mixed)
        return mixed

    def __enter__(self) -> Rows:
        """Use the stream until the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the stream."""
        self.close()


def _plan(recipe: Recipe, tokenizer: Path | None) -> StreamPlan:
    place = tokenizer if tokenizer is not None else recipe.model
    if place is None:
        raise ConfigError(
            f"recipe {recipe.name}: it names no model; set `model` or pass --tokenizer FILE"
        )
    path = configuration_folder(place)
    shards = {
        name: list_shards(source.corpus, source.data_root)
        for name, source in recipe.sources.items()
    }
    for name, source in recipe.sources.items():
        check_first_records(source, shards[name])
    return stream_plan(recipe, path, shards)
