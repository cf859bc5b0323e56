"""One held-out loss over all sources: at shares that stay, and at the shares of the moment.

The loss of the training mixture moves with the mixture: when a share of a harder source grows, it
rises though the model got better everywhere. So held-out losses are joined twice. At fixed shares,
those that the curriculum of the run's start has at its end, the number changes with the model
alone; at the current planned shares it is what the mixture of this step would cost. An amendment
changes the second and not the first. Sources without held-out documents are left out of both, the
shares of the others add up to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linly.curriculum.decisions import Course, segment_at
from linly.curriculum.mixture import Mixture


def combined_losses(
    sources: Mapping[str, Mapping[str, Any]], course: Course, *, next_row: int
) -> dict[str, float | None]:
    """What an evaluation's line says of all sources together, in nats a token.

    Args:
        sources: `sources` of the line.
        course: Of the run.
        next_row: The row that the run goes on with.
    """
    first = course.curricula[0]
    num_rows = first.tokens // course.sequence_length
    start = Mixture.from_curriculum(first, num_rows=num_rows)
    row = min(next_row, course.num_rows - 1)
    return {
        "loss_at_fixed_shares": _joined(sources, shares_at(start, num_rows)),
        "loss_at_current_shares": _joined(
            sources, shares_at(segment_at(course.segments, row).mixture, row)
        ),
    }


def shares_at(mixture: Mixture, row: int) -> dict[str, float]:
    """Planned share of each source at a row."""
    return dict(zip(mixture.sources, mixture.shares([row])[0].tolist(), strict=True))


def _joined(sources: Mapping[str, Mapping[str, Any]], shares: Mapping[str, float]) -> float | None:
    held_out = {name: share for name, share in shares.items() if name in sources}
    total = sum(held_out.values())
    if not total:
        return None
    return float(sum(share * sources[name]["loss"] for name, share in held_out.items()) / total)
