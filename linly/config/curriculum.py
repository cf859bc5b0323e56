"""The curriculum file: the shares of sources over a run, and nothing else."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_serializer, model_validator

from linly.config.curve import Curve, Ratio, RatioGuard
from linly.config.yaml.json_forms import ALLOWED, JsonSchema
from linly.config.yaml.quantities import (
    Fraction,
    Number,
    Text,
    Tokens,
    at_most,
    format_fraction,
    fraction_schema,
    parse_fraction,
)
from linly.config.yaml.run_position import format_position, parse_at
from linly.config.yaml.strict_model import (
    Model,
    OnResume,
    Settings,
    check_name,
    found,
    problem,
    unknown,
    validate,
)
from linly.config.yaml.yaml import read_yaml, write_yaml

SUM_TOLERANCE = 1e-9
_SHARE_FORM = "a percentage, or a mapping such as {share: 40%, max_epochs: 2}"


class SourceShare(Model):
    """A source of a group: its share, as a bare percentage or with its other settings.

    Attributes:
        corpus: Corpus that it reads; by default the one of its own name.
        share: Share of its group; the shares of a group add up to 100%.
        template: Template in place of the corpus file's.
        max_epochs: Largest number of times that its documents may be read.
        on_exhausted: Reaction to a plan that reads it more often: `error` refuses the plan, `stop`
            ends the run where its documents run out.
    """

    corpus: Text
    share: Fraction
    template: Text | None = None
    max_epochs: Annotated[Number, Field(ge=1), at_most(1e9, "no run has time for more epochs")] = (
        4.0
    )
    on_exhausted: Literal["error", "stop"] = "error"

    @classmethod
    def file_schema(cls, schema: JsonSchema) -> JsonSchema:
        """Add the bare share; a group fills in `corpus`."""
        full = schema | {"required": ["share"]}
        return {"anyOf": [fraction_schema(), full], ALLOWED: "percentage, or a mapping"}


class Group(Model):
    """Sources that share one ratio; `ratio` is None for the group that takes the rest.

    Attributes:
        ratio: Ratio of the group in the mixture: constant, along a curve, or the rest, which is
            100% minus the other groups' ratios.
        sources: Sources of the group by name.
    """

    ratio: Ratio
    sources: dict[str, SourceShare]

    @classmethod
    def from_file_form(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Spell out `slimpajama: 60%` as {corpus: slimpajama, share: 60%}."""
        sources = value.get("sources")
        if not isinstance(sources, dict):
            return value
        return value | {"sources": {name: _spelled_out(name, s) for name, s in sources.items()}}

    @field_serializer("sources")
    def _shorten_sources(self, sources: dict[str, SourceShare]) -> dict[str, Any]:
        return {name: _shortened(name, source) for name, source in sources.items()}

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
        return {"corpus": name, "share": parse_at(parse_fraction, source, "sources", name)}
    if isinstance(source, SourceShare):
        return source
    raise problem(found(source, _SHARE_FORM), "sources", name)


def _shortened(name: str, source: SourceShare) -> Any:
    form = source.short_form()
    if source.corpus == name:
        del form["corpus"]
    return form if len(form) > 1 else form["share"]


class Curriculum(Settings):
    """The mixture over a run of `tokens`; one curriculum serves any model.

    Attributes:
        name: Name in logs and pages; by default the file's stem.
        tokens: Tokens of the run, over all sources.
        mixture: Groups of sources by name; their ratios add up to 100% at every point of the run.
    """

    name: Annotated[Text, OnResume.FREE]
    tokens: Annotated[Tokens, OnResume.REFUSED]
    mixture: Annotated[dict[str, Group], OnResume.REFUSED]

    @classmethod
    def file_schema(cls, schema: JsonSchema) -> JsonSchema:
        """Allow a file without `name`, which is then its stem."""
        return schema | {"required": ["tokens", "mixture"]}

    @property
    def sources(self) -> dict[str, tuple[str, SourceShare]]:
        """Source name -> (its group's name, its share)."""
        return {
            name: (group_name, source)
            for group_name, group in self.mixture.items()
            for name, source in group.sources.items()
        }

    @property
    def guards(self) -> dict[str, RatioGuard]:
        """Group -> its ratio guard, for the groups that have one; sorted."""
        return {
            name: group.ratio.guard
            for name, group in sorted(self.mixture.items())
            if group.ratio is not None and group.ratio.guard is not None
        }

    def guarded_sources(self, guard: RatioGuard) -> tuple[str, ...]:
        """Return the sources whose held-out bits per byte a guard monitors, sorted."""
        if guard.source is None:
            return ()
        if guard.source in self.mixture:
            return tuple(sorted(self.mixture[guard.source].sources))
        return (guard.source,)

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
        for name, guard in self.guards.items():
            self._check_guard(name, guard, has_rest=bool(rest))
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
                first, second = (format_position(curve.points[i][0]) for i in (index - 1, index))
                text = f"found {second} after {first}, allowed: positions that ascend"
                raise problem(text, "mixture", group_name, "ratio", "points", second)

    def _check_guard(self, group_name: str, guard: RatioGuard, *, has_rest: bool) -> None:
        path = ("mixture", group_name, "ratio", "guard")
        if not has_rest:
            text = "a guard takes from the group that has `ratio: rest`, and no group has it"
            raise problem(text, *path)
        if guard.source is not None:
            self._check_guarded_source(guard, guard.source, path)
        curve = self.mixture[group_name].ratio
        assert curve is not None
        lowest = min(ratio for _, ratio in curve.points)
        if guard.cap <= lowest:
            allowed = f"more than {format_fraction(lowest)}, which the curve is never below"
            raise problem(found(format_fraction(guard.cap), allowed), *path, "cap")

    def _check_guarded_source(self, guard: RatioGuard, name: str, path: tuple[str, ...]) -> None:
        names = {*self.mixture, *self.sources}
        if name not in names:
            raise problem(unknown("source or group", name, names), *path, "source")
        if name in self.mixture and name in self.sources:
            group = self.sources[name][0]
            if self.guarded_sources(guard) != (name,):
                also = ("mixture", group, "sources", name)
                text = (
                    f"found {name!r}, which is a group and a source of group {group} "
                    "({also}): give one of them another name"
                )
                raise problem(text, *path, "source", also=also)

    def _reaches_its_end(self, curve: Curve | None) -> bool:
        return curve is None or curve.points[-1][0].fraction(self.tokens) <= 1

    def _check_sum(self, where: str, point: int) -> None:
        """Check the sum of ratios at the start or end; the curve maths checks it in between."""
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

    def to_yaml(self) -> str:
        """Return the resolved file; `load_curriculum` reads it back equal."""
        return write_yaml(self.file_form())


def _sum_text(parts: dict[str, float]) -> str:
    total = f"{math.fsum(parts.values()) * 100:.10g}%"
    terms = " + ".join(f"{name} {part * 100:.10g}%" for name, part in parts.items())
    return f"{total} ({terms})"


def load_curriculum(path: Path) -> Curriculum:
    """Read a curriculum file; its name is the file's stem unless the file sets one.

    Raises:
        ConfigError: If the file is invalid; names file, line and key of every error.
    """
    return validate(Curriculum, read_yaml(path), name=path.stem)
