"""Measuring alternatives side by side, on a machine that others may use at the same time."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure from several rounds.

    Attributes:
        values: One a round, in order.
    """

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def over(self, other: Measured) -> Measured:
        """The ratio in each round: both were taken under the same load, as near as can be."""
        return Measured(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def show(self, form: str) -> str:
        """`median (smallest-largest)`, each as `form` says."""
        low, high = (format(value, form) for value in (min(self.values), max(self.values)))
        return f"{self.median:{form}} ({low}-{high})"


def side_by_side(
    alternatives: Mapping[str, Callable[[], float]], *, rounds: int
) -> dict[str, Measured]:
    """Take the figure of each alternative in turn (A B A B ...), `rounds` times."""
    values: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(rounds):
        for name, take in alternatives.items():
            values[name].append(take())
    return {name: Measured(tuple(figures)) for name, figures in values.items()}


def table_row(what: str, figures: str, ratio: Measured, *, target: str, met: bool) -> str:
    """A row for the table of docs/performance.md; what is below its target says so."""
    shown = f"{ratio.show('.2f')}{'' if met else ' **below target**'}"
    return f"| {what} | {figures} | {target} | {shown} |"
