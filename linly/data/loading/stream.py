"""Opens the global stream of rows: here, or in producer processes."""

from __future__ import annotations

from linly.data.loading.producer import ProducedRows, RowStream
from linly.data.mixing.spec import StreamPlan, make_mixer, stream_plan
from linly.data.mixing.state import MixerState

__all__ = ["MixerState", "RowStream", "StreamPlan", "data_stream", "stream_plan"]


def data_stream(
    plan: StreamPlan,
    state: MixerState,
    *,
    producers: int,
    prefetch_rows: int,
    timeout_s: float,
) -> RowStream:
    """The stream from a state on; the rows are the same for any number of producers.

    Args:
        plan: Of the stream.
        state: Where to go on; left as it is.
        producers: Processes that make rows, each of some sources, so at most one a source; 0
            makes them in this process.
        prefetch_rows: Rows made ahead, at most, by all producers together.
        timeout_s: Longest wait for a row of another process.
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
