"""What a plan says of guards: the band, the worst case of epochs, and whether they can see."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.config.curriculum import Curriculum
from linly.config.yaml.strict_model import validate
from linly.config.yaml.yaml import Origin, parse_yaml
from linly.curriculum.guard_plan import GuardPlan
from linly.curriculum.run_plan import Available, Plan, SourcePlan, check_plan, make_plan
from linly.errors import ConfigError

TEXT = """
tokens: 10M
mixture:
  english:
    ratio: {curve: linear, from: 80%, to: 20%, guard: {source: english, max_rise: 3%, cap: 60%}}
    sources: {web: 60%, books: 40%}
  chinese: {ratio: rest, sources: {wiki: 100%}}
"""


@pytest.fixture(scope="module")
def curriculum() -> Curriculum:
    return validate(Curriculum, parse_yaml(TEXT, Origin("c.yaml", 1, Path("/"))), name="c")


def has(tokens: int, *, has_held_out: bool = True) -> Available:
    return Available(tokens, supervised_tokens=tokens, exact=True, has_held_out=has_held_out)


def planned(curriculum: Curriculum, **available: Available) -> Plan:
    return make_plan(curriculum, sequence_length=100, available=available)


def source(plan: Plan, name: str) -> SourcePlan:
    return next(source for source in plan.sources if source.name == name)


def test_the_band_lies_between_the_curve_and_the_cap(curriculum: Curriculum) -> None:
    plan = make_plan(curriculum, sequence_length=100, extra_positions=[0.9])
    assert plan.guards == (
        GuardPlan(
            group="english",
            rest="chinese",
            source="english",
            watched=("books", "web"),
            max_rise=0.03,
            task=None,
            max_drop=None,
            cap=0.6,
            steps=4,
            ratios=pytest.approx((0.8, 0.5, 0.26, 0.2)),
            raised_ratios=pytest.approx((0.8, 0.6, 0.6, 0.6)),
        ),
    )


def test_most_rows_are_those_with_the_cap_throughout(curriculum: Curriculum) -> None:
    """The curve is above 60% for a third of the run, 70% there on average."""
    plan = planned(curriculum)
    english = (0.7 / 3 + 0.6 * 2 / 3) * plan.num_rows
    assert source(plan, "web").most_rows == pytest.approx(0.6 * english, abs=1)
    assert source(plan, "books").most_rows == pytest.approx(0.4 * english, abs=1)
    assert source(plan, "web").rows == pytest.approx(0.6 * plan.num_rows / 2, abs=1)
    assert source(plan, "wiki").most_rows == source(plan, "wiki").rows


def test_too_many_epochs_only_at_the_cap_are_a_warning(curriculum: Curriculum) -> None:
    """web: 3.0M of 0.8M tokens as planned, 3.8M at most."""
    plan = planned(curriculum, web=has(800_000), books=has(9_000_000))
    assert source(plan, "web").epochs == pytest.approx(3.75, abs=0.01)
    assert source(plan, "web").most_epochs == pytest.approx(4.75, abs=0.01)
    check_plan(plan, curriculum)
    assert [text for text in plan.warnings() if "cap" in text] == [
        "source web: 4.75 epochs if its guard keeps group english at its cap throughout, "
        "allowed: 4 (max_epochs); the run would end when they are used up"
    ]
    with pytest.raises(ConfigError, match=r"source web: 4\.2"):
        check_plan(planned(curriculum, web=has(700_000)), curriculum)


def test_a_guard_with_nothing_held_out_to_watch_is_refused(curriculum: Curriculum) -> None:
    blind, sees = has(9_000_000, has_held_out=False), has(9_000_000)
    check_plan(planned(curriculum), curriculum)  # not looked at
    check_plan(planned(curriculum, web=blind, books=sees), curriculum)
    check_plan(planned(curriculum, web=sees, books=sees, wiki=blind), curriculum)
    with pytest.raises(ConfigError) as caught:
        check_plan(planned(curriculum, web=blind, books=blind), curriculum)
    assert str(caught.value) == (
        "curriculum c: mixture.english.ratio.guard.source: no document of books, web is held out, "
        "so there are no bits per byte to watch: set held_out in its corpus file, or watch another "
        "source"
    )
