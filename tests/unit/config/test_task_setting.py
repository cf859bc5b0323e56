"""Tasks in a recipe: their forms, their defaults, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linly.config.sections.evaluation_section import EvaluationSettings
from linly.config.yaml.strict_model import Model, validate
from linly.config.yaml.yaml import Origin, parse_yaml
from linly.errors import ConfigError


class Part(Model):
    """A file with the section."""

    name: str
    evaluation: EvaluationSettings


def read(text: str) -> EvaluationSettings:
    whole = "evaluation:\n" + "".join(f"  {line}\n" for line in text.splitlines())
    return validate(Part, parse_yaml(whole, Origin("e.yaml", 1, Path("/"))), name="e").evaluation


def test_the_short_forms_have_their_defaults() -> None:
    made = read("tasks: [{name: icl}, {name: cmmlu, files: exams/cmmlu}]\nevery: 10")
    probe, exam = made.tasks
    assert (probe.exam, probe.shots, probe.limit, probe.watch) == (None, 16, 200, "accuracy")
    assert (exam.exam, exam.shots, exam.watch) == ("cmmlu", 5, "bits_per_byte")
    assert made.task_interval == 10
    assert read("tasks_every: 500\nevery: 250").task_interval == 500
    again = EvaluationSettings.model_validate(made.file_form())
    assert again == made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "tasks: [{name: cmmlu}]",
            "tasks[0].files: missing: a task is an exam (mmlu,",
        ),
        ("tasks: [{name: own, files: x}]", "tasks[0].exam: missing: a task is an exam"),
        ("tasks: [{name: icl, files: x}]", "tasks[0].files: found 'x', but icl is the in-context"),
        ("tasks: [{name: icl, shots: 0}]", "tasks[0].shots: found 0, allowed: 1 or more"),
        ("tasks: [{name: icl, watch: text_accuracy}]", "tasks[0].watch: found 'text_accuracy'"),
        (
            "tasks: [{name: icl}, {name: icl}]",
            "tasks[1].name: found 'icl', allowed: each name",
        ),
        ("every: 250\ntasks_every: 300", "tasks_every: found 300, allowed: a multiple of"),
        ("tasks: [{name: a/b, exam: mmlu, files: x}]", "tasks[0].name: found 'a/b'"),
    ],
)
def test_what_is_refused_names_its_key(text: str, message: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert message in str(caught.value)
