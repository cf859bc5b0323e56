"""Learning rate as a function of the step, with its integral, and the share of it each source has.

It is a pure function of the step, so a resumed run, or one with skipped steps, needs no state. A
schedule is a list of pieces that meet: the warmup, and what `_pieces` puts after it. A new schedule
is a name in `ScheduleName` (`config/sections/schedule_setting.py`) and a case there; a type checker
refuses a name without a case.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from linly.config.recipe import Recipe
from linly.config.sections.schedule_setting import DecayForm, ScheduleSettings
from linly.config.shapes import Floats
from linly.curriculum.mixture import Mixture

_MAX_BINS = 4096


@dataclass(frozen=True, slots=True)
class Piece(ABC):
    """Learning rate over the steps from `start` (exclusive) to `end`; both may lie within a step.

    Attributes:
        start: Step at which the piece begins.
        end: Step at which it ends.
        peak: Rate that the piece scales.
    """

    start: float
    end: float
    peak: float

    @abstractmethod
    def rate(self, step: float) -> float:
        """Rate at a step."""

    @abstractmethod
    def area(self, step: float) -> float:
        """Integral from `start` to a step, in closed form."""


class Rise(Piece):
    """Straight line from 0 up to `peak`."""

    def rate(self, step: float) -> float:
        """See `Piece`."""
        return self.peak * (step - self.start) / (self.end - self.start)

    def area(self, step: float) -> float:
        """See `Piece`."""
        return 0.5 * self.rate(step) * (step - self.start)


class Hold(Piece):
    """`peak` throughout."""

    def rate(self, step: float) -> float:
        """See `Piece`."""
        return self.peak

    def area(self, step: float) -> float:
        """See `Piece`."""
        return self.peak * (step - self.start)


@dataclass(frozen=True, slots=True)
class Fall(Piece):
    """Decay from `peak` to `final` times `peak`.

    Attributes:
        final: Fraction of `peak` at the end.
        form: Form of the decay; `1-sqrt` falls fastest at first (arXiv 2405.18392).
    """

    final: float
    form: DecayForm

    def rate(self, step: float) -> float:
        """See `Piece`."""
        left = _remaining(self.form, (step - self.start) / (self.end - self.start))
        return self.peak * (self.final + (1 - self.final) * left)

    def area(self, step: float) -> float:
        """See `Piece`."""
        length = self.end - self.start
        t = (step - self.start) / length
        left = _remaining_area(self.form, t)
        return self.peak * length * (self.final * t + (1 - self.final) * left)


@dataclass(frozen=True, slots=True)
class InverseRoot(Piece):
    """`peak` times the root of `scale` / step (arXiv 1706.03762).

    Attributes:
        scale: Step at which the rate is `peak`.
    """

    scale: float

    def rate(self, step: float) -> float:
        """See `Piece`."""
        return self.peak * math.sqrt(self.scale / step)

    def area(self, step: float) -> float:
        """See `Piece`."""
        roots = math.sqrt(step) - math.sqrt(self.start)
        return 2 * self.peak * math.sqrt(self.scale) * roots


def _remaining(form: DecayForm, t: float) -> float:
    """What a decay from 1 to 0 has left at t in [0, 1]."""
    match form:
        case "linear":
            return 1 - t
        case "cosine":
            return (1 + math.cos(math.pi * t)) / 2
        case "1-sqrt":
            return 1 - math.sqrt(t)


def _remaining_area(form: DecayForm, t: float) -> float:
    """Integral of `_remaining` from 0 to t."""
    match form:
        case "linear":
            return t - t * t / 2
        case "cosine":
            return t / 2 + math.sin(math.pi * t) / (2 * math.pi)
        case "1-sqrt":
            return t - 2 / 3 * t * math.sqrt(t)


@dataclass(frozen=True, slots=True)
class LearningRate:
    """Learning rate of a run: pieces from step 0 to the last step, each beginning where one ends.

    Attributes:
        pieces: Pieces in order; none is empty.
        stable_steps: (first, last) steps at which the rate does not depend on the run's length,
            so that a decay may begin there; None if it falls toward the run's end throughout.
    """

    pieces: tuple[Piece, ...]
    stable_steps: tuple[int, int] | None

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> LearningRate:
        """The learning rate of a recipe's run."""
        return cls.from_settings(
            recipe.training, num_steps=recipe.curriculum_steps, step_tokens=recipe.step_tokens
        )

    @classmethod
    def from_settings(
        cls, settings: ScheduleSettings, *, num_steps: int, step_tokens: int
    ) -> LearningRate:
        """The learning rate of some settings.

        Args:
            settings: Schedule and its parameters.
            num_steps: Steps of the run's curriculum.
            step_tokens: Tokens of a step.
        """
        warmup_steps = settings.warmup_steps(num_steps)
        first, *rest = _pieces(settings, num_steps=num_steps, step_tokens=step_tokens)
        stable = None
        if settings.schedule not in ("cosine", "linear"):
            stable = (warmup_steps, round(first.end))
        annealing = settings.annealing
        if annealing is not None:
            start = annealing.from_step
            decay = Fall(
                start,
                annealing.last_step(step_tokens),
                first.rate(start) if start > first.start else first.peak,
                settings.final_lr,
                settings.decay_form,
            )
            first, rest, stable = _until(first, start), [decay], (warmup_steps, start)
        warmup = Rise(0, warmup_steps, settings.lr)
        pieces = (piece for piece in (warmup, first, *rest) if piece.end > piece.start)
        return cls(tuple(pieces), stable)

    @property
    def num_steps(self) -> int:
        """Last step."""
        return round(self.pieces[-1].end)

    def at(self, step: float) -> float:
        """Learning rate of a step, counted from 1; the last one's after the end."""
        step = min(step, self.pieces[-1].end)
        return self._piece(step).rate(step)

    def integral(self, step: float) -> float:
        """Integral of the rate from step 0 to `step`."""
        last = self.pieces[-1]
        after = max(0.0, step - last.end) * last.rate(last.end)
        inside = min(step, last.end)
        here = self._piece(inside)
        before = (piece.area(piece.end) for piece in self.pieces if piece.end <= here.start)
        return math.fsum((*before, here.area(inside), after))

    def bin_means(self, edges: Sequence[int]) -> Floats:
        """Mean rate of the steps after each edge up to the next: float64 [n - 1].

        For bins of more than one step it is taken from the integral, whose error is far below that
        of a bin's share.
        """
        if all(second - first == 1 for first, second in pairwise(edges)):
            return np.array([self.at(step) for step in edges[1:]])
        areas = np.array([self.integral(edge + 0.5) for edge in edges])
        return np.asarray(np.diff(areas) / np.diff(np.array(edges, np.float64)))

    def _piece(self, step: float) -> Piece:
        return next(piece for piece in self.pieces if step <= piece.end)


def _pieces(settings: ScheduleSettings, *, num_steps: int, step_tokens: int) -> tuple[Piece, ...]:
    """Pieces after the warmup; a piece may be empty."""
    start, lr, final = settings.warmup_steps(num_steps), settings.lr, settings.final_lr
    match settings.schedule:
        case "cosine":
            return (Fall(start, num_steps, lr, final, "cosine"),)
        case "linear":
            return (Fall(start, num_steps, lr, final, "linear"),)
        case "constant":
            return (Hold(start, num_steps, lr),)
        case "wsd" if settings.annealing is not None:
            return (Hold(start, num_steps, lr),)
        case "wsd":
            part = settings.decay.fraction(num_steps * step_tokens)
            stable = max(start, num_steps - math.ceil(part * num_steps - 1e-9))
            decay = Fall(stable, num_steps, lr, final, settings.decay_form)
            return (Hold(start, stable, lr), decay)
        case "inverse-sqrt":
            return (InverseRoot(start, num_steps, lr, max(1, start)),)


def _until(piece: Piece, end: float) -> Piece:
    """The same function, ending earlier; only pieces that do not depend on their end."""
    if isinstance(piece, InverseRoot):
        return InverseRoot(piece.start, end, piece.peak, piece.scale)
    return Hold(piece.start, end, piece.peak)


def rate_weighted_rows(
    mixture: Mixture, rate: LearningRate, *, global_batch: int, first_step: int = 0
) -> Floats:
    """Rows of each source after `first_step`, each counted by the learning rate of its step.

    Returns:
        float64 [k], in the order of `mixture.sources`, as fractions of their sum.
    """
    num_bins = min(_MAX_BINS, rate.num_steps - first_step)
    edges = np.linspace(first_step, rate.num_steps, num_bins + 1).round().astype(np.int64)
    rows = np.diff(mixture.integral(edges * global_batch), axis=0)
    weighted: Floats = rate.bin_means(edges.tolist()) @ rows
    weighted /= weighted.sum()
    return weighted
