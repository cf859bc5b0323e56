"""Share and integral of every source at every row: group ratio times share in the group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from linly.config.curriculum import Curriculum
from linly.config.shapes import Floats, Linear
from linly.curriculum.curves import CurveFunction
from linly.curriculum.extrema import Extreme, extremes
from linly.curriculum.guarded import RaisedCurve, Ratio
from linly.curriculum.wording import amount, percent
from linly.errors import ConfigError

Rows = NDArray[np.int64] | NDArray[np.float64] | Sequence[float]

TOLERANCE = 1e-9
"""Distance from 100% that rounding in the file may cause; ratios are rescaled to remove it."""


class Mixture:
    """The planned mixture of a whole run.

    All sums run over sorted names, so the order of groups and sources in a file has no effect.

    Attributes:
        sources: All sources, sorted by name; the columns of every array here.
        groups: Sources of each group, both sorted.
        num_rows: Rows of the run; u = row / num_rows.
    """

    def __init__(
        self,
        ratios: Mapping[str, Ratio | None],
        shares: Mapping[str, Mapping[str, float]],
        *,
        num_rows: int,
    ) -> None:
        """Combine ratios and shares; `from_curriculum` also checks that the ratios add up.

        Args:
            ratios: Curve of each group, None for the group that takes the rest.
            shares: Share of each source in its group, by group; rescaled to add up to 1 exactly.
            num_rows: Rows of the run, at least 1.
        """
        self.groups = {group: tuple(sorted(shares[group])) for group in sorted(ratios)}
        self.sources = tuple(sorted(name for names in self.groups.values() for name in names))
        self.num_rows = num_rows
        self._ratios = tuple(ratios[group] for group in self.groups)
        group_of = {
            source: index for index, names in enumerate(self.groups.values()) for source in names
        }
        weights: dict[str, float] = {}
        for group, names in self.groups.items():
            total = sum(shares[group][name] for name in names)
            weights |= {name: shares[group][name] / total for name in names}
        self._group_index = np.array([group_of[source] for source in self.sources])
        self._weights: Floats = np.array([weights[source] for source in self.sources])

    @classmethod
    def from_curriculum(
        cls, curriculum: Curriculum, *, num_rows: int, levels: Mapping[str, int] | None = None
    ) -> Mixture:
        """The mixture of a curriculum over `num_rows` rows.

        Args:
            curriculum: Curriculum with the curves and shares.
            num_rows: Rows of the whole run.
            levels: Number of guard steps by which each guarded group is raised; 0 where missing.

        Raises:
            ConfigError: If the run has no row, or if somewhere in the run the ratios add up to more
                than 100% (also with every guard at its cap), or to less where no group takes the
                rest; names the position.
        """
        if num_rows < 1:
            raise ConfigError(
                f"curriculum {curriculum.name}: tokens: {curriculum.tokens} tokens do not fill "
                "one row: raise tokens or lower data.sequence_length"
            )
        ratios: dict[str, CurveFunction | None] = {}
        for group, settings in curriculum.mixture.items():
            ratios[group] = None
            if settings.ratio is not None:
                try:
                    ratios[group] = CurveFunction.from_curve(settings.ratio, curriculum.tokens)
                except ConfigError as error:
                    where = f"curriculum {curriculum.name}: mixture.{group}.ratio"
                    raise ConfigError(f"{where}: {error}") from None
        _check_sums(curriculum, ratios)
        raised: dict[str, Ratio | None] = {**ratios}
        for group, guard in curriculum.guards.items():
            level, ratio = (levels or {}).get(group, 0), ratios[group]
            assert 0 <= level <= guard.steps and ratio is not None, (group, level)
            if level:
                raised[group] = RaisedCurve(ratio, guard.cap, level / guard.steps)
        shares = {
            group: {name: source.share for name, source in settings.sources.items()}
            for group, settings in curriculum.mixture.items()
        }
        return cls(raised, shares, num_rows=num_rows)

    def shares(self, rows: Rows) -> Floats:
        """Planned share of each source at the start of each row.

        Args:
            rows: Rows, int or float [n], counted from the start of the run.

        Returns:
            float64 [n, k], each line adding up to 1.
        """
        u = self._positions(rows)
        curves = [None if ratio is None else ratio.value(u) for ratio in self._ratios]
        return self._spread(curves, np.ones_like(u))

    def share(self, source: str, row: float) -> float:
        """Planned share of one source at one row."""
        return float(self.shares(np.array([row]))[0, self.sources.index(source)])

    def integral(self, rows: Rows) -> Floats:
        """Planned number of rows of each source before each row.

        Args:
            rows: Rows, int or float [n], counted from the start of the run.

        Returns:
            float64 [n, k] in rows; each line adds up to its row.
        """
        u = self._positions(rows)
        curves = [None if ratio is None else ratio.integral(u) for ratio in self._ratios]
        return self._spread(curves, u) * self.num_rows

    def _positions(self, rows: Rows) -> Floats:
        """Rows as fractions of the run."""
        return np.asarray(rows, dtype=np.float64) / self.num_rows

    def _spread(self, curves: Sequence[Floats | None], total: Floats) -> Floats:
        """Assign the rest to its group, scale each line to `total`, and split among sources."""
        by_group = np.empty((len(total), len(curves)))
        given = np.zeros_like(total)
        rest = None
        for index, curve in enumerate(curves):
            if curve is None:
                rest = index
            else:
                by_group[:, index] = curve
                given += curve
        if rest is not None:
            by_group[:, rest] = np.maximum(total - given, 0.0)
        else:
            by_group *= np.divide(total, given, out=np.ones_like(total), where=given > 0)[:, None]
        return by_group[:, self._group_index] * self._weights


def _check_sums(curriculum: Curriculum, ratios: Mapping[str, CurveFunction | None]) -> None:
    """Reject ratios with a negative rest, or that miss 100% where no group takes the rest."""
    given = {group: ratio for group, ratio in sorted(ratios.items()) if ratio is not None}
    rest = sorted(set(ratios) - set(given))
    if not given:
        return
    lowest, highest = extremes(list(given.values()))
    if highest.value > 1.0 + TOLERANCE:
        advice = (
            f"at most 100% can be given (group {rest[0]} takes the rest): lower a ratio there"
            if rest
            else "they must add up to 100% at every point: lower a ratio there"
        )
        raise ConfigError(_sum_text(curriculum, tuple(given), highest, advice))
    if not rest and lowest.value < 1.0 - TOLERANCE:
        advice = (
            "they must add up to 100% at every point: raise a ratio there, or let one group "
            "take what is left with `ratio: rest`"
        )
        raise ConfigError(_sum_text(curriculum, tuple(given), lowest, advice))
    for groups, capped in _with_caps(curriculum, given):
        _, highest = extremes(list(capped.values()))
        if highest.value > 1.0 + TOLERANCE:
            advice = (
                f"guards may raise {', '.join(groups)} to the cap; at most 100% can be given "
                f"(group {rest[0]} takes the rest): lower a cap, or a ratio there"
            )
            raise ConfigError(_sum_text(curriculum, tuple(given), highest, advice))


def _with_caps(
    curriculum: Curriculum, given: Mapping[str, CurveFunction]
) -> Iterator[tuple[tuple[str, ...], dict[str, CurveFunction]]]:
    """Every choice of guarded groups, with their caps replacing their curves.

    A raised ratio is at most the higher of curve and cap, so the sum of all ratios is at most the
    highest of these sums.
    """
    caps = {group: guard.cap for group, guard in curriculum.guards.items()}
    for size in range(1, len(caps) + 1):
        for groups in combinations(caps, size):
            level = {group: CurveFunction([0.0], [caps[group]], Linear()) for group in groups}
            yield groups, {**given, **level}


def _sum_text(
    curriculum: Curriculum,
    given: Sequence[str],
    extreme: Extreme,
    advice: str,
) -> str:
    """Say where the sum is wrong, its value, and its parts."""
    position = extreme.position
    parts = zip(given, extreme.parts, strict=True)
    total = percent(extreme.value)
    if total == "100%":  # a miss too small for four digits
        total = percent(extreme.value, digits=12)
    return (
        f"curriculum {curriculum.name}: mixture: the ratios add up to {total} at "
        f"{percent(position)} of the run ({amount(position * curriculum.tokens)} tokens): "
        f"{' + '.join(f'{group} {percent(part)}' for group, part in parts)}; {advice}"
    )
