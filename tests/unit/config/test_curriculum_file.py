"""A curriculum file becomes its normal form, or an error that says where and what is allowed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from linly.config.curriculum import Curriculum, Group, SourceShare, load_curriculum
from linly.config.curve import Curve, RatioGuard, format_ratio
from linly.config.shapes import CURVES, Cosine, Linear, Sigmoid
from linly.config.yaml.run_position import Position
from linly.config.yaml.strict_model import validate
from linly.config.yaml.yaml import Origin, parse_yaml
from linly.errors import ConfigError
from tests.support.mixture_strategies import shapes

EXAMPLE = """\
tokens: 5B
mixture:
  english:
    ratio: {curve: cosine, from: 70%, to: 20%}
    sources: {slimpajama: 60%, refinedweb: 40%}
  parallel:
    ratio: {curve: linear, points: {0%: 10%, 50%: 10%, 100%: 5%}}
    sources: {translation2019zh: 100%}
  instruction:
    ratio: {curve: linear, from: 0%, to: 15%, until: 80%}
    sources: {belle: 50%, alpaca: 10%, firefly: {share: 40%, max_epochs: 2}}
  chinese:
    ratio: rest
    sources: {wiki2019zh: 30%, news2016zh: 30%, webtext2019zh: 20%, csl: 20%}
"""


def read(text: str) -> Curriculum:
    tree = parse_yaml(text, Origin("c.yaml", 1, Path("/")))
    return validate(Curriculum, tree, name="c")


def error(old: str, new: str) -> str:
    assert old in EXAMPLE
    with pytest.raises(ConfigError) as caught:
        read(EXAMPLE.replace(old, new, 1))
    return str(caught.value)


def at(percent: float) -> Position:
    return Position(percent / 100, "fraction")


def test_the_example_is_read_into_its_normal_form() -> None:
    curriculum = read(EXAMPLE)
    assert (curriculum.name, curriculum.tokens) == ("c", 5_000_000_000)
    ratios = {name: group.ratio for name, group in curriculum.mixture.items()}
    assert ratios == {
        "english": Curve(shape=Cosine(), points=((at(0), 0.7), (at(100), 0.2))),
        "parallel": Curve(shape=Linear(), points=((at(0), 0.1), (at(50), 0.1), (at(100), 0.05))),
        "instruction": Curve(shape=Linear(), points=((at(0), 0.0), (at(80), 0.15))),
        "chinese": None,
    }
    assert curriculum.sources["firefly"] == (
        "instruction",
        SourceShare(corpus="firefly", share=0.4, max_epochs=2),
    )
    assert curriculum.sources["csl"] == ("chinese", SourceShare(corpus="csl", share=0.2))


def test_the_resolved_file_reads_back_equal_under_any_file_name(tmp_path: Path) -> None:
    curriculum = read(EXAMPLE)
    path = tmp_path / "curriculum.yaml"
    path.write_text(curriculum.to_yaml(), encoding="utf-8")
    assert load_curriculum(path) == curriculum
    assert load_curriculum(path).to_yaml() == curriculum.to_yaml()


def test_a_curriculum_is_named_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(EXAMPLE, encoding="utf-8")
    assert load_curriculum(path).name == "mine"


def test_a_source_may_use_a_corpus_under_another_name_and_template() -> None:
    text = EXAMPLE.replace("csl: 20%", "papers: {corpus: csl, template: text, share: 20%}")
    _, share = read(text).sources["papers"]
    assert (share.corpus, share.template, share.share) == ("csl", "text", 0.2)


def test_a_bare_percentage_is_a_constant() -> None:
    text = EXAMPLE.replace("{curve: cosine, from: 70%, to: 20%}", "60%")
    assert read(text).mixture["english"].ratio == Curve.constant(0.6)


def test_a_sigmoid_has_a_midpoint_and_a_steepness_by_default() -> None:
    text = EXAMPLE.replace("curve: cosine", "curve: sigmoid")
    curve = read(text).mixture["english"].ratio
    assert curve is not None
    assert curve.shape == Sigmoid(midpoint=0.5, steepness=10.0)


def test_positions_may_be_in_tokens() -> None:
    text = EXAMPLE.replace("until: 80%", "until: 4B")
    curve = read(text).mixture["instruction"].ratio
    assert curve is not None
    assert curve.points[-1] == (Position(4e9, "tokens"), 0.15)
    assert curve.points[-1][0].fraction(5_000_000_000) == 0.8


def test_a_run_shorter_than_a_position_in_tokens_cuts_the_curve() -> None:
    text = EXAMPLE.replace("until: 80%", "until: 4B").replace("tokens: 5B", "tokens: 1B")
    assert read(text).tokens == 10**9


GUARD = "{source: english, max_rise: 3%, cap: 60%}"


def guarded(guard: str = GUARD) -> str:
    return EXAMPLE.replace("from: 70%, to: 20%}", f"from: 70%, to: 20%, guard: {guard}}}")


def test_a_ratio_may_be_guarded_and_reads_back_equal(tmp_path: Path) -> None:
    for guard, steps in ((GUARD, 4), (GUARD.replace("}", ", steps: 7}"), 7)):
        curriculum = read(guarded(guard))
        wanted = RatioGuard(source="english", max_rise=0.03, cap=0.6, steps=steps)
        assert curriculum.guards == {"english": wanted}
        assert curriculum.guarded_sources(wanted) == ("refinedweb", "slimpajama")
        (tmp_path / "c.yaml").write_text(curriculum.to_yaml(), encoding="utf-8")
        assert load_curriculum(tmp_path / "c.yaml") == curriculum
    curve = read(guarded()).mixture["english"].ratio
    assert curve == Curve(
        shape=Cosine(), points=((at(0), 0.7), (at(100), 0.2)), guard=wanted_guard()
    )
    assert read(EXAMPLE).guards == {}


def wanted_guard() -> RatioGuard:
    return RatioGuard(source="english", max_rise=0.03, cap=0.6)


def test_a_guard_may_watch_one_source_of_any_group() -> None:
    curriculum = read(guarded(GUARD.replace("english", "csl")))
    assert curriculum.guarded_sources(curriculum.guards["english"]) == ("csl",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "english",
            "englsh",
            "source: unknown source or group 'englsh', did you mean 'english'? allowed: alpaca, "
            "belle, chinese, csl, english, firefly, instruction, news2016zh, parallel, refinedweb, "
            "slimpajama, translation2019zh, webtext2019zh, wiki2019zh",
        ),
        (
            "max_rise",
            "max_raise",
            "max_raise: unknown key 'max_raise', did you mean 'max_rise'? allowed: cap, "
            "max_drop, max_rise, source, steps, task",
        ),
        (
            "max_rise: 3%, ",
            "",
            "max_rise: missing, a guard is a mapping such as {source: english, max_rise: 3%, cap: "
            "60%} or {task: icl, max_drop: 10%, cap: 60%}",
        ),
        (
            "max_rise",
            "max_drop",
            "max_drop: a guard that monitors a source has source and max_rise only: remove "
            "max_drop, or source",
        ),
        (
            "source: english",
            "task: icl",
            "max_rise: a guard that monitors a task has task and max_drop only: remove max_rise, "
            "or task",
        ),
        (
            "max_rise: 3%",
            "max_rise: 3",
            "max_rise: found 3, allowed: a percentage from 0% to 100%",
        ),
        (
            "cap: 60%",
            "cap: 20%",
            "cap: found '20%', allowed: more than 20%, which the curve is never below",
        ),
        ("60%}", "60%, steps: 0}", "steps: found 0, allowed: 1 or more"),
        ("60%}", "60%, steps: 1.5}", "steps: found 1.5, allowed: a whole number"),
    ],
)
def test_a_guard_s_errors_name_its_keys(old: str, new: str, message: str) -> None:
    assert old in GUARD
    with pytest.raises(ConfigError) as caught:
        read(guarded(GUARD.replace(old, new)))
    assert str(caught.value) == f"c.yaml:4: mixture.english.ratio.guard.{message}"


def test_a_guard_is_a_mapping() -> None:
    for guard, text in (("english", "'english'"), ("", "nothing"), ("3%", "'3%'")):
        with pytest.raises(ConfigError) as caught:
            read(guarded(guard))
        assert str(caught.value) == (
            f"c.yaml:4: mixture.english.ratio.guard: found {text}, allowed: a mapping such as "
            "{source: english, max_rise: 3%, cap: 60%} or {task: icl, max_drop: 10%, cap: 60%}"
        )


def test_a_guard_needs_a_group_that_takes_the_rest() -> None:
    text = """\
tokens: 1M
mixture:
  english:
    ratio: {curve: linear, from: 70%, to: 20%, guard: {source: english, max_rise: 3%, cap: 60%}}
    sources: {web: 100%}
  chinese:
    ratio: {curve: linear, from: 30%, to: 80%}
    sources: {wiki: 100%}
"""
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value) == (
        "c.yaml:4: mixture.english.ratio.guard: a guard takes from the group that has "
        "`ratio: rest`, and no group has it"
    )


def test_a_guard_s_source_is_never_ambiguous() -> None:
    text = guarded().replace("csl: 20%", "english: 20%")
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value) == (
        "c.yaml:4: mixture.english.ratio.guard.source: found 'english', which is a group and a "
        "source of group chinese (c.yaml:14): give one of them another name"
    )
    same = guarded().replace("{slimpajama: 60%, refinedweb: 40%}", "{english: 100%}")
    assert read(same).guarded_sources(wanted_guard()) == ("english",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "tokens: 5B",
            "token: 5B",
            "c.yaml:1: token: unknown key 'token', did you mean 'tokens'? allowed: "
            "mixture, name, tokens",
        ),
        (
            "tokens: 5B",
            "tokens: 5X",
            "c.yaml:1: tokens: found '5X', allowed: a positive number of tokens such as "
            "5B, 200M, 64K or 1000",
        ),
        ("tokens: 5B\n", "", "c.yaml:1: tokens: missing, this key is required"),
        (
            "ratio: rest",
            "ratio: rset",
            "c.yaml:13: mixture.chinese.ratio: found 'rset', did you mean 'rest'? allowed: a "
            "percentage, a curve such as {curve: linear, from: 0%, to: 15%}, or rest",
        ),
        (
            "ratio: rest",
            "ratio: 40%",
            "c.yaml:2: mixture: ratios add up to 120% (english 70% + parallel 10% + instruction "
            "0% + chinese 40%) at the start, allowed: exactly 100%, as no group is 'rest'",
        ),
        (
            "ratio: rest",
            "ratio: 20%",
            "c.yaml:2: mixture: ratios add up to 60% (english 20% + parallel 5% + instruction "
            "15% + chinese 20%) at the end, allowed: exactly 100%, as no group is 'rest'",
        ),
        (
            "from: 70%, to: 20%",
            "from: 95%, to: 20%",
            "c.yaml:2: mixture: ratios add up to 105% (english 95% + parallel 10% + instruction "
            "0%) at the start, allowed: at most 100%",
        ),
        (
            "{curve: linear, from: 0%, to: 15%, until: 80%}",
            "rest",
            "c.yaml:13: mixture.chinese.ratio: found a second 'rest', allowed: one "
            "(the first: instruction, c.yaml:10)",
        ),
        (
            "slimpajama: 60%",
            "slimpajama: 70%",
            "c.yaml:5: mixture.english.sources: shares add up to 110% (slimpajama 70% + "
            "refinedweb 40%), allowed: exactly 100%",
        ),
        (
            "share: 40%",
            "share: 140%",
            "c.yaml:11: mixture.instruction.sources.firefly.share: found '140%', allowed: a "
            "percentage from 0% to 100%",
        ),
        (
            "max_epochs: 2",
            "max_epoch: 2",
            "c.yaml:11: mixture.instruction.sources.firefly.max_epoch: unknown key 'max_epoch', "
            "did you mean 'max_epochs'? allowed: corpus, max_epochs, on_exhausted, share, template",
        ),
        (
            "max_epochs: 2",
            "max_epochs: 0.5",
            "c.yaml:11: mixture.instruction.sources.firefly.max_epochs: found 0.5, allowed: "
            "1.0 or more",
        ),
        (
            "max_epochs: 2",
            "on_exhausted: repeat",
            "c.yaml:11: mixture.instruction.sources.firefly.on_exhausted: found 'repeat', "
            "allowed: error, stop",
        ),
        (
            "csl: 20%",
            "slimpajama: 20%",
            "c.yaml:14: mixture.chinese.sources.slimpajama: a source of this name is in english "
            "already (c.yaml:5): use another name, such as slimpajama-2: {corpus: slimpajama, ...}",
        ),
        (
            "csl: 20%",
            "a/b: 20%",
            "c.yaml:14: mixture.chinese.sources.a/b: found 'a/b', allowed: a name of letters, "
            "digits, '_' and '-', at most 64 characters",
        ),
        (
            "csl: 20%",
            "csl: [20%]",
            "c.yaml:14: mixture.chinese.sources.csl: found a list, allowed: a percentage, or a "
            "mapping such as {share: 40%, max_epochs: 2}",
        ),
        (
            "curve: cosine",
            "curve: cosin",
            "c.yaml:4: mixture.english.ratio.curve: found 'cosin', did you mean 'cosine'? "
            f"allowed: {', '.join(CURVES)}",
        ),
        (
            "curve: cosine, from",
            "from",
            f"c.yaml:4: mixture.english.ratio.curve: missing, allowed: {', '.join(CURVES)}",
        ),
        (
            "curve: cosine",
            "curve: constant",
            "c.yaml:4: mixture.english.ratio.curve: a constant is written as a bare percentage, "
            "such as ratio: 60%",
        ),
        (
            "to: 20%}",
            "to: 20%, steepness: 3}",
            "c.yaml:4: mixture.english.ratio.steepness: only sigmoid curves have it, this curve "
            "is 'cosine'",
        ),
        (
            "curve: cosine",
            "curve: sigmoid, midpoint: 100%",
            "c.yaml:4: mixture.english.ratio.midpoint: found '100%', allowed: more than 0% and "
            "less than 100%",
        ),
        (
            "curve: cosine",
            "curve: sigmoid, steepness: -1",
            "c.yaml:4: mixture.english.ratio.steepness: found -1.0, allowed: 0.001 or more: "
            "a flatter curve is a straight line, which is curve: linear",
        ),
        (
            "until: 80%",
            "untill: 80%",
            "c.yaml:10: mixture.instruction.ratio.untill: unknown key 'untill', did you mean "
            "'until'? allowed: curve, from, guard, points, to, until",
        ),
        (
            "until: 80%",
            "until: 0%",
            "c.yaml:10: mixture.instruction.ratio.until: found '0%', allowed: a position after "
            "the start",
        ),
        (
            "until: 80%",
            "until: soon",
            "c.yaml:10: mixture.instruction.ratio.until: found 'soon', allowed: a position such "
            "as 50% or 500M (tokens)",
        ),
        (
            "from: 0%, to: 15%",
            "to: 15%",
            "c.yaml:10: mixture.instruction.ratio.from: missing, allowed: from and to, or points",
        ),
        (
            "points: {0%: 10%",
            "from: 1%, points: {0%: 10%",
            "c.yaml:7: mixture.parallel.ratio.from: found together with points, allowed: from and "
            "to, or points",
        ),
        (
            "{0%: 10%, 50%: 10%, 100%: 5%}",
            "{0%: 10%}",
            "c.yaml:7: mixture.parallel.ratio.points: found a mapping, allowed: two or more "
            "points, such as {0%: 10%, 100%: 5%}",
        ),
        (
            "50%: 10%",
            "50%: 1000%",
            "c.yaml:7: mixture.parallel.ratio.points.50%: found '1000%', allowed: a percentage "
            "from 0% to 100%",
        ),
        (
            "{0%: 10%, 50%: 10%, 100%: 5%}",
            "{50%: 10%, 0%: 10%, 100%: 5%}",
            "c.yaml:7: mixture.parallel.ratio.points.0%: found 0% after 50%, allowed: positions "
            "that ascend",
        ),
        (
            "{0%: 10%, 50%: 10%, 100%: 5%}",
            "{0%: 10%, 3B: 10%, 50%: 5%}",
            "c.yaml:7: mixture.parallel.ratio.points.50%: found 50% after 3B, allowed: positions "
            "that ascend",
        ),
        (
            "{translation2019zh: 100%}",
            "{}",
            "c.yaml:8: mixture.parallel.sources: found no sources, allowed: at least one",
        ),
        (
            "sources: {translation2019zh: 100%}",
            "sources: translation2019zh",
            "c.yaml:8: mixture.parallel.sources: found 'translation2019zh', allowed: a mapping",
        ),
    ],
)
def test_errors_say_where_what_was_found_and_what_is_allowed(
    old: str, new: str, message: str
) -> None:
    assert error(old, new) == message


def test_all_errors_of_a_file_are_told_at_once() -> None:
    text = EXAMPLE.replace("5B", "x").replace("60%", "600%").replace("max_epochs: 2", "x: 2")
    with pytest.raises(ConfigError) as caught:
        read(text)
    lines = [line.split(": ")[0] for line in str(caught.value).splitlines()]
    assert lines == ["c.yaml:1", "c.yaml:5", "c.yaml:11"]


@pytest.mark.parametrize("text", ["", "[]", "5", "mixture"])
def test_a_document_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="allowed: a mapping of keys to values"):
        read(text)


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read(EXAMPLE).tokens = 5  # type: ignore[misc]


PERCENTS = st.integers(min_value=0, max_value=1000).map(lambda n: n / 1000)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    if draw(st.booleans()):
        return Curve.constant(draw(PERCENTS))
    places = sorted(draw(st.sets(PERCENTS, min_size=2, max_size=5)))
    in_tokens = draw(st.booleans())
    points = tuple(
        (
            Position(float(round(place * 1000)), "tokens")
            if in_tokens
            else Position(place, "fraction"),
            draw(PERCENTS),
        )
        for place in places
    )
    return Curve(shape=draw(shapes()), points=points)


@given(curves(), st.floats(min_value=0.001, max_value=0.999), st.integers(1, 10**13))
def test_any_curve_reads_back_equal(curve: Curve, share: float, tokens: int) -> None:
    ratio = format_ratio(curve)
    group = Group.model_validate({"ratio": ratio, "sources": {"a": "100%"}})
    assert group.ratio == curve
    source = SourceShare(corpus="b", template="text", share=share, on_exhausted="stop")
    rest = {"a": source, "b": SourceShare(corpus="b", share=1 - share)}
    curriculum = Curriculum(
        name="x", tokens=tokens, mixture={"g": Group(ratio=Curve.constant(1.0), sources=rest)}
    )
    assert read(curriculum.to_yaml()) == curriculum
