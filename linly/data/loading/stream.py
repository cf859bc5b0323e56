"""Opens the global stream of rows: here, or in producer processes."""

from __future__ import annotations

from linly.data.loading.producer import ProducedRows, RowStream
from linly.data.mixing.state import MixerState
from linly.data.mixing.stream_plan import StreamPlan, make_mixer, stream_plan

__all__ = ["MixerState", "RowStream", "StreamPlan", "data_stream", "stream_plan"]


def data_stream(
    plan: StreamPlan,
    state: MixerState,
    *,
    producers: int,
    prefetch_rows: int,
    timeout_s: float,
) -> RowStream:
    """Open the stream from a state on; the rows are the same for any number of producers.

    Args:
        plan: Plan of the stream.
        state: State to resume from; not modified.
        producers: Number of processes that build rows, each for some sources, so at most one per
            source; 0 builds them in this process.
        prefetch_rows: Upper limit on the prefetched rows of all producers together.
        timeout_s: Longest wait for a row of another process, in seconds.
    """
    if producers == 0:
        return make_mixer(plan, state)
    return ProducedRows(
        plan,
        state,
        num_producers=producers,
        prefetch_rows=prefetch_rows,
        timeout_s=timeout_s,
    )
