"""The same figures as metrics.jsonl for TensorBoard, planned and realized share side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from linly.runs import RunFolder

_SCALARS = ("loss", "lr", "grad_norm", "tokens_per_second", "data_wait_fraction", "mfu")


class TensorBoardLog:
    """Writes a run's `tensorboard/`; only the first rank has one.

    A resumed run tells TensorBoard to forget what came after the checkpoint, so that its curves
    do not run back over themselves.
    """

    def __init__(self, run: RunFolder, *, resumed_step: int) -> None:
        """Open the log of a run.

        Args:
            run: Its folder.
            resumed_step: The last step that counts, 0 at a fresh start; points after it are
                forgotten.
        """
        self._writer = SummaryWriter(
            str(run.path / "tensorboard"), purge_step=resumed_step + 1, max_queue=1000
        )
        self._has_layout = False

    def step(self, metrics: Mapping[str, Any]) -> None:
        """Add a step: a record as it goes to metrics.jsonl. Values that are None are left out."""
        if not self._has_layout:
            layout = _layout(sorted(metrics["target_share_by_source"]))
            self._writer.add_custom_scalars(layout)
            self._has_layout = True
        for tag, value in _step_scalars(metrics):
            self._add(tag, value, metrics["step"])

    def evaluation(self, record: Mapping[str, Any]) -> None:
        """Add an evaluation: a record as it goes to evaluations.jsonl."""
        for source, figures in record["sources"].items():
            self._add(f"bits_per_byte/{source}", figures["bits_per_byte"], record["step"])
            self._add(f"held_out_loss/{source}", figures["loss"], record["step"])

    def flush(self) -> None:
        """Bring what was added to the file; call it at every checkpoint."""
        self._writer.flush()

    def close(self) -> None:
        """Write what is left and close."""
        self._writer.close()

    def __enter__(self) -> TensorBoardLog:
        """Nothing more to do: the log is open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, also when training failed: the last steps are the ones wanted then."""
        self.close()

    def _add(self, tag: str, value: float | None, step: int) -> None:
        if value is not None:
            self._writer.add_scalar(tag, value, step)


def _step_scalars(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    for name in _SCALARS:
        yield name, metrics.get(name)
    yield "tokens_seen", metrics["tokens_seen"]
    for source, loss in metrics["loss_by_source"].items():
        yield f"loss/{source}", loss
    for source, share in metrics["target_share_by_source"].items():
        yield f"share/{source}/target", share
    for source, share in metrics["realized_share_by_source"].items():
        yield f"share/{source}/realized", share
    for source, rows in metrics["drift_rows_by_source"].items():
        yield f"drift_rows/{source}", rows
    yield "drift_rows_largest", _largest(metrics["drift_rows_by_source"].values())


def _largest(drifts: Iterable[float]) -> float | None:
    return max((abs(drift) for drift in drifts), default=None)


def _layout(sources: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    """A chart a source, target against realized; and all losses in one. Tags are patterns."""
    shares = {
        source: ["Multiline", [f"^share/{re.escape(source)}/(target|realized)$"]]
        for source in sources
    }
    losses = {
        "training loss": ["Multiline", ["^loss/"]],
        "held-out bits per byte": ["Multiline", ["^bits_per_byte/"]],
        "drift in rows": ["Multiline", ["^drift_rows/"]],
    }
    return {"target and realized share": shares, "all sources": losses}
