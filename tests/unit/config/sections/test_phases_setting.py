"""`training.phases` and `training.lr_scale`: forms, errors, and the steps of each phase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linly.config.sections.phases_setting import (
    check_ends,
    describe_phases,
    last_steps,
    phase_at,
)
from linly.config.sections.training_section import TrainingSettings, saved_choice
from linly.config.yaml.quantities import Text
from linly.config.yaml.strict_model import Model, validate
from linly.config.yaml.yaml import Origin, parse_yaml
from linly.errors import ConfigError

THREE = (
    "{phases: [{until: 5%, trainable: new_rows}, {until: 2M, trainable: embeddings}, "
    "{trainable: full, moments: zero}], lr_scale: {embeddings: 0.2, new_rows: 1.0}}"
)


class Document(Model):
    name: Text
    training: TrainingSettings = TrainingSettings()


def read(training: str) -> TrainingSettings:
    tree = parse_yaml(f"training: {training}\n", Origin("recipe.yaml", 1, Path()))
    return validate(Document, tree, name="document").training


def phases_of(*untils: str) -> Any:
    listed = [{"until": until, "trainable": "new_rows"} for until in untils]
    form = {"phases": [*listed, {"trainable": "full"}]}
    return TrainingSettings.model_validate(form).phases


def test_the_file_form_reads_back_equal() -> None:
    settings = read(THREE)
    assert TrainingSettings.model_validate(settings.file_form()) == settings
    assert settings.file_form()["phases"][0] == {
        "until": "5%", "trainable": "new_rows", "moments": "keep",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("new_rows", "full"), "full"),
        (("embeddings", "new_rows"), "new_rows"),
        (("embeddings",), "embeddings"),
    ],
)
def test_the_optimizer_holds_what_any_phase_trains(kinds: tuple[str, ...], expected: str) -> None:
    ends = [{"until": f"{index}%"} for index in range(1, len(kinds))] + [{}]
    listed = [{"trainable": kind} | end for kind, end in zip(kinds, ends, strict=True)]
    settings = TrainingSettings.model_validate({"phases": listed})
    assert settings.optimized.kind == expected
    assert saved_choice(settings.file_form()) == settings.optimized


@pytest.mark.parametrize(
    ("training", "error"),
    [
        (
            "{phases: [{until: 5%, trainable: new_row}, {trainable: full}]}",
            "phases[0].trainable: found 'new_row', did you mean 'new_rows'?",
        ),
        (
            "{phases: [{trainable: {lora: {}}}]}",
            "phases[0].trainable: found 'lora', allowed: full, embeddings, new_rows",
        ),
        ("{phases: [{until: 5%}]}", "phases[0].trainable: missing, this key is required"),
        (
            "{phases: [{until: 0%, trainable: full}, {trainable: full}]}",
            "phases[0].until: found '0%', allowed: a position after the start",
        ),
        (
            "{phases: [{until: soon, trainable: full}, {trainable: full}]}",
            "phases[0].until: found 'soon', allowed: a position such as 50% or 500M (tokens)",
        ),
        ("{phases: [{until: 5%, trainable: full}]}", "phases[0].until: found one in the last"),
        (
            "{phases: [{trainable: new_rows}, {trainable: full}]}",
            "phases[0].until: missing, only the last phase has none",
        ),
        (
            "{trainable: embeddings, phases: [{trainable: full}]}",
            "trainable: found together with training.phases",
        ),
        (
            "{phases: [{trainable: full, moment: zero}]}",
            "phases[0].moment: unknown key 'moment', did you mean 'moments'?",
        ),
        ("{lr_scale: {head: 0}}", "lr_scale.head: found 0.0, allowed: 1e-06 or more: fp32"),
        ("{lr_scale: {body: 2}}", "lr_scale.body: unknown key 'body', allowed: embeddings, head"),
        (
            "{trainable: {new_rows: {head: old}}}",
            "trainable.new_rows.head: found 'old', allowed: new, all",
        ),
        ("{trainable: {new_rows: all}}", "trainable.new_rows: found 'all', allowed: a mapping"),
    ],
)
def test_errors_name_the_key(training: str, error: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(training)
    assert str(raised.value).startswith(f"recipe.yaml:1: training.{error}")


def test_ends_must_ascend_in_the_run_s_tokens() -> None:
    check_ends(phases_of("5%", "200M"), tokens=10**9)
    with pytest.raises(ValueError, match="found 40M after 50%, allowed: positions that ascend"):
        check_ends(phases_of("50%", "40M"), tokens=10**8)


def test_a_phase_includes_the_step_in_which_it_ends() -> None:
    assert last_steps(phases_of("7%"), num_steps=100, step_tokens=10) == (7, 100)
    assert last_steps(phases_of("7.1%"), num_steps=100, step_tokens=10) == (8, 100)
    assert last_steps(phases_of("71"), num_steps=100, step_tokens=10) == (8, 100)
    assert last_steps(phases_of("1M"), num_steps=100, step_tokens=10) == (100, 100)


@given(st.lists(st.floats(0.001, 99.9), max_size=5, unique=True), st.integers(1, 10_000))
def test_every_step_is_in_one_phase_in_order(ends: list[float], num_steps: int) -> None:
    phases = phases_of(*(f"{end:.6f}%" for end in sorted(ends)))
    last = last_steps(phases, num_steps=num_steps, step_tokens=8)
    found = [phase_at(last, step) for step in range(1, num_steps + 1)]
    assert found == sorted(found)
    assert last[-1] == num_steps


def test_phases_are_described_by_their_steps() -> None:
    lines = describe_phases(read(THREE).phases, (5, 9, 100))
    assert lines == [
        "steps 1 to 5: new_rows",
        "steps 6 to 9: embeddings",
        "steps 10 to 100: full, with moments from zero",
    ]
    assert describe_phases(read(THREE).phases, (5, 100, 100))[2].startswith("no step: full")
