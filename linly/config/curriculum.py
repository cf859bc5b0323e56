"""The curriculum file: how the shares of sources move over a run, and nothing else."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, Strict, ValidationError, model_validator

from linly.config.model import (
    Model,
    check_keys,
    check_name,
    found,
    problem,
    suggestion,
    validate,
)
from linly.config.quantities import (
    Fraction,
    Positive,
    Text,
    Tokens,
    format_fraction,
    format_tokens,
    parse_fraction,
    parse_tokens,
)
from linly.config.yaml import read_yaml, write_yaml

REST = "rest"
SUM_TOLERANCE = 1e-9
CurveKind = Literal["constant", "linear", "cosine", "step", "sigmoid"]
_CURVE_KEYS = ("curve", "from", "to", "until", "points", "midpoint", "steepness")
_RATIO_FORM = "a percentage, a curve such as {curve: linear, from: 0%, to: 15%}, or rest"
_SHARE_FORM = "a percentage, or a mapping such as {share: 40%, max_epochs: 2}"
_ZERO_TOKENS = re.compile("0+")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a run: a fraction of it, or tokens from its start.

    A position in tokens may lie past the end of a shortened run; the curve is then cut there.
    """

    value: float
    unit: Literal["fraction", "tokens"]

    def fraction(self, total_tokens: int) -> float:
        """As a fraction of a run of so many tokens."""
        return self.value if self.unit == "fraction" else self.value / total_tokens


START = Position(0.0, "fraction")
END = Position(1.0, "fraction")


class Curve(Model):
    """A ratio over a run in its normal form: points with the curve between them, held outside.

    Attributes:
        kind: constant has one point; step is right-continuous.
        points: Where and how much, in order.
        midpoint: Sigmoid only: where each stretch is half-way, as a fraction of the stretch.
        steepness: Sigmoid only: of the logistic before it is rescaled to hit both ends.
    """

    kind: CurveKind
    points: tuple[tuple[Position, Fraction], ...] = Field(min_length=1)
    midpoint: Annotated[Fraction, Field(gt=0, lt=1)] = 0.5
    steepness: Annotated[Positive, Field(le=100)] = 10.0

    @classmethod
    def constant(cls, ratio: float) -> Curve:
        """The same ratio throughout."""
        return cls(kind="constant", points=((START, ratio),))

    def file_form(self) -> Any:
        """As it would be written in a curriculum file."""
        if self.kind == "constant":
            return format_fraction(self.points[0][1])
        form: dict[str, Any] = {
            "curve": self.kind,
            "points": {
                _format_position(position): format_fraction(ratio)
                for position, ratio in self.points
            },
        }
        if self.kind == "sigmoid":
            form |= {"midpoint": format_fraction(self.midpoint), "steepness": self.steepness}
        return form


def _parse_position(text: str, *path: str | int) -> Position:
    if _ZERO_TOKENS.fullmatch(text):
        return Position(0.0, "tokens")
    if text.endswith("%"):
        return Position(_at(parse_fraction, text, *path), "fraction")
    try:
        return Position(float(parse_tokens(text)), "tokens")
    except ValueError:
        allowed = "a position such as 50% or 500M (tokens)"
        raise problem(found(text, allowed), *path) from None


def _format_position(position: Position) -> str:
    if position.unit == "fraction":
        return format_fraction(position.value)
    return str(format_tokens(int(position.value))) if position.value else "0"


def _at(parse: Any, value: Any, *path: str | int) -> Any:
    """Parse a value, an error being reported below the value that is validated."""
    try:
        return parse(value)
    except ValueError as error:
        raise problem(error.context["text"], *path) from None  # type: ignore[attr-defined]


def _parse_ratio(value: Any) -> Curve | None:
    """The file form of a group's ratio: a percentage, a curve, or `rest` (None)."""
    if value is None:
        raise problem(found(value, _RATIO_FORM))
    if isinstance(value, Curve):
        return value
    if value == REST:
        return None
    if isinstance(value, dict):
        return _parse_curve(value)
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
    points = _points(form)
    shape = {key: form[key] for key in ("midpoint", "steepness") if key in form}
    try:
        return Curve(kind=kind, points=points, **shape)
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        key = str(details["loc"][0])
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
    first = _at(parse_fraction, form["from"], "from")
    return ((START, first), (end, _at(parse_fraction, form["to"], "to")))


def _listed_points(form: Any) -> tuple[tuple[Position, float], ...]:
    allowed = "two or more points, such as {0%: 10%, 100%: 5%}"
    if not isinstance(form, dict) or len(form) < 2:
        raise problem(found(form, allowed), "points")
    return tuple(
        (_parse_position(key, "points", key), _at(parse_fraction, ratio, "points", key))
        for key, ratio in form.items()
    )


class SourceShare(Model):
    """A source of a group: a corpus, its share of the group, how often it may be read."""

    corpus: Text
    template: Text | None = None
    share: Fraction
    max_epochs: Annotated[float, Strict(), Field(ge=1)] = 4.0
    on_exhausted: Literal["error", "stop"] = "error"

    def file_form(self, name: str) -> Any:
        """As it would be written in a curriculum file under this name."""
        form: dict[str, Any] = {"share": format_fraction(self.share)}
        if self.corpus != name:
            form = {"corpus": self.corpus} | form
        if self.template is not None:
            form["template"] = self.template
        if self.max_epochs != SourceShare.model_fields["max_epochs"].default:
            form["max_epochs"] = self.max_epochs
        if self.on_exhausted != "error":
            form["on_exhausted"] = self.on_exhausted
        return form if len(form) > 1 else form["share"]


class Group(Model):
    """Sources that share one ratio; `ratio` is None for the group that takes the rest."""

    ratio: Annotated[Curve | None, BeforeValidator(_parse_ratio)]
    sources: dict[str, SourceShare]

    @classmethod
    def from_file_form(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Spell out `slimpajama: 60%` as {corpus: slimpajama, share: 60%}."""
        sources = value.get("sources")
        if not isinstance(sources, dict):
            return value
        return value | {"sources": {name: _spelled_out(name, s) for name, s in sources.items()}}

    @model_validator(mode="after")
    def _check_shares(self) -> Group:
        if not self.sources:
            raise problem("found no sources, allowed: at least one", "sources")
        for name in self.sources:
            check_name(name, "sources", name)
        total = math.fsum(source.share for source in self.sources.values())
        if abs(total - 1) > SUM_TOLERANCE:
            shares = {name: source.share for name, source in self.sources.items()}
            text = f"shares add up to {_sum_text(shares)}, allowed: exactly 100%"
            raise problem(text, "sources")
        return self


def _spelled_out(name: str, source: Any) -> Any:
    if isinstance(source, dict):
        return {"corpus": name} | source
    if isinstance(source, str | int | float) and not isinstance(source, bool):
        return {"corpus": name, "share": _at(parse_fraction, source, "sources", name)}
    if isinstance(source, SourceShare):
        return source
    raise problem(found(source, _SHARE_FORM), "sources", name)


class Curriculum(Model):
    """How the mixture moves over a run of `tokens`; one curriculum serves any model."""

    name: Text
    tokens: Tokens
    mixture: dict[str, Group]

    @property
    def sources(self) -> dict[str, tuple[str, SourceShare]]:
        """Source name -> (its group's name, its share)."""
        return {
            name: (group_name, source)
            for group_name, group in self.mixture.items()
            for name, source in group.sources.items()
        }

    @model_validator(mode="after")
    def _check_mixture(self) -> Curriculum:
        if not self.mixture:
            raise problem("found no groups, allowed: at least one", "mixture")
        self._check_names()
        rest = [name for name, group in self.mixture.items() if group.ratio is None]
        if len(rest) > 1:
            text = f"found a second 'rest', allowed: one (the first: {rest[0]}, {{also}})"
            also = ("mixture", rest[0], "ratio")
            raise problem(text, "mixture", rest[1], "ratio", also=also)
        for name, group in self.mixture.items():
            if group.ratio is not None:
                self._check_points(name, group.ratio)
        self._check_sum("at the start", 0)
        if all(self._reaches_its_end(group.ratio) for group in self.mixture.values()):
            self._check_sum("at the end", -1)
        return self

    def _check_names(self) -> None:
        seen: dict[str, str] = {}
        for group_name, group in self.mixture.items():
            check_name(group_name, "mixture", group_name)
            for name in group.sources:
                path = ("mixture", group_name, "sources", name)
                if name in seen:
                    also = ("mixture", seen[name], "sources", name)
                    text = (
                        f"a source of this name is in {seen[name]} already ({{also}}): use another "
                        f"name, such as {name}-2: {{corpus: {group.sources[name].corpus}, ...}}"
                    )
                    raise problem(text, *path, also=also)
                seen[name] = group_name

    def _check_points(self, group_name: str, curve: Curve) -> None:
        places = [position.fraction(self.tokens) for position, _ in curve.points]
        for index, (before, after) in enumerate(pairwise(places), start=1):
            if after <= before:
                first, second = (_format_position(curve.points[i][0]) for i in (index - 1, index))
                text = f"found {second} after {first}, allowed: positions that ascend"
                raise problem(text, "mixture", group_name, "ratio", "points", second)

    def _reaches_its_end(self, curve: Curve | None) -> bool:
        return curve is None or curve.points[-1][0].fraction(self.tokens) <= 1

    def _check_sum(self, where: str, point: int) -> None:
        """Check the ratios at an end of the run; between the ends the curve maths checks them."""
        ratios = {
            name: group.ratio.points[point][1]
            for name, group in self.mixture.items()
            if group.ratio is not None
        }
        total = math.fsum(ratios.values())
        has_rest = len(ratios) < len(self.mixture)
        if total > 1 + SUM_TOLERANCE or (not has_rest and total < 1 - SUM_TOLERANCE):
            allowed = "at most 100%" if has_rest else "exactly 100%, as no group is 'rest'"
            text = f"ratios add up to {_sum_text(ratios)} {where}, allowed: {allowed}"
            raise problem(text, "mixture")

    def file_form(self) -> dict[str, Any]:
        """As plain data that reads back equal."""
        mixture = {}
        for name, group in self.mixture.items():
            ratio = REST if group.ratio is None else group.ratio.file_form()
            sources = {key: source.file_form(key) for key, source in group.sources.items()}
            mixture[name] = {"ratio": ratio, "sources": sources}
        return {"name": self.name, "tokens": format_tokens(self.tokens), "mixture": mixture}

    def to_yaml(self) -> str:
        """The resolved file; `load_curriculum` reads it back equal."""
        return write_yaml(self.file_form())


def _sum_text(parts: dict[str, float]) -> str:
    total = f"{math.fsum(parts.values()) * 100:.10g}%"
    terms = " + ".join(f"{name} {part * 100:.10g}%" for name, part in parts.items())
    return f"{total} ({terms})"


def load_curriculum(path: Path) -> Curriculum:
    """Read a curriculum file; its name is the file's stem unless it says another.

    Raises:
        ConfigError: With file, line and key of everything that is wrong.
    """
    return validate(Curriculum, read_yaml(path), name=path.stem)
