"""Percentages and amounts of tokens mean one number each and are written so that they read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from linly.config.yaml.quantities import (
    Fraction,
    Tokens,
    format_fraction,
    format_tokens,
    parse_fraction,
    parse_tokens,
)
from linly.config.yaml.strict_model import Model


@pytest.mark.parametrize(
    ("value", "fraction"),
    [
        ("70%", 0.7),
        ("0.1%", 0.001),
        ("100%", 1.0),
        ("0%", 0.0),
        ("12.5 %", 0.125),
        (".5%", 0.005),
        (0, 0.0),
        (0.25, 0.25),
        (1.0, 1.0),
    ],
)
def test_fractions(value: object, fraction: float) -> None:
    assert parse_fraction(value) == fraction


@pytest.mark.parametrize(
    "value",
    ["101%", "-1%", "70", "x%", "%", "1e1%", "½%", "٣%", 1, 2, -1, 1.5, -0.1, True, None, []],
)
def test_what_is_no_fraction_is_refused(value: object) -> None:
    with pytest.raises(PydanticCustomError, match=r"found .*, allowed: .*100%"):
        parse_fraction(value)


def test_a_bare_1_is_refused_as_it_could_mean_1_or_100_percent() -> None:
    with pytest.raises(PydanticCustomError, match="100% or 1%"):
        parse_fraction(1)


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        ("5B", 5_000_000_000),
        ("200M", 200_000_000),
        ("1.5K", 1500),
        ("0.1K", 100),
        ("2T", 2_000_000_000_000),
        (1000, 1000),
        (1e9, 1_000_000_000),
        ("12", 12),
    ],
)
def test_tokens(value: object, tokens: int) -> None:
    assert parse_tokens(value) == tokens


@pytest.mark.parametrize(
    "value",
    ["5b", "5 B", "0.0001K", "-5B", "0", 0, -1, 1.5, True, None, "5G", "1e9", 1e300, "9" * 19],
)
def test_what_is_no_amount_is_refused(value: object) -> None:
    with pytest.raises(
        PydanticCustomError, match=r"found .*, allowed: a positive number of tokens"
    ):
        parse_tokens(value)


@given(st.floats(min_value=0, max_value=1))
def test_a_written_fraction_reads_back_exactly(value: float) -> None:
    assert parse_fraction(format_fraction(value)) == value


@given(st.integers(min_value=1, max_value=10**16))
def test_written_tokens_read_back_exactly(value: int) -> None:
    assert parse_tokens(format_tokens(value)) == value


class Stretch(Model):
    share: Fraction = 0.07
    tokens: Tokens


def test_a_model_writes_its_quantities_as_text() -> None:
    stretch = Stretch.model_validate({"tokens": "5B"})
    assert stretch.file_form() == {"share": "7%", "tokens": "5B"}
    assert stretch.short_form() == {"tokens": "5B"}
