"""Forecast per source from a checkpoint: shares, remaining rows, epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from linly.curriculum.apportion import Apportioner
from linly.curriculum.timeline import Timeline
from linly.curriculum.wording import amount
from linly.errors import ConfigError
from linly.training.changes.run_at_checkpoint import RunAtCheckpoint


@dataclass(frozen=True, slots=True)
class SourceForecast:
    """Forecast for one source under a curriculum.

    Attributes:
        shares: Share now, half-way to the end, and at the end.
        rows: Remaining rows.
        epochs: Epochs read by the end of the run; None if the size of its data is unknown.
    """

    shares: tuple[float, float, float]
    rows: int
    epochs: float | None


def source_forecasts(
    at: RunAtCheckpoint, after: Timeline, capacities: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[SourceForecast | None, SourceForecast | None]]:
    """Forecast of each source before and after an amendment; None if it is not in the curriculum.

    Raises:
        ConfigError: If a source would be read more often than its `max_epochs`.
    """
    old = rows_to_come(at, at.timeline, at.counts)
    new = rows_to_come(at, after, {})
    names = sorted(at.timeline.curriculum.sources.keys() | after.curriculum.sources.keys())
    length = at.recipe.data.sequence_length
    found, problems = {}, []
    for name in names:
        done = at.rows.get(name, 0) * length
        so_far, ahead = capacities.get(name, (0, 0))
        before = now = None
        if name in at.timeline.curriculum.sources:
            epochs = (done + old[name] * length) / so_far if so_far else None
            before = SourceForecast(_shares(at, at.timeline, name), old[name], epochs)
        if name in after.curriculum.sources:
            share = after.curriculum.sources[name][1]
            planned = new[name] * length
            if not so_far or not ahead:
                epochs = math.inf if planned else 0.0
            else:
                epochs = done / so_far + planned / ahead
            now = SourceForecast(_shares(at, after, name), new[name], epochs)
            if epochs > share.max_epochs and (share.on_exhausted == "error" or math.isinf(epochs)):
                problems.append(
                    f"curriculum {after.curriculum.name}: source {name}: {epochs:.2f} epochs "
                    f"({amount(done)} tokens read, {amount(planned)} to come, {amount(ahead)} in "
                    f"an epoch), allowed: {share.max_epochs:g} (max_epochs): lower its share, "
                    f"raise max_epochs, --relist it, or end the run there with on_exhausted: stop"
                )
        found[name] = (before, now)
    if problems:
        raise ConfigError("\n".join(problems))
    return found


def rows_to_come(
    at: RunAtCheckpoint, timeline: Timeline, counts: Mapping[str, int]
) -> dict[str, int]:
    """Rows of each source from here to the end of the last complete step."""
    batch = at.recipe.data.global_batch
    schedule = Apportioner(timeline.phases, counts, at.row)
    made = schedule.advance(timeline.end_row // batch * batch - at.row)
    return {name: made.get(name, 0) for name in timeline.curriculum.sources}


def _shares(at: RunAtCheckpoint, timeline: Timeline, source: str) -> tuple[float, float, float]:
    mixture, end = timeline.phases[-1].mixture, timeline.end_row
    now, middle, last = (mixture.share(source, row) for row in (at.row, (at.row + end) / 2, end))
    return now, middle, last
