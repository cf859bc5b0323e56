"""The mixture of a first run follows from the amount of text of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linly.config.curriculum import Curriculum
from linly.config.yaml.strict_model import validate
from linly.config.yaml.yaml import Origin, parse_yaml, write_yaml
from linly.curriculum.run_plan import Available, Plan, make_plan
from linly.errors import ConfigError
from linly.starter.mixture_choice import (
    LEARNED_EPOCHS,
    MAX_TOKENS,
    OTHER_EPOCHS,
    RATIOS,
    GroupChoice,
    Role,
    check_tokens,
    choose_groups,
    choose_tokens,
)

M = 1_000_000
PLENTY: dict[Role, dict[str, int]] = {
    "kept": {"pajama": 90 * M, "web": 10 * M},
    "parallel": {"pairs": 50 * M},
    "instruction": {"alpaca": 40 * M},
    "learned": {"wiki": 6 * M, "news": 4 * M},
}


def supply(available: dict[Role, dict[str, int]]) -> dict[Role, int]:
    return {role: sum(tokens.values()) for role, tokens in available.items()}


def by_role(groups: tuple[GroupChoice, ...]) -> dict[Role, GroupChoice]:
    return {group.role: group for group in groups}


def planned(available: dict[Role, dict[str, int]], tokens: int) -> Plan:
    mixture = {group.role: group.file_form() for group in choose_groups(available, tokens)}
    text = write_yaml({"tokens": tokens, "mixture": mixture})
    curriculum = validate(Curriculum, parse_yaml(text, Origin("c", None, Path.cwd())), name="c")
    counts = {name: n for found in available.values() for name, n in found.items()}
    return make_plan(
        curriculum,
        sequence_length=256,
        available={name: Available(n, n, True, True) for name, n in counts.items()},
    )


def test_learned_text_is_read_twice() -> None:
    tokens = choose_tokens(supply(PLENTY))
    plan = planned(PLENTY, tokens)
    epochs = {source.name: source.epochs for source in plan.sources}
    assert epochs["wiki"] == pytest.approx(LEARNED_EPOCHS, rel=0.01)
    assert epochs["news"] == pytest.approx(LEARNED_EPOCHS, rel=0.01)


def test_mean_ratio_is_that_of_the_curve() -> None:
    """The arithmetic agrees with the integral that schedules rows."""
    tokens = choose_tokens(supply(PLENTY))
    rows = {source.name: source.tokens for source in planned(PLENTY, tokens).sources}
    for role, ratio in RATIOS.items():
        share = sum(rows[name] for name in PLENTY[role]) / tokens
        assert share == pytest.approx(ratio.mean, abs=1e-3)


def test_plenty_of_text_gets_the_published_curves() -> None:
    groups = by_role(choose_groups(PLENTY, choose_tokens(supply(PLENTY))))
    assert list(groups) == ["kept", "parallel", "instruction", "learned"]
    assert groups["kept"].file_form() == {
        "ratio": {"curve": "cosine", "from": "70%", "to": "20%"},
        "sources": {"pajama": "90%", "web": "10%"},
    }
    assert groups["instruction"].file_form()["ratio"]["until"] == "80%"
    assert groups["learned"].file_form() == {
        "ratio": "rest",
        "sources": {"wiki": "60%", "news": "40%"},
    }


def test_little_kept_text_lowers_its_ratio_not_the_run() -> None:
    available = PLENTY | {"kept": {"web": M}}
    tokens = choose_tokens(supply(available))
    kept = by_role(choose_groups(available, tokens))["kept"]
    assert 0 < kept.factor < 1
    assert kept.ratio is not None and kept.ratio.start < 0.70
    (web,) = [source for source in planned(available, tokens).sources if source.name == "web"]
    assert web.epochs == pytest.approx(OTHER_EPOCHS, rel=0.05)


def test_a_run_is_at_most_the_published_one() -> None:
    assert choose_tokens({"learned": 10**12}) == MAX_TOKENS


def test_a_corpus_too_small_for_a_share_is_left_out() -> None:
    available: dict[Role, dict[str, int]] = {"learned": {"wiki": 100 * M, "note": 100}}
    (learned,) = choose_groups(available, 100 * M)
    assert learned.shares == {"wiki": 1000}


def test_too_many_requested_tokens_are_refused() -> None:
    check_tokens(supply(PLENTY), choose_tokens(supply(PLENTY)))
    with pytest.raises(ConfigError, match=r"--tokens: found 500M, .* use at most 99M"):
        check_tokens(supply(PLENTY), 500 * M)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["kept", "parallel", "instruction"]),
        st.dictionaries(st.sampled_from("abcd"), st.integers(0, 30 * M), max_size=4),
    ),
    st.dictionaries(st.sampled_from("efgh"), st.integers(200_000, 30 * M), min_size=1),
)
def test_any_data_give_a_plan_within_four_epochs(
    others: dict[Role, dict[str, int]], learned: dict[str, int]
) -> None:
    available: dict[Role, dict[str, int]] = {
        **{
            role: {f"{role}-{name}": n for name, n in tokens.items()}
            for role, tokens in others.items()
        },
        "learned": learned,
    }
    plan = planned(available, choose_tokens(supply(available)))
    # Shares are rounded to 0.1%, so a corpus that is tiny beside its group has no exact epochs.
    counted = [(s.available.tokens, s.epochs) for s in plan.sources if s.available and s.epochs]
    assert max(epochs for tokens, epochs in counted if tokens > 100_000) < 4
