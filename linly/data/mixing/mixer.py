"""The mixer: joins the rows of all sources into the one global stream that every rank builds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from linly.curriculum.apportion import Apportioner, Phase
from linly.data.mixing.mixed_row import MixedRow, row_digest
from linly.data.mixing.source_spec import SourceSpec
from linly.data.mixing.source_stream import Exhausted, SourceStream
from linly.data.mixing.state import MixerState
from linly.errors import ExhaustedError, LinlyError
from linly.tokenization.tokenizer import Tokenizer


class Mixer:
    """The global stream from a state on, built by the iterating process.

    It ends after the run's last row, or before the row of an exhausted source with
    `on_exhausted: stop`; `exhausted` is then set.
    """

    def __init__(
        self,
        *,
        phases: tuple[Phase, ...],
        sources: tuple[SourceSpec, ...],
        tokenizer: Tokenizer,
        state: MixerState,
        only: frozenset[str] | None = None,
        working_on: Callable[[str, str], None] = lambda source, shard: None,
    ) -> None:
        """Resume from `state`, which is not modified.

        Args:
            phases: Curricula of the run, each from its first row.
            sources: All sources that the phases name.
            tokenizer: Tokenizer of the run.
            state: State to resume from.
            only: Sources whose rows to build; the rows of others are skipped. None builds all.
            working_on: Callback before each piece of work, with the source and the shard or "".
        """
        self._specs = {spec.name: spec for spec in sources}
        self._tokenizer = tokenizer
        self._cursors = dict(state.cursors)
        self._streams: dict[str, SourceStream] = {}
        self._only = frozenset(self._specs) if only is None else only
        self._working_on = working_on
        self._starts = [phase.from_row for phase in phases]
        self._apportioner = resumed_apportioner(phases, state)
        self._ended = False
        self.exhausted: Exhausted | None = None

    def __iter__(self) -> Iterator[MixedRow]:
        """The stream itself."""
        return self

    def __next__(self) -> MixedRow:
        """Return the next row.

        Raises:
            DataError: If a source cannot return its row; names the source.
            ExhaustedError: If the source has read its `max_epochs` and may not end the run.
        """
        if self._ended:
            raise StopIteration
        index = self._apportioner.next_row
        while (name := next(self._apportioner)) not in self._only:
            index = self._apportioner.next_row
        self._working_on(name, "")
        try:
            row = next(self._stream(name), None)
        except LinlyError as error:
            raise _naming(name, error) from error
        if row is None:
            self._end(name, index)
            raise StopIteration
        return MixedRow(
            index=index,
            phase_from=_phase_of(self._starts, index),
            row=row,
            digest=row_digest(row),
        )

    def close(self) -> None:
        """End the stream; shards are closed when their readers are garbage-collected."""
        self._ended = True
        self._streams.clear()

    def _stream(self, name: str) -> SourceStream:
        if name not in self._streams:
            self._streams[name] = SourceStream(
                self._specs[name],
                self._tokenizer,
                self._cursors.get(name),
                reading=lambda shard: self._working_on(name, shard),
            )
        return self._streams[name]

    def _end(self, name: str, row: int) -> None:
        self.exhausted = self._streams[name].exhausted
        assert self.exhausted is not None
        self._ended = True
        if self.exhausted.on_exhausted == "error":
            raise ExhaustedError(
                f"{self.exhausted} that the curriculum plans for row {row}; lower its "
                f"share, raise max_epochs, add shards, or end the run there with "
                f"`on_exhausted: stop`"
            )


def resumed_apportioner(phases: Sequence[Phase], state: MixerState) -> Apportioner:
    """Schedule that resumes from a state."""
    begun = _phase_of([phase.from_row for phase in phases], state.row)
    counts = state.counts if state.phase_from == begun else {}
    return Apportioner(phases, counts, state.row)


def _phase_of(starts: Sequence[int], row: int) -> int:
    """First row of the phase that contains a row."""
    return max(start for start in starts if start <= row)


def _naming(source: str, error: LinlyError) -> LinlyError:
    if f"source {source!r}" in str(error):
        return error
    return type(error)(f"source {source!r}: {error}")
