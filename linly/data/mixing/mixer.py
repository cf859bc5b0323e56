"""The mixer: joins the rows of all sources into the one global stream that every rank makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from linly.curriculum.apportion import Apportioner, Segment
from linly.data.mixing.mixed_row import MixedRow, row_digest
from linly.data.mixing.sources import Exhausted, SourceSpec, SourceStream
from linly.data.mixing.state import MixerState
from linly.errors import ExhaustedError, LinlyError
from linly.tokenization.tokenizer import Tokenizer


class Mixer:
    """The global stream from a state on, made where it is iterated.

    It ends with the run's last row, or before the row of a source that is exhausted and says
    `on_exhausted: stop`; `exhausted` then tells which.
    """

    def __init__(
        self,
        *,
        segments: tuple[Segment, ...],
        sources: tuple[SourceSpec, ...],
        tokenizer: Tokenizer,
        state: MixerState,
        only: frozenset[str] | None = None,
        working_on: Callable[[str, str], None] = lambda source, shard: None,
    ) -> None:
        """Go on at `state`, which is left as it is.

        Args:
            segments: The run's curricula, each from its first row.
            sources: All sources that the segments name.
            tokenizer: Of the run.
            state: Where to go on.
            only: Sources whose rows to make; the rows of others are passed over. None makes all.
            working_on: Told the source, and the shard or "", before each piece of work.
        """
        self._specs = {spec.name: spec for spec in sources}
        self._tokenizer = tokenizer
        self._cursors = dict(state.cursors)
        self._streams: dict[str, SourceStream] = {}
        self._only = frozenset(self._specs) if only is None else only
        self._working_on = working_on
        self._starts = [segment.from_row for segment in segments]
        self._apportioner = resumed_apportioner(segments, state)
        self._ended = False
        self.exhausted: Exhausted | None = None

    def __iter__(self) -> Iterator[MixedRow]:
        """The stream itself."""
        return self

    def __next__(self) -> MixedRow:
        """The next row.

        Raises:
            DataError: A source cannot give its row; names the source.
            ExhaustedError: It has read its `max_epochs` and may not end the run.
        """
        if self._ended:
            raise StopIteration
        index = self._apportioner.next_row
        while (name := next(self._apportioner)) not in self._only:
            index = self._apportioner.next_row
        self._working_on(name, "")
        try:
            sourced = next(self._stream(name), None)
        except LinlyError as error:
            raise _naming(name, error) from error
        if sourced is None:
            self._end(name, index)
            raise StopIteration
        return MixedRow(
            index=index,
            segment_from=_segment_of(self._starts, index),
            row=sourced.row,
            cursor=sourced.cursor,
            bad=sourced.bad,
            digest=row_digest(sourced.row),
        )

    def close(self) -> None:
        """End the stream here; shards are closed as what reads them is collected."""
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


def resumed_apportioner(segments: Sequence[Segment], state: MixerState) -> Apportioner:
    """The schedule from a state on."""
    begun = _segment_of([segment.from_row for segment in segments], state.row)
    counts = state.counts if state.segment_from == begun else {}
    return Apportioner(segments, counts, state.row)


def _segment_of(starts: Sequence[int], row: int) -> int:
    """First row of the segment that a row lies in."""
    return max(start for start in starts if start <= row)


def _naming(source: str, error: LinlyError) -> LinlyError:
    if f"source {source!r}" in str(error):
        return error
    return type(error)(f"source {source!r}: {error}")
