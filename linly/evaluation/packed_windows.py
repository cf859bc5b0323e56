"""Windows of tokens packed into rows, and the negative log-likelihood of each one's targets.

Windows are packed into rows with positions that restart at 0, so that short ones cost little. The
packing does not depend on the number of ranks, and each row is computed on one rank, so the result
is the same to the bit for any number. A model that cannot separate the documents of a row gets one
window at a time, without padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from linly.data.types import IGNORE_LABEL
from linly.modeling.attention.separation import Way, forward_rows
from linly.training.engine.losses import target_nll
from linly.training.ranks.processes import Processes

Window = tuple[NDArray[np.int32], NDArray[np.int32]]
"""(ids, labels), each int32 [up to sequence_length], labels unshifted."""

_Row = tuple[NDArray[np.int64], ...]
"""(ids, labels, positions), each int64 [positions of the row]."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Location of a window: positions [start, end) of a row."""

    row: int
    start: int
    end: int


class PackedWindows:
    """Groups of windows in rows, each group in rows of its own; all ranks take part."""

    def __init__(
        self,
        groups: Sequence[Sequence[Window]],
        processes: Processes,
        *,
        sequence_length: int,
        batch_rows: int,
        way: Way | None,
    ) -> None:
        """Pack the windows of each group.

        Args:
            groups: Windows, none longer than `sequence_length`.
            processes: Processes of the run.
            sequence_length: Positions of a packed row.
            batch_rows: Packed rows per forward pass.
            way: Method by which the model separates the documents of a row; None if it cannot.
        """
        self._processes = processes
        self._way = way
        self._batch_rows = 1 if way is None else batch_rows
        self._rows: list[_Row] = []
        self._places: list[list[_Place]] = []
        for windows in groups:
            places = self._pack(windows, sequence_length) if way else self._lay_alone(windows)
            self._places.append(places)

    @property
    def num_positions(self) -> int:
        """Positions that one call of `nll` computes, over all ranks."""
        return sum(len(row[0]) for row in self._rows)

    def nll(self, model: PreTrainedModel) -> list[list[float]]:
        """Summed negative log-likelihood of each window's targets, in nats, by group.

        Args:
            model: Model in evaluation mode, without gradients; the same on all ranks.
        """
        found = np.zeros((len(self._rows), self._row_length()))
        for batch in range(self._processes.rank, self._num_batches(), self._processes.world_size):
            first = batch * self._batch_rows
            rows = self._rows[first : first + self._batch_rows]
            losses = self._batch_nll(model, rows)
            found[first : first + len(rows), 1 : 1 + losses.shape[1]] = losses
        sums = torch.tensor(
            [
                found[place.row, place.start : place.end].sum()
                for places in self._places
                for place in places
            ],
            dtype=torch.float64,
        )
        totals = iter(self._processes.sum(sums).tolist())  # the other ranks add 0
        return [[next(totals) for _ in places] for places in self._places]

    def _batch_nll(self, model: PreTrainedModel, rows: Sequence[_Row]) -> NDArray[np.float32]:
        ids, labels, positions = (
            torch.from_numpy(np.stack(column)).to(self._processes.device)
            for column in zip(*rows, strict=True)
        )
        logits = forward_rows(model, self._way or "positions", ids, positions).logits
        losses: NDArray[np.float32] = target_nll(logits, labels).cpu().numpy()
        return losses

    def _lay_alone(self, windows: Sequence[Window]) -> list[_Place]:
        """Put each window into a row of its own length, shortest first.

        In this order, a rotary embedding that grows with the longest position so far (`dynamic`)
        has the length of the current window.
        """
        places: dict[int, _Place] = {}
        for index in sorted(range(len(windows)), key=lambda i: len(windows[i][0])):
            ids, labels = (column.astype(np.int64) for column in windows[index])
            places[index] = _Place(len(self._rows), 0, len(ids))
            self._rows.append((ids, labels, np.arange(len(ids))))
        return [places[index] for index in range(len(places))]

    def _pack(self, windows: Sequence[Window], sequence_length: int) -> list[_Place]:
        """Pack windows, longest first, each into the first row with room."""
        places: dict[int, _Place] = {}
        room: list[int] = []
        base = len(self._rows)
        for index in sorted(range(len(windows)), key=lambda i: -len(windows[i][0])):
            ids, labels = windows[index]
            row = next((r for r, left in enumerate(room) if left >= len(ids)), len(room))
            if row == len(room):
                room.append(sequence_length)
                self._rows.append(_empty_row(sequence_length))
            start = sequence_length - room[row]
            end = start + len(ids)
            row_ids, row_labels, row_positions = self._rows[base + row]
            row_ids[start:end], row_labels[start:end] = ids, labels
            row_positions[start:end] = np.arange(len(ids))
            room[row] -= len(ids)
            places[index] = _Place(base + row, start, end)
        for row, left in enumerate(room):
            self._rows[base + row][2][sequence_length - left :] = np.arange(left)
        return [places[index] for index in range(len(places))]

    def _num_batches(self) -> int:
        return -(-len(self._rows) // self._batch_rows)

    def _row_length(self) -> int:
        return max((len(row[0]) for row in self._rows), default=1)


def _empty_row(length: int) -> _Row:
    """A row without windows."""
    return (
        np.zeros(length, np.int64),
        np.full(length, IGNORE_LABEL, np.int64),
        np.arange(length, dtype=np.int64),
    )
