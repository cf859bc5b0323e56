"""A ratio in a curriculum file: a group's curve over the run, and the guard that may raise it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError

from linly.config.yaml.model import Model, check_keys, found, problem, suggestion
from linly.config.yaml.quantities import (
    Count,
    Fraction,
    Number,
    Text,
    at_least,
    format_fraction,
    format_tokens,
    parse_fraction,
    parse_tokens,
)

REST = "rest"
CurveKind = Literal["constant", "linear", "cosine", "step", "sigmoid"]
_CURVE_KEYS = ("curve", "from", "to", "until", "points", "midpoint", "steepness", "guard")
_RATIO_FORM = "a percentage, a curve such as {curve: linear, from: 0%, to: 15%}, or rest"
_GUARD_FORM = "a mapping such as {source: english, max_rise: 3%, cap: 60%}"
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


class RatioGuard(Model):
    """Raise a group's ratio, at the cost of the rest, while a monitored source becomes worse.

    Attributes:
        source: Source whose held-out bits per byte are monitored, or a group: all its sources.
        max_rise: Allowed rise of the bits per byte over the evaluation before the first step, as
            a fraction of it.
        cap: Upper limit of the ratio; each evaluation above `max_rise` raises it by one step.
        steps: Number of steps from the curve to the cap.
    """

    source: Text
    max_rise: Fraction
    cap: Fraction
    steps: Annotated[Count, Field(le=100)] = 4

    def file_form(self) -> dict[str, Any]:
        """Return the form that a curriculum file has."""
        form: dict[str, Any] = {
            "source": self.source,
            "max_rise": format_fraction(self.max_rise),
            "cap": format_fraction(self.cap),
        }
        if self.steps != RatioGuard.model_fields["steps"].default:
            form["steps"] = self.steps
        return form


class Curve(Model):
    """A ratio over a run in normal form: points with a curve between them, constant outside them.

    Attributes:
        kind: Shape between the points: constant has one point; step is right-continuous.
        points: Positions and their ratios, in order.
        midpoint: Half-way position within each interval, as a fraction of it (sigmoid only).
        steepness: Steepness of the logistic before it is rescaled to reach both ends (sigmoid
            only).
        guard: Guard that may raise the ratio above the curve, or None.
    """

    kind: CurveKind
    points: tuple[tuple[Position, Fraction], ...] = Field(min_length=1)
    midpoint: Annotated[Fraction, Field(gt=0, lt=1)] = 0.5
    steepness: Annotated[
        Number,
        at_least(0.001, "a flatter curve is a straight line, which is curve: linear"),
        Field(le=100),
    ] = 10.0
    guard: RatioGuard | None = None

    @classmethod
    def constant(cls, ratio: float) -> Curve:
        """Build a curve of one ratio throughout."""
        return cls(kind="constant", points=((START, ratio),))

    def file_form(self) -> Any:
        """Return the form that a curriculum file has."""
        if self.kind == "constant":
            return format_fraction(self.points[0][1])
        form: dict[str, Any] = {
            "curve": self.kind,
            "points": {
                format_position(position): format_fraction(ratio) for position, ratio in self.points
            },
        }
        if self.kind == "sigmoid":
            form |= {"midpoint": format_fraction(self.midpoint), "steepness": self.steepness}
        if self.guard is not None:
            form["guard"] = self.guard.file_form()
        return form


def _parse_position(text: str, *path: str | int) -> Position:
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


def parse_ratio(value: Any) -> Curve | dict[str, Any] | None:
    """Parse the file form of a group's ratio: a percentage, a curve, or `rest` (None).

    A guard is left unchanged for pydantic to validate, so that errors name the keys within it.
    """
    if value is None:
        raise problem(found(value, _RATIO_FORM))
    if isinstance(value, Curve):
        return value
    if value == REST:
        return None
    if isinstance(value, dict):
        curve = _parse_curve(value)
        return dict(curve) | {"guard": value["guard"]} if "guard" in value else curve
    if isinstance(value, str) and not value.rstrip().endswith("%"):
        near = suggestion(value, (REST, *get_args(CurveKind)))
        raise problem(f"found {value!r}{near or ','} allowed: {_RATIO_FORM}")
    if isinstance(value, str | int | float):
        return Curve.constant(parse_fraction(value))
    raise problem(found(value, _RATIO_FORM))


def _parse_curve(form: dict[str, Any]) -> Curve:
    check_keys(form, _CURVE_KEYS)
    kinds: tuple[CurveKind, ...] = get_args(CurveKind)
    kind: Any = form.get("curve")
    if kind not in kinds:
        near = suggestion(kind, kinds) if isinstance(kind, str) else ""
        text = f"found {kind!r}{near or ','}" if "curve" in form else "missing,"
        raise problem(f"{text} allowed: {', '.join(kinds)}", "curve")
    if kind == "constant":
        raise problem("a constant is written as a bare percentage, such as ratio: 60%", "curve")
    for key in ("midpoint", "steepness"):
        if key in form and kind != "sigmoid":
            raise problem(f"only a sigmoid has it, this curve is {kind!r}", key)
    if "guard" in form and not isinstance(form["guard"], dict):
        raise problem(found(form["guard"], _GUARD_FORM), "guard")
    points = _points(form)
    shape = {key: form[key] for key in ("midpoint", "steepness") if key in form}
    try:
        return Curve(kind=kind, points=points, **shape)
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        key = str(details["loc"][0])
        if details["type"] == "linly":
            raise problem(details["ctx"]["text"], key) from None
        allowed = "more than 0% and less than 100%" if key == "midpoint" else "above 0, at most 100"
        raise problem(found(form.get(key), allowed), key) from None


def _points(form: dict[str, Any]) -> tuple[tuple[Position, float], ...]:
    if "points" in form:
        for key in ("from", "to", "until"):
            if key in form:
                raise problem("found beside points, allowed: from and to, or points", key)
        return _listed_points(form["points"])
    for key in ("from", "to"):
        if key not in form:
            raise problem("missing, allowed: from and to, or points", key)
    end = _parse_position(str(form["until"]), "until") if "until" in form else END
    if end.value <= 0:
        raise problem(found(form["until"], "a position after the start"), "until")
    first = parse_at(parse_fraction, form["from"], "from")
    return ((START, first), (end, parse_at(parse_fraction, form["to"], "to")))


def _listed_points(form: Any) -> tuple[tuple[Position, float], ...]:
    allowed = "two or more points, such as {0%: 10%, 100%: 5%}"
    if not isinstance(form, dict) or len(form) < 2:
        raise problem(found(form, allowed), "points")
    return tuple(
        (_parse_position(key, "points", key), parse_at(parse_fraction, ratio, "points", key))
        for key, ratio in form.items()
    )
