"""Result of a task in an evaluation, an exam or the in-context probe, and its drop since step 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import ConfigDict, Field, TypeAdapter

from linly.records.measures import relative_change
from linly.records.metrics import Hidden, MeasuredRecord, Metric, Within

TaskFigure = Literal["accuracy", "text_accuracy", "bits_per_byte", "bits_per_answer", "copy_gain"]
"""Figures of tasks, by their keys in a record."""

LOWER_IS_BETTER = frozenset({"bits_per_byte", "bits_per_answer"})
"""Figures that fall as a model improves."""

_Count = Annotated[int, Field(ge=0, lt=1 << 62)]
_Measure = float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvaluation(MeasuredRecord):
    """Result of one task at one step; a figure that the task does not have is None.

    Attributes:
        questions: Number of questions.
        accuracy: Fraction of the questions whose right answer is the most likely one. In an exam,
            the answers are letters.
        text_accuracy: The same with the answers' texts, each log-likelihood divided by the bytes of
            its text.
        bits_per_byte: Bits per UTF-8 byte of the right answers' texts.
        bits_per_answer: Bits of a right answer of the in-context probe.
        copy_gain: Bits per token by which the second copy of a random sequence is more likely.
        letters: How often each letter was the most likely one, by letter.
        watched: Figure that guards and alarms compare with step 0.
        prompts: Hash of the prompts and answers; results of others are not compared.
    """

    __pydantic_config__: ClassVar = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    questions: _Count = 0
    accuracy: Annotated[
        _Measure,
        Metric(
            "fraction of questions",
            tag="task/{}/accuracy",
            shown=Within("task-accuracy"),
            alarm="task_drop",
        ),
    ] = None
    text_accuracy: Annotated[
        _Measure,
        Metric(
            "fraction of questions",
            tag="task/{}/text_accuracy",
            shown=Within("task-accuracy"),
            alarm="task_drop",
        ),
    ] = None
    bits_per_byte: Annotated[
        _Measure,
        Metric(
            "bits per byte",
            tag="task/{}/bits_per_byte",
            shown=Within("task-bits"),
            alarm="task_drop",
        ),
    ] = None
    bits_per_answer: Annotated[
        _Measure,
        Metric(
            "bits per answer",
            tag="task/{}/bits_per_answer",
            shown=Hidden("the accuracy of the same answers is shown"),
            alarm="task_drop",
        ),
    ] = None
    copy_gain: Annotated[
        _Measure,
        Metric(
            "bits per token",
            tag="task/{}/copy_gain",
            shown=Within("copy-gain"),
            alarm="task_drop",
        ),
    ] = None
    letters: dict[str, _Count] = field(default_factory=dict)
    watched: TaskFigure = "accuracy"
    prompts: str = ""

    @property
    def watched_value(self) -> float | None:
        """Value of the watched figure."""
        value: float | None = getattr(self, self.watched)
        return value


def task_drop(before: TaskEvaluation | None, now: TaskEvaluation | None) -> float | None:
    """Relative loss of a task's watched figure since step 0, such as 0.1 for 10%.

    Bits that rise by 10% are a drop of 10%, as an accuracy is that falls by 10%.

    Args:
        before: Result at step 0; None if the task was not evaluated there.
        now: Result to compare.

    Returns:
        The drop, negative for a gain; None if it cannot be computed.
    """
    if before is None or now is None:
        return None
    if before.watched_value is None or before.watched_value <= 0:  # nothing that could be lost
        return None
    if (before.watched, before.prompts) != (now.watched, now.prompts):
        return None
    change = relative_change(before.watched_value, now.watched_value)
    if change is None:
        return None
    return change if now.watched in LOWER_IS_BETTER else -change


_TASKS = TypeAdapter(dict[str, TaskEvaluation])


def tasks_form(tasks: Mapping[str, TaskEvaluation]) -> dict[str, Any]:
    """Results by task as a JSON object, for a checkpoint's state."""
    form: dict[str, Any] = _TASKS.dump_python(dict(tasks))
    return form


def parse_tasks(form: Mapping[str, Any]) -> dict[str, TaskEvaluation]:
    """Results by task from a checkpoint's state.

    Raises:
        ValidationError: If they are not of this form.
    """
    return _TASKS.validate_json(orjson.dumps(form))
