"""Every kind of curve keeps what `Shape` promises; a kind that lacks something does not pass."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings

from linly.config import shapes as shapes_module
from linly.config.curriculum import Curriculum
from linly.config.curve import Curve, format_ratio, parse_ratio
from linly.config.shapes import CURVES, Floats, Linear, Shape, Sigmoid, Step, kind_of
from linly.config.yaml.strict_model import validate
from linly.config.yaml.yaml import Origin, parse_yaml
from linly.curriculum.curves import CurveFunction
from linly.curriculum.extrema import extremes
from linly.curriculum.guarded import RaisedCurve
from linly.errors import ConfigError
from tests.support.mixture_strategies import shapes
from tests.support.type_checks import type_errors

T = np.linspace(0, 1, 2001)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(20)
GUARDED = """
tokens: 1M
mixture:
  english:
    ratio: {curve: KIND, from: 70%, to: 20%, guard: {source: english, max_rise: 3%, cap: 60%}}
    sources: {web: 100%}
  chinese: {ratio: rest, sources: {wiki: 100%}}
"""
GUARD = ", guard: {source: english, max_rise: 3%, cap: 60%}"
EXTREMES = (
    *("-2000", "-1e-9", "0", "1e-300", "1e-9", "0.001", "0.999999999", "1", "2", "100", "1e9"),
    *("1e300", "0%", "0.0000001%", "99.9999999%", "100%"),
)
"""Numbers and percentages for any parameter."""


class Wave(Shape):
    """s(t) = sin(3 pi t / 2)^2: up, down and up again."""

    is_monotone: ClassVar[bool] = False

    def rise(self, t: Floats) -> Floats:
        half: Floats = np.sin(1.5 * np.pi * t)
        return half * half

    def area(self, t: Floats) -> Floats:
        area: Floats = 0.5 * t - np.sin(3 * np.pi * t) / (6 * np.pi)
        return area

    def bend(self, start: Floats, end: Floats) -> Floats:
        return np.full_like(start, 4.5 * np.pi * np.pi)


def read(text: str) -> Curriculum:
    return validate(Curriculum, parse_yaml(text, Origin("c.yaml", 1, Path("/"))), name="c")


def check_maths(shape: Shape) -> None:
    """Ends, bounds, integral, bend and whether it falls."""
    s = shape.rise(T)
    assert s[0] == 0.0
    if not isinstance(shape, Step):
        assert s[-1] == pytest.approx(1.0, abs=1e-12)
    assert s.min() >= 0.0
    assert s.max() <= 1.0 + 1e-12
    assert shape.is_monotone == bool((np.diff(s) >= -1e-15).all())
    at = T[:-1, None] + np.diff(T)[:, None] * (1 + NODES) / 2
    panels = np.diff(T) / 2 * (shape.rise(at) @ WEIGHTS)
    np.testing.assert_allclose(shape.area(T)[1:], np.cumsum(panels), atol=1e-13)
    assert shape.area(T)[0] == 0.0
    # Second difference of three neighbours = mean of s'' between the outer two.
    width = T[1] - T[0]
    measured = np.abs(s[2:] - 2 * s[1:-1] + s[:-2]) / width**2
    assert (measured <= shape.bend(T[:-2], T[2:]) * (1 + 1e-9) + 1e-8).all()


def check_extremes(shape: Shape) -> None:
    """No sample of a sum is beyond the extremes; a mirrored curve cancels."""
    curve = CurveFunction([0.0, 0.4, 1.0], [0.1, 0.6, 0.2], shape)
    line = CurveFunction([0.0, 0.7, 1.0], [0.0, 0.3, 0.1], Linear())
    lowest, highest = extremes([curve, line])
    total = (curve.value(T) + line.value(T))[:-1]
    assert lowest.value - 1e-9 <= total.min() <= lowest.value + 1e-2
    assert highest.value - 1e-2 <= total.max() <= highest.value + 1e-9
    mirrored = CurveFunction([0.0, 0.4, 1.0], [0.9, 0.4, 0.8], shape)
    for extreme in extremes([curve, mirrored]):
        assert extreme.value == pytest.approx(1.0, abs=1e-12)


def test_every_shape_has_a_name() -> None:
    defined = [
        found
        for found in vars(shapes_module).values()
        if isinstance(found, type) and issubclass(found, Shape) and found is not Shape
    ]
    assert sorted(map(repr, CURVES.values())) == sorted(map(repr, defined))


@pytest.mark.parametrize("kind", CURVES)
def test_maths_of_every_kind_hold_by_default(kind: str) -> None:
    check_maths(CURVES[kind]())
    check_extremes(CURVES[kind]())


@settings(max_examples=40, deadline=None)
@given(shapes())
def test_maths_hold_for_any_parameters(shape: Shape) -> None:
    check_maths(shape)
    check_extremes(shape)


@pytest.mark.parametrize("value", EXTREMES)
@pytest.mark.parametrize(
    ("kind", "key"), [(kind, key) for kind, shape in CURVES.items() for key in shape.file_keys()]
)
def test_an_extreme_parameter_is_refused_or_its_maths_hold(kind: str, key: str, value: str) -> None:
    try:
        curriculum = read(GUARDED.replace(GUARD, "").replace("KIND", f"{kind}, {key}: {value}"))
    except ConfigError as error:
        assert f"mixture.english.ratio.{key}: found " in str(error)
        return
    curve = curriculum.mixture["english"].ratio
    assert curve is not None
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        check_maths(curve.shape)
        check_extremes(curve.shape)


@pytest.mark.parametrize("kind", CURVES)
def test_the_file_form_of_every_kind_reads_back_equal(kind: str) -> None:
    short = parse_ratio({"curve": kind, "from": "70%", "to": "20%"})
    assert isinstance(short, Curve)
    assert kind_of(short.shape) == kind
    form = format_ratio(short)
    assert form == {"curve": kind, "points": {"0%": "70%", "100%": "20%"}} | {
        key: form[key] for key in CURVES[kind].file_keys()
    }
    assert parse_ratio(form) == short


@pytest.mark.parametrize("kind", CURVES)
def test_a_key_of_another_kind_is_refused(kind: str) -> None:
    for other, shape in CURVES.items():
        for key in set(shape.file_keys()) - set(CURVES[kind].file_keys()):
            with pytest.raises(ConfigError, match=rf"only .*\b{other}\b.* curves have it, this"):
                read(GUARDED.replace("KIND", f"{kind}, {key}: 50%"))


def test_kinds_may_share_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CURVES, "late", type("Late", (Sigmoid,), {}))
    read(GUARDED.replace("KIND", "late, steepness: 20"))
    read(GUARDED.replace("KIND", "sigmoid, steepness: 20"))
    with pytest.raises(ConfigError) as caught:
        read(GUARDED.replace("KIND", "cosine, steepness: 20"))
    assert str(caught.value) == (
        "c.yaml:5: mixture.english.ratio.steepness: only sigmoid and late curves have it, this "
        "curve is 'cosine'"
    )


def test_an_unknown_kind_is_reported_before_its_keys() -> None:
    with pytest.raises(ConfigError) as caught:
        read(GUARDED.replace("KIND", "sigmod, speed: 3"))
    assert str(caught.value) == (
        "c.yaml:5: mixture.english.ratio.curve: found 'sigmod', did you mean 'sigmoid'? allowed: "
        + ", ".join(CURVES)
    )


@pytest.mark.parametrize("kind", CURVES)
def test_a_guard_is_refused_exactly_where_a_curve_both_rises_and_falls(kind: str) -> None:
    check_guard(kind)


def check_guard(kind: str) -> None:
    """A guarded integral equals quadrature, or the guard is refused."""
    if not CURVES[kind]().is_monotone:
        with pytest.raises(ConfigError) as caught:
            read(GUARDED.replace("KIND", kind))
        assert str(caught.value) == (
            "c.yaml:5: mixture.english.ratio.guard: a guard needs a curve that only rises or only "
            f"falls between two points, and curve: {kind} does both: use another curve, or remove "
            "the guard"
        )
        return
    curve = read(GUARDED.replace("KIND", kind)).mixture["english"].ratio
    assert curve is not None
    raised = RaisedCurve(CurveFunction.from_curve(curve, 10**6), cap=0.5, part=1.0)
    total = sum(_area(raised, low, high) for low, high in pairwise(np.linspace(0, 1, 20001)))
    assert raised.integral(np.ones(1))[0] == pytest.approx(total, abs=1e-7)


def _area(ratio: RaisedCurve, low: float, high: float) -> float:
    values: Sequence[float] = ratio.value(np.array([(low + high) / 2])).tolist()
    return (high - low) * values[0]


def test_a_kind_that_is_not_monotone_holds_all_but_a_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(CURVES, "wave", Wave)
    check_maths(Wave())
    check_extremes(Wave())
    check_guard("wave")
    curriculum = read(GUARDED.replace(GUARD, "").replace("KIND", "wave"))
    assert read(curriculum.to_yaml()) == curriculum


MISSING = {
    "rise": '''    def rise(self, t: Floats) -> Floats:
        """See `Shape`; sin^2 keeps the digits near 0 that 1 - cos would lose."""
        half: Floats = np.sin(0.5 * np.pi * t)
        return half * half
''',
    "area": '''    def area(self, t: Floats) -> Floats:
        """See `Shape`."""
        return 0.5 * t - np.sin(np.pi * t) / (2.0 * np.pi)
''',
    "bend": '''    def bend(self, start: Floats, end: Floats) -> Floats:
        """See `Shape`."""
        return np.full_like(start, 0.5 * np.pi * np.pi)
''',
    "is_monotone": "    is_monotone: ClassVar[bool] = True\n",
}
"""Parts of a kind, as the module has them; the first occurrence is removed."""


def test_a_kind_that_lacks_a_part_does_not_type_check(tmp_path: Path) -> None:
    changes = {part: (text, "") for part, text in MISSING.items()}
    errors = type_errors(tmp_path, "config/shapes.py", changes)
    assert errors.keys() == MISSING.keys()
    for (message,) in errors.values():
        assert "Only concrete class can be given" in message
