"""Chooses the tokens of a run and its mixture from the data: pure arithmetic, no I/O.

    tokens of each corpus, by role -> ratio curves, shares, tokens of the run

The curves are those of Linly's published curriculum (`curricula/linly-llama2.yaml`). The kept
language falls, parallel text goes before, instructions come in late, and the learned language takes
the rest. A group whose texts would be read too often gets a smaller ratio.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from linly.curriculum.wording import amount
from linly.errors import ConfigError

Role = Literal["kept", "parallel", "instruction", "learned"]
"""Role of a corpus in the mixture; the groups are written in this order."""

MAX_TOKENS = 5_000_000_000
"""Tokens of a run that has data for more: those of Linly's published curriculum."""

LEARNED_EPOCHS = 2.0
"""Epochs of the learned language in a run that its data limits.

Up to four epochs are nearly as good as new text (arXiv 2305.16264).
"""

OTHER_EPOCHS = 3.0
"""Epochs at which another group's ratio is lowered."""

_MAX_EPOCHS = 3.8
"""Epochs that a requested number of tokens may need: just below the curriculum's limit of 4."""

_SHARE_STEPS = 1000


@dataclass(frozen=True, slots=True)
class RatioChoice:
    """Ratio that moves from one value to another and is then held.

    Attributes:
        curve: Shape of the curve.
        start: Ratio at the start.
        end: Ratio from `until` on.
        until: Fraction of the run at which the end is reached.
    """

    curve: Literal["cosine", "linear"]
    start: float
    end: float
    until: float = 1.0

    @property
    def mean(self) -> float:
        """Mean over the run; both shapes are symmetric."""
        return self.until * (self.start + self.end) / 2 + (1 - self.until) * self.end

    def scaled(self, factor: float) -> RatioChoice:
        """Multiply by a factor up to 1, rounded down to 0.1%."""
        if factor >= 1:
            return self
        start, end = (math.floor(1e3 * factor * ratio) / 1e3 for ratio in (self.start, self.end))
        return replace(self, start=start, end=end)

    def file_form(self) -> dict[str, Any]:
        """Return the curve as a curriculum file has it."""
        form = {"curve": self.curve, "from": _percent(self.start), "to": _percent(self.end)}
        return form if self.until == 1 else form | {"until": _percent(self.until)}


RATIOS: dict[Role, RatioChoice] = {
    "kept": RatioChoice("cosine", 0.70, 0.20),
    "parallel": RatioChoice("linear", 0.10, 0.05),
    "instruction": RatioChoice("linear", 0.0, 0.15, until=0.8),
}
"""Ratio of each group but the learned one, which takes the rest."""


@dataclass(frozen=True, slots=True)
class GroupChoice:
    """A group of the mixture.

    Attributes:
        role: Role of its corpora.
        ratio: Ratio over the run; None for the rest.
        shares: Share of each corpus within the group, in thousandths; they add up to 1,000.
        factor: Ratio as a fraction of that of `RATIOS`; below 1 if there is too little text.
    """

    role: Role
    ratio: RatioChoice | None
    shares: Mapping[str, int]
    factor: float

    def file_form(self) -> dict[str, Any]:
        """Return the group as a curriculum file has it."""
        ratio = "rest" if self.ratio is None else self.ratio.file_form()
        shares = {name: _percent(share / _SHARE_STEPS) for name, share in self.shares.items()}
        return {"ratio": ratio, "sources": shares}


def choose_tokens(supply: Mapping[Role, int]) -> int:
    """Return the tokens of a run, so that the learned language is read `LEARNED_EPOCHS` times.

    Args:
        supply: Tokens of each role's corpora.
    """
    return min(MAX_TOKENS, _most_tokens(supply, LEARNED_EPOCHS))


def check_tokens(supply: Mapping[Role, int], tokens: int) -> None:
    """Check that the data suffice for a requested number of tokens.

    Raises:
        ConfigError: If the learned language would be read too often; names the largest number.
    """
    most = _most_tokens(supply, _MAX_EPOCHS)
    if tokens > most:
        raise ConfigError(
            f"--tokens: found {amount(tokens)}, but the texts of the learned language, "
            f"{amount(supply['learned'])} tokens, would be read more than 4 times; use at most "
            f"{amount(most, 2)}, or add text with --data"
        )


def choose_groups(
    available: Mapping[Role, Mapping[str, int]], tokens: int
) -> tuple[GroupChoice, ...]:
    """Choose the groups of the mixture.

    Args:
        available: Tokens of each corpus, by role; the learned language has some.
        tokens: Tokens of the run.

    Returns:
        The groups; those, and corpora of a group, that are too small for a share are left out.
    """
    groups = []
    for role in get_args(Role):
        corpora = {name: count for name, count in available.get(role, {}).items() if count}
        if not corpora:
            continue
        ratio = RATIOS.get(role)
        factor = 1.0
        if ratio is not None:
            factor = min(1.0, OTHER_EPOCHS * sum(corpora.values()) / (ratio.mean * tokens))
            ratio = ratio.scaled(factor)
            if not ratio.end:
                continue
        shares = _shares(corpora)
        kept = {name: share for name, share in shares.items() if share}
        groups.append(GroupChoice(role, ratio, kept, factor))
    return tuple(groups)


def _most_tokens(supply: Mapping[Role, int], epochs: float) -> int:
    """Largest run in which the learned language is read at most `epochs` times."""
    limit = epochs * supply["learned"]

    def learned(tokens: float) -> float:
        others = (
            min(ratio.mean * tokens, OTHER_EPOCHS * supply.get(role, 0))
            for role, ratio in RATIOS.items()
        )
        return tokens - sum(others)

    low, high = limit, 1.0 + limit / (1 - sum(ratio.mean for ratio in RATIOS.values()))
    while high - low > 1:
        middle = (low + high) / 2
        low, high = (middle, high) if learned(middle) <= limit else (low, middle)
    return int(low)


def _shares(tokens: Mapping[str, int]) -> dict[str, int]:
    """Shares in thousandths, proportional to tokens (largest remainders); they add up to 1,000."""
    total = sum(tokens.values())
    exact = {name: _SHARE_STEPS * count / total for name, count in tokens.items()}
    shares = {name: math.floor(share) for name, share in exact.items()}
    missing = _SHARE_STEPS - sum(shares.values())
    by_remainder = sorted(exact, key=lambda name: (shares[name] - exact[name], name))
    return shares | {name: shares[name] + 1 for name in by_remainder[:missing]}


def _percent(fraction: float) -> str:
    """Percentage with at most one decimal."""
    return f"{100 * fraction:.1f}".removesuffix(".0") + "%"
