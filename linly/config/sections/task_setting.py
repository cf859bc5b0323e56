"""Tasks of a recipe's evaluations: exams in files, and the in-context probe."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, Strict, model_validator

from linly.config.yaml.json_forms import JsonSchema
from linly.config.yaml.quantities import Count, Seed, Text, at_most
from linly.config.yaml.strict_model import Model, check_name, found, problem
from linly.records.task_record import TaskFigure

ExamKind = Literal["mmlu", "cmmlu", "ceval"]
"""Exams that a run can take."""

PROBE = "icl"
"""Name of the task that needs no files."""

_PROBE_FIGURES: tuple[TaskFigure, ...] = ("accuracy", "bits_per_answer", "copy_gain")
_EXAM_FIGURES: tuple[TaskFigure, ...] = ("accuracy", "text_accuracy", "bits_per_byte")


class TaskSettings(Model):
    """A task of the evaluations: an exam in files, or `icl`, the in-context probe.

    Attributes:
        name: Name in logs and charts; `icl` is the in-context probe.
        exam: Exam that the files hold; by default the one of the task's name.
        files: Folder of an exam's files, relative to `data_root`; the probe has none.
        shots: Solved examples before each question; 5 for an exam, 16 for the probe.
        limit: Largest number of questions; they are chosen by the seed.
        seed: Seed of the choice of questions, and of the probe's random tokens.
        watch: Figure that guards and alarms compare with step 0. Exams have `accuracy`,
            `text_accuracy` and `bits_per_byte` (the default); the probe has `accuracy` (the
            default), `bits_per_answer` and `copy_gain`.
    """

    name: Text
    exam: ExamKind | None = None
    files: Text | None = None
    shots: Annotated[int, Strict(), Field(ge=0), at_most(1000, "no model has room for more")]
    limit: Annotated[Count, at_most(1_000_000, "each question is held in memory")] = 200
    seed: Seed = 0
    watch: TaskFigure

    @classmethod
    def from_file_form(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Fill in the defaults that depend on the kind of task."""
        name = value.get("name")
        defaults: dict[str, Any] = {"shots": 5, "watch": "bits_per_byte"}
        if name == PROBE:
            defaults = {"shots": 16, "watch": "accuracy"}
        elif name in get_args(ExamKind):
            defaults["exam"] = name
        return defaults | value

    @classmethod
    def file_schema(cls, schema: JsonSchema) -> JsonSchema:
        """Require the name only."""
        return schema | {"required": ["name"]}

    @property
    def is_probe(self) -> bool:
        """Whether it is the in-context probe."""
        return self.name == PROBE

    @model_validator(mode="after")
    def _check(self) -> TaskSettings:
        check_name(self.name, "name")
        for key in ("exam", "files"):
            value = getattr(self, key)
            if self.is_probe and value is not None:
                text = f"found {value!r}, but {PROBE} is the in-context probe, which has none"
                raise problem(f"{text}: give the exam another name", key)
            if not self.is_probe and value is None:
                exams = ", ".join(get_args(ExamKind))
                text = f"missing: a task is an exam ({exams}) with its files, or {PROBE}"
                raise problem(text, key)
        if self.is_probe and not self.shots:
            raise problem(found(0, "1 or more for the in-context probe"), "shots")
        figures = _PROBE_FIGURES if self.is_probe else _EXAM_FIGURES
        if self.watch not in figures:
            raise problem(found(self.watch, " or ".join(figures)), "watch")
        return self
