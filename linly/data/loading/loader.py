"""The loader: global batches of the stream, with the rows that this rank computes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linly.config.sections.data_section import DataSettings
from linly.curriculum.apportion import Phase
from linly.curriculum.run_plan import Batch
from linly.data.loading.producer import RowStream
from linly.data.loading.ranks import rank_slice
from linly.data.loading.stream import StreamPlan, data_stream
from linly.data.mixing.mixed_row import MixedRow
from linly.data.mixing.source_stream import Exhausted
from linly.data.mixing.state import MixerState
from linly.data.types import Row
from linly.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows of one forward pass.

    Attributes:
        ids: Token ids, int64 [micro_batch, sequence_length].
        labels: int64 [micro_batch, sequence_length], unshifted, -100 where there is no loss.
        position_ids: Positions, int64 [micro_batch, sequence_length].
    """

    ids: Tensor
    labels: Tensor
    position_ids: Tensor


@dataclass(frozen=True, slots=True)
class StepBatch:
    """A global batch as seen by one rank.

    Attributes:
        step: Step number, from 1.
        rows: All rows of the global batch, the same on every rank.
        micro_batches: Rows of this rank, [r*G/W, (r+1)*G/W).
        wait_s: Seconds spent waiting for rows.
    """

    step: int
    rows: tuple[MixedRow, ...]
    micro_batches: tuple[MicroBatch, ...]
    wait_s: float


class Loader:
    """Steps of the global stream, from a state on, for one rank of any world size.

    Every rank builds the whole stream and keeps its slice, so ranks exchange nothing and end at
    the same step. The state is that of the last step returned by `next_step`; prefetched rows are
    built again after a resume.
    """

    def __init__(
        self,
        plan: StreamPlan,
        *,
        settings: DataSettings,
        micro_batch: int,
        world_size: int,
        rank: int,
        state: dict[str, Any] | None = None,
    ) -> None:
        """Open the stream; the producers start immediately.

        Raises:
            ConfigError: If the global batch cannot be split among this many ranks.
            CheckpointError: If the state belongs to another stream.
        """
        self._plan = plan
        self._settings = settings
        self._micro_batch = micro_batch
        batch = Batch(settings.global_batch, micro_batch)
        self._slice = rank_slice(batch, world_size=world_size, rank=rank)
        self._state = plan.new_state()
        self._stream: RowStream | None = None
        self._left_over: tuple[MixedRow, ...] = ()
        if state is not None:
            self.load_state_dict(state)

    @property
    def exhausted(self) -> Exhausted | None:
        """The source that ended the stream before its last row, if one did."""
        return self._stream.exhausted if self._stream is not None else None

    @property
    def left_over(self) -> tuple[MixedRow, ...]:
        """Rows at the end of the stream that do not fill a step."""
        return self._left_over

    @property
    def state(self) -> MixerState:
        """State after the last step returned; read-only."""
        return self._state

    def state_dict(self) -> dict[str, Any]:
        """State after the last step returned, as JSON, the same on every rank."""
        return self._state.to_json()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state; an open stream is closed.

        Raises:
            CheckpointError: If the state belongs to another stream or is within a step.
        """
        self.close()
        self._stream = None
        restored = MixerState.from_json(state, self._plan.identity)
        if restored.row % self._settings.global_batch:
            raise CheckpointError(
                f"the state is at row {restored.row}, in the middle of a global batch of "
                f"{self._settings.global_batch} rows; training can resume only at a step boundary"
            )
        self._state = restored

    def next_step(self, phases: tuple[Phase, ...]) -> StepBatch | None:
        """Return the next whole global batch; None at the end of the stream.

        Args:
            phases: Phases of the run, the same as before up to the state. If they have changed,
                prefetched rows are built again.

        Raises:
            DataError: If a source cannot return its row, or the producer died or hangs.
        """
        global_batch = self._settings.global_batch
        began = time.perf_counter()
        rows = tuple(islice(self._opened(phases), global_batch))
        wait_s = time.perf_counter() - began
        if len(rows) < global_batch:
            self._left_over = rows
            return None
        for row in rows:
            self._state.advance(row)
        return StepBatch(
            step=self._state.row // global_batch,
            rows=rows,
            micro_batches=self._micro_batches(rows[self._slice]),
            wait_s=wait_s,
        )

    def _opened(self, phases: tuple[Phase, ...]) -> RowStream:
        """The stream of these phases, opened at the state if it is not open."""
        if self._plan.phases is not phases:
            self.close()
            self._stream = None
            self._plan = replace(self._plan, phases=phases)
        if self._stream is None:
            self._stream = data_stream(
                self._plan,
                self._state,
                producers=self._settings.producers,
                prefetch_rows=self._settings.prefetch_rows,
                timeout_s=self._settings.timeout_s,
            )
        return self._stream

    def close(self) -> None:
        """End the producer processes."""
        if self._stream is not None:
            self._stream.close()

    def __enter__(self) -> Loader:
        """Return the loader, to be closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _micro_batches(self, rows: tuple[MixedRow, ...]) -> tuple[MicroBatch, ...]:
        size = self._micro_batch
        return tuple(
            self._micro_batch_of([mixed.row for mixed in rows[first : first + size]])
            for first in range(0, len(rows), size)
        )

    def _micro_batch_of(self, rows: list[Row]) -> MicroBatch:
        by_document = self._settings.attention == "document"
        return MicroBatch(
            ids=_tensor([row.ids for row in rows]),
            labels=_tensor([row.labels for row in rows]),
            position_ids=_tensor(
                [position_ids(row) if by_document else np.arange(len(row.ids)) for row in rows]
            ),
        )


def position_ids(row: Row) -> NDArray[np.int64]:
    """Positions that restart at each document and where the padding begins: int64 [n].

    Attention is limited to documents by these positions only (transformers derives the mask from
    the restarts), so padding must restart too: otherwise it would be part of the last document.
    """
    length = len(row.ids)
    starts = row.starts.astype(np.int64)
    if row.num_padding:
        starts = np.append(starts, length - row.num_padding)
    lengths = np.diff(starts, append=length)
    return np.arange(length, dtype=np.int64) - np.repeat(starts, lengths)


def _tensor(arrays: Sequence[NDArray[Any]]) -> Tensor:
    return torch.from_numpy(np.stack(arrays).astype(np.int64))
