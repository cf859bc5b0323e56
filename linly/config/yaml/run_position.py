"""Positions in a run: a percentage of it, or tokens from its start."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from linly.config.yaml.json_forms import ALLOWED, JsonSchema
from linly.config.yaml.quantities import (
    AMOUNT_PATTERN,
    PERCENT_PATTERN,
    format_fraction,
    format_tokens,
    parse_fraction,
    parse_tokens,
)
from linly.config.yaml.strict_model import found, problem

POSITION_PATTERN = f"^({PERCENT_PATTERN}|{AMOUNT_PATTERN})$"
_ZERO_TOKENS = re.compile("0+")


@dataclass(frozen=True, slots=True)
class Position:
    """A position in a run: a fraction of it, or tokens from its start.

    A position in tokens may be past the end of a shortened run; the curve is then cut there.
    """

    value: float
    unit: Literal["fraction", "tokens"]

    def fraction(self, total_tokens: int) -> float:
        """Return the position as a fraction of a run of `total_tokens`."""
        return self.value if self.unit == "fraction" else self.value / total_tokens


START = Position(0.0, "fraction")
END = Position(1.0, "fraction")


def parse_position(text: str, *path: str | int) -> Position:
    """Parse a position such as `50%` or `500M`; an error names the path below the value."""
    if _ZERO_TOKENS.fullmatch(text):
        return Position(0.0, "tokens")
    if text.endswith("%"):
        return Position(parse_at(parse_fraction, text, *path), "fraction")
    try:
        return Position(float(parse_tokens(text)), "tokens")
    except ValueError:
        allowed = "a position such as 50% or 500M (tokens)"
        raise problem(found(text, allowed), *path) from None


def format_position(position: Position) -> str:
    """Return the form that reads back equal: a percentage, or tokens."""
    if position.unit == "fraction":
        return format_fraction(position.value)
    return str(format_tokens(int(position.value))) if position.value else "0"


def parse_at(parse: Any, value: Any, *path: str | int) -> Any:
    """Parse a value; an error names the path below the value being validated."""
    try:
        return parse(value)
    except ValueError as error:
        raise problem(error.context["text"], *path) from None  # type: ignore[attr-defined]


def position_schema() -> JsonSchema:
    """Build the JSON schema of what `parse_position` reads."""
    return {
        "type": ["string", "integer"],
        "pattern": POSITION_PATTERN,
        ALLOWED: "position: % of the run, or tokens",
    }
