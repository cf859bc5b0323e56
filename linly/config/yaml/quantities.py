"""Quantities in YAML: percentages (`70%`), amounts of tokens (`5B`) and dates."""

from __future__ import annotations

import datetime
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    Strict,
)
from pydantic_core import CoreSchema, core_schema

from linly.config.yaml.json_forms import ALLOWED, JsonForm, JsonSchema
from linly.config.yaml.strict_model import found, problem

_PERCENT = re.compile(r"([0-9]{1,20}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})\s*%")
_AMOUNT = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,12})?)([KMBT]?)")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_MAX_TOKENS = 10**16
_ONE = "100% or 1% (a bare 1 could be either)"

FRACTION_FORM = "a percentage from 0% to 100%"
TOKENS_FORM = "a positive number of tokens such as 5B, 200M, 64K or 1000"


def parse_fraction(value: Any) -> float:
    """Parse a fraction in [0, 1] from `70%`, or from a number below 1 that is already one."""
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value)):
        fraction = float(Decimal(match[1]) / 100)
    elif isinstance(value, float) or (type(value) is int and value == 0):
        fraction = float(value)
    elif type(value) is int and value == 1:
        raise problem(found(value, _ONE))
    else:
        raise problem(found(value, FRACTION_FORM))
    if not 0 <= fraction <= 1:
        raise problem(found(value, FRACTION_FORM))
    return fraction


def parse_tokens(value: Any) -> int:
    """Parse a whole number of tokens from `5B` (5 * 10^9), `200M`, `64K`, `1T`, `1e9` or digits."""
    amount = Decimal(0)
    if isinstance(value, str) and (match := _AMOUNT.fullmatch(value)):
        amount = Decimal(match[1]) * _UNITS[match[2]]
    elif isinstance(value, int | float) and math.isfinite(value) and not isinstance(value, bool):
        amount = Decimal(value)
    if not 1 <= amount <= _MAX_TOKENS or amount != int(amount):
        raise problem(found(value, TOKENS_FORM))
    return int(amount)


def format_fraction(fraction: float) -> str:
    """Return the percentage that `parse_fraction` reads back as exactly this number."""
    text = format(Decimal(repr(fraction)) * 100, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "%"


def format_tokens(tokens: int) -> str | int:
    """Return the shortest amount that `parse_tokens` reads back as exactly this number."""
    for unit in ("T", "B", "M", "K"):
        if tokens % _UNITS[unit] == 0:
            return f"{tokens // _UNITS[unit]}{unit}"
    return tokens


@dataclass(frozen=True, slots=True)
class Bound:
    """Annotation of a number: its lower or upper bound, and the reason, which the error includes.

    Attributes:
        bound: Smallest or largest value.
        reason: Reason for it.
        side: Kind of bound, by its name in JSON schema.
    """

    bound: float
    reason: str
    side: Literal["minimum", "maximum"]

    def check(self, value: float) -> float:
        """Refuse a value outside the bound (a validator's check)."""
        is_upper = self.side == "maximum"
        if value > self.bound if is_upper else value < self.bound:
            limit = f"{_shown(self.bound)} or {'less' if is_upper else 'more'}"
            raise problem(found(value, f"{limit}: {self.reason}"))
        return value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check values after pydantic's own checks."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchema:
        """Add the bound, unless there is a stricter one."""
        written: JsonSchema = handler(schema)
        stricter = min if self.side == "maximum" else max
        return written | {self.side: stricter(self.bound, written.get(self.side, self.bound))}


def at_least(bound: float, reason: str) -> Bound:
    """Build a check of a number's lower bound; its error includes the reason."""
    return Bound(bound, reason, "minimum")


def at_most(bound: float, reason: str) -> Bound:
    """Build a check of a number's upper bound; its error includes the reason."""
    return Bound(bound, reason, "maximum")


def _shown(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


PERCENT_PATTERN = r"0*(100(\.0*)?|[0-9]{1,2}(\.[0-9]*)?|\.[0-9]+)\s*%"
AMOUNT_PATTERN = r"[0-9]{1,20}(\.[0-9]{1,12})?[KMBT]?"


def fraction_schema() -> JsonSchema:
    """Build the JSON schema of what `parse_fraction` reads."""
    number = {"type": "number", "minimum": 0, "maximum": 1}
    text = {"type": "string", "pattern": f"^{PERCENT_PATTERN}$"}
    return {"anyOf": [text, number], ALLOWED: "percentage"}


def _tokens_schema() -> JsonSchema:
    number = {"type": "number", "minimum": 1, "maximum": _MAX_TOKENS}
    text = {"type": "string", "pattern": f"^{AMOUNT_PATTERN}$"}
    return {"anyOf": [text, number], ALLOWED: "tokens, such as `5B` or `200M`"}


Fraction = Annotated[
    float,
    BeforeValidator(parse_fraction),
    PlainSerializer(format_fraction),
    JsonForm(fraction_schema),
]
Tokens = Annotated[
    int, BeforeValidator(parse_tokens), PlainSerializer(format_tokens), JsonForm(_tokens_schema)
]
Text = Annotated[str, Strict(), Field(min_length=1)]
Switch = Annotated[bool, Strict()]
Number = Annotated[float, Strict()]
Count = Annotated[
    int, Strict(), Field(ge=1), at_most(10**12, "no run has more steps, documents or rows")
]
Seed = Annotated[int, Strict(), Field(ge=0), at_most(2**63 - 1, "generators take seeds of 63 bits")]
Seconds = Annotated[
    float,
    Strict(),
    at_least(0.001, "the system's timers count milliseconds"),
    at_most(1_000_000, "the system's timers end at about 24 days; this is 11"),
]


def _check_date(written: str) -> str:
    try:
        return datetime.date.fromisoformat(written).isoformat()
    except ValueError:
        raise problem(found(written, "a date such as 2024-07-26")) from None


Date = Annotated[Text, AfterValidator(_check_date)]
