"""A ratio in a curriculum file: a group's curve over the run, and the guard that may raise it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    InstanceOf,
    PlainSerializer,
    Strict,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from linly.config.shapes import CURVES, Linear, Shape, kind_of
from linly.config.yaml.json_forms import ALLOWED, JsonForm, JsonSchema, mapping_of
from linly.config.yaml.quantities import (
    Fraction,
    Text,
    format_fraction,
    fraction_schema,
    parse_fraction,
)
from linly.config.yaml.run_position import (
    END,
    POSITION_PATTERN,
    START,
    Position,
    format_position,
    parse_at,
    parse_position,
    position_schema,
)
from linly.config.yaml.strict_model import (
    Model,
    check_keys,
    first_problem,
    found,
    problem,
    suggestion,
)

REST = "rest"
_CURVE_KEYS = {
    "curve": "Kind of the curve.",
    "from": "Ratio at the start of the run.",
    "to": "Ratio at the end of the run, or at `until`.",
    "until": "Position at which `to` is reached; the ratio is constant after it.",
    "points": "Positions and their ratios, in place of `from` and `to`; the curve is between each "
    "two, and the ratio is constant outside them.",
    "guard": "Guard that raises the ratio while a monitored source or task becomes worse.",
}
"""Key of a curve of any kind -> its description."""

_RATIO_FORM = "a percentage, a curve such as {curve: linear, from: 0%, to: 15%}, or rest"
_GUARD_FORM = (
    "a mapping such as {source: english, max_rise: 3%, cap: 60%} or {task: icl, max_drop: 10%, "
    "cap: 60%}"
)
_WATCHED_KEYS = (("source", "max_rise"), ("task", "max_drop"))


class RatioGuard(Model):
    """Raise a group's ratio, at the cost of the rest, while what it monitors becomes worse.

    A guard monitors a source (`source`, `max_rise`) or a task (`task`, `max_drop`).

    Attributes:
        source: Source whose held-out bits per byte are monitored, or a group: all its sources.
        max_rise: Allowed rise of the bits per byte over the evaluation before the first step, as
            a fraction of it.
        task: Task of the recipe's `evaluation.tasks` whose watched figure is monitored.
        max_drop: Allowed loss of the figure since the evaluation before the first step, as a
            fraction of it; for bits, a rise.
        cap: Upper limit of the ratio; each evaluation beyond the limit raises it by one step.
        steps: Number of steps from the curve to the cap.
    """

    source: Text | None = None
    max_rise: Fraction | None = None
    task: Text | None = None
    max_drop: Fraction | None = None
    cap: Fraction
    steps: Annotated[int, Strict(), Field(ge=1, le=100)] = 4

    @property
    def watched(self) -> str:
        """Source, group or task that is monitored."""
        name = self.task if self.source is None else self.source
        assert name is not None
        return name

    @property
    def limit(self) -> float:
        """Allowed worsening of what is monitored, as a fraction."""
        limit = self.max_drop if self.source is None else self.max_rise
        assert limit is not None
        return limit

    @classmethod
    def file_schema(cls, schema: JsonSchema) -> JsonSchema:
        """Require the keys of a source or those of a task."""
        return schema | {
            "oneOf": [
                {"required": [*keys], "not": {"anyOf": [{"required": [key]} for key in others]}}
                for keys, others in (_WATCHED_KEYS, _WATCHED_KEYS[::-1])
            ]
        }

    @model_validator(mode="after")
    def _check_watched(self) -> RatioGuard:
        keys, others = _WATCHED_KEYS if self.task is None else _WATCHED_KEYS[::-1]
        for key in others:
            if getattr(self, key) is not None:
                text = f"a guard that monitors a {keys[0]} has {keys[0]} and {keys[1]} only"
                raise problem(f"{text}: remove {key}, or {keys[0]}", key)
        for key in keys:
            if getattr(self, key) is None:
                raise problem(f"missing, a guard is {_GUARD_FORM}", key)
        return self


class Curve(Model):
    """A ratio over a run in normal form: points with a curve between them, constant outside them.

    Attributes:
        shape: Form of the curve between two points.
        points: Positions and their ratios, in order; a constant ratio has one.
        guard: Guard that may raise the ratio above the curve, or None.
    """

    shape: InstanceOf[Shape]
    points: tuple[tuple[Position, Fraction], ...] = Field(min_length=1)
    guard: RatioGuard | None = None

    @classmethod
    def constant(cls, ratio: float) -> Curve:
        """Build a curve of one ratio throughout."""
        return cls(shape=Linear(), points=((START, ratio),))

    @model_validator(mode="after")
    def _check_guard(self) -> Curve:
        if self.guard is not None and not self.shape.is_monotone:
            text = (
                f"a guard needs a curve that only rises or only falls between two points, and "
                f"curve: {kind_of(self.shape)} does both: use another curve, or remove the guard"
            )
            raise problem(text, "guard")
        return self


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
        near = suggestion(value, (REST, *CURVES))
        raise problem(f"found {value!r}{near or ','} allowed: {_RATIO_FORM}")
    if isinstance(value, str | int | float):
        return Curve.constant(parse_fraction(value))
    raise problem(found(value, _RATIO_FORM))


def _parse_curve(form: dict[str, Any]) -> Curve:
    kind: Any = form.get("curve")
    curve = CURVES.get(kind) if isinstance(kind, str) else None
    if "curve" in form and curve is None:
        raise _unknown_kind(kind)
    own_keys = curve.file_keys() if curve else ()
    all_keys = {key for other in CURVES.values() for key in other.file_keys()}
    check_keys(form, (*_CURVE_KEYS, *all_keys), shown=(*_CURVE_KEYS, *own_keys))
    if curve is None:
        raise problem(f"missing, allowed: {', '.join(CURVES)}", "curve")
    for key in form:
        if key not in (*_CURVE_KEYS, *own_keys):
            owners = [name for name, other in CURVES.items() if key in other.file_keys()]
            text = f"only {' and '.join(owners)} curves have it, this curve is {kind!r}"
            raise problem(text, key)
    if "guard" in form and not isinstance(form["guard"], dict):
        raise problem(found(form["guard"], _GUARD_FORM), "guard")
    points = _points(form)
    try:
        shape = curve.model_validate({key: form[key] for key in own_keys if key in form})
    except ValidationError as error:
        raise first_problem(error) from None
    return Curve(shape=shape, points=points)


def _unknown_kind(kind: Any) -> PydanticCustomError:
    if kind == "constant":
        return problem("a constant is written as a bare percentage, such as ratio: 60%", "curve")
    near = suggestion(kind, CURVES) if isinstance(kind, str) else ""
    return problem(f"found {kind!r}{near or ','} allowed: {', '.join(CURVES)}", "curve")


def _points(form: dict[str, Any]) -> tuple[tuple[Position, float], ...]:
    if "points" in form:
        for key in ("from", "to", "until"):
            if key in form:
                raise problem("found together with points, allowed: from and to, or points", key)
        return _listed_points(form["points"])
    for key in ("from", "to"):
        if key not in form:
            raise problem("missing, allowed: from and to, or points", key)
    end = parse_position(str(form["until"]), "until") if "until" in form else END
    if end.value <= 0:
        raise problem(found(form["until"], "a position after the start"), "until")
    first = parse_at(parse_fraction, form["from"], "from")
    return ((START, first), (end, parse_at(parse_fraction, form["to"], "to")))


def _listed_points(form: Any) -> tuple[tuple[Position, float], ...]:
    allowed = "two or more points, such as {0%: 10%, 100%: 5%}"
    if not isinstance(form, dict) or len(form) < 2:
        raise problem(found(form, allowed), "points")
    return tuple(
        (parse_position(key, "points", key), parse_at(parse_fraction, ratio, "points", key))
        for key, ratio in form.items()
    )


def format_ratio(ratio: Curve | None) -> Any:
    """Return the file form that `parse_ratio` reads back equal."""
    if ratio is None:
        return REST
    if len(ratio.points) == 1:
        return format_fraction(ratio.points[0][1])
    points = {format_position(at): format_fraction(value) for at, value in ratio.points}
    form = {"curve": kind_of(ratio.shape), "points": points, **ratio.shape.file_form()}
    return form if ratio.guard is None else form | {"guard": ratio.guard.short_form()}


def _ratio_schema() -> JsonSchema:
    """Build the JSON schema of what `parse_ratio` reads."""
    kinds = [_curve_schema(kind, shape) for kind, shape in CURVES.items()]
    allowed = "percentage, `rest`, or a curve"
    return {"anyOf": [fraction_schema(), {"const": REST}, *kinds], ALLOWED: allowed}


def _curve_schema(kind: str, shape: type[Shape]) -> JsonSchema:
    points = mapping_of(fraction_schema(), keys={"pattern": POSITION_PATTERN})
    forms: JsonSchema = {
        "curve": {"const": kind},
        "from": fraction_schema(),
        "to": fraction_schema(),
        "until": position_schema(),
        "points": points | {"minProperties": 2, ALLOWED: "mapping of positions to percentages"},
        "guard": RatioGuard.model_json_schema(),
    }
    keys = {key: form | {"description": _CURVE_KEYS[key]} for key, form in forms.items()}
    whole = {"required": ["from", "to"], "not": {"required": ["points"]}}
    listed = {
        "required": ["points"],
        "not": {"anyOf": [{"required": [key]} for key in ("from", "to", "until")]},
    }
    return {
        "type": "object",
        "properties": keys | shape.model_json_schema()["properties"],
        "required": ["curve"],
        "additionalProperties": False,
        "oneOf": [whole, listed],
    }


Ratio = Annotated[
    Curve | None,
    BeforeValidator(parse_ratio),
    PlainSerializer(format_ratio),
    JsonForm(_ratio_schema),
]
