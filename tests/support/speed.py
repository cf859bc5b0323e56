"""Measuring alternatives side by side, on a machine that others may use at the same time."""

from __future__ import annotations

import math
import statistics
import time
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


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor time of this process: what else runs on the machine does not count."""
    began = time.process_time()
    work()
    return time.process_time() - began


def wall_seconds(work: Callable[[], object]) -> float:
    """Time by the clock."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def table_row(what: str, figures: str, ratio: Measured, target: Target) -> str:
    """A row for the table of docs/performance.md; what misses its target says so."""
    verdict = "" if target.met(ratio.median) else " **missed**"
    return f"| {what} | {figures} | {target} | {ratio.show('.2f')}{verdict} |"


@dataclass(frozen=True, slots=True)
class Target:
    """What a ratio should be: within [least, most]."""

    least: float = 0.0
    most: float = math.inf

    def met(self, ratio: float) -> bool:
        """Whether a ratio lies within."""
        return self.least <= ratio <= self.most

    def __str__(self) -> str:
        """For people."""
        if math.isinf(self.most):
            return f"at least {self.least:g}" if self.least else "none"
        return f"{self.least:g} to {self.most:g}" if self.least else f"at most {self.most:g}"
