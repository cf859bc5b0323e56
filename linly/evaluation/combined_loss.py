"""One held-out loss over all sources: at fixed shares, and at the current planned shares.

The training loss moves with the mixture: when the share of a harder source grows, the loss rises
although the model improves on every source. Held-out losses are therefore averaged twice. The fixed
shares are the final shares of the run's first curriculum, so that loss changes only with the model.
The current planned shares give the expected loss of the mixture at this step. An amendment changes
only the second. Sources without held-out documents are left out of both, and the shares of the
others are normalized to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from linly.curriculum.mixture import Mixture
from linly.curriculum.timeline import Timeline
from linly.records.evaluation_record import SourceEvaluation


class CombinedLosses(NamedTuple):
    """Loss of all sources in nats per token, averaged twice; None without held-out sources."""

    at_fixed_shares: float | None
    at_current_shares: float | None


def combined_losses(
    sources: Mapping[str, SourceEvaluation], timeline: Timeline, *, next_row: int
) -> CombinedLosses:
    """Compute the combined losses of an evaluation.

    Args:
        sources: `sources` of the evaluation record.
        timeline: Timeline of the run.
        next_row: Row of the global stream at which the run continues.
    """
    first = timeline.curricula[0]
    num_rows = first.tokens // timeline.sequence_length
    start = Mixture.from_curriculum(first, num_rows=num_rows)
    row = min(next_row, timeline.num_rows - 1)
    current = timeline.phase_at(row).mixture
    return CombinedLosses(
        at_fixed_shares=_joint_loss(sources, shares_at(start, num_rows)),
        at_current_shares=_joint_loss(sources, shares_at(current, row)),
    )


def shares_at(mixture: Mixture, row: int) -> dict[str, float]:
    """Planned share of each source at a row."""
    return dict(zip(mixture.sources, mixture.shares([row])[0].tolist(), strict=True))


def _joint_loss(
    sources: Mapping[str, SourceEvaluation], shares: Mapping[str, float]
) -> float | None:
    """Mean loss of the held-out sources at these shares, which are normalized to 1."""
    losses = {name: found.loss for name, found in sources.items() if found.loss is not None}
    held_out = {name: share for name, share in shares.items() if name in losses}
    total = sum(held_out.values())
    if not total:
        return None
    return float(sum(share * losses[name] for name, share in held_out.items()) / total)
