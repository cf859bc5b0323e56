"""TensorBoard curves of a run, with planned and realized shares in one chart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from linly.runs.runs import RunFolder

_TARGET = re.compile(r"share/(.+)/target")


class TensorBoardLog:
    """Writes a run's `tensorboard/`.

    A resumed run purges points after the checkpoint, so that its curves do not overlap.
    """

    def __init__(self, run: RunFolder, *, resumed_step: int) -> None:
        """Open the log of a run.

        Args:
            run: Folder of the run.
            resumed_step: Step of the checkpoint, 0 at a fresh start; later points are purged.
        """
        self._folder = str(run.path / "tensorboard")
        self._writer = SummaryWriter(self._folder, purge_step=resumed_step + 1, max_queue=1000)
        self._has_layout = False

    @property
    def place(self) -> str:
        """Folder for `tensorboard --logdir`."""
        return self._folder

    def add(self, scalars: Mapping[str, float], *, step: int) -> None:
        """See `Tracker`."""
        if not self._has_layout and (layout := _layout(scalars)):
            self._writer.add_custom_scalars(layout)
            self._has_layout = True
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, step)

    def close(self) -> None:
        """See `Tracker`."""
        self._writer.close()


def _layout(tags: Iterable[str]) -> dict[str, dict[str, list[Any]]]:
    """Chart layout: target and realized share per source, all losses in one; tags are patterns."""
    sources = sorted(match[1] for tag in tags if (match := _TARGET.fullmatch(tag)))
    if not sources:
        return {}
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
