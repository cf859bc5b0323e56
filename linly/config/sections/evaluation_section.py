"""Section `evaluation` of a recipe: held-out documents, tasks and sampled prompts."""

from __future__ import annotations

from typing import Annotated

from pydantic import model_validator

from linly.config.sections.languages import Languages, default_prompts
from linly.config.sections.task_setting import TaskSettings
from linly.config.yaml.quantities import (
    Count,
    Switch,
    Text,
    at_most,
)
from linly.config.yaml.strict_model import (
    OnResume,
    Settings,
    found,
    problem,
)


class EvaluationSettings(Settings):
    """Settings of evaluation on held-out documents and tasks, and of sampled prompts.

    Attributes:
        every: Steps between evaluations.
        max_documents: Largest number of held-out documents of each source.
        prompts: Prompts that the model completes at every evaluation; `[]` for none. By default
            some in each of the recipe's languages.
        max_new_tokens: Largest number of tokens of a completion.
        tasks: Exams and the in-context probe, such as `[{name: icl}]`.
        tasks_every: Steps between evaluations of the tasks, a multiple of `every`; null evaluates
            them each time. Step 0 and the last step always are.
        weight_drift: Whether each evaluation compares the weights with those of the model folder.
    """

    every: Annotated[Count, OnResume.RECORDED] = 250  # a guarded curve decides at evaluations
    max_documents: Annotated[Count, OnResume.FREE] = 200
    prompts: Annotated[tuple[Text, ...], OnResume.FREE] = default_prompts(*Languages().both)
    max_new_tokens: Annotated[
        Count, at_most(1 << 20, "no model has more positions"), OnResume.FREE
    ] = 64
    tasks: Annotated[tuple[TaskSettings, ...], OnResume.RECORDED] = ()  # a guard may watch one
    tasks_every: Annotated[Count | None, OnResume.RECORDED] = None
    weight_drift: Annotated[Switch, OnResume.FREE] = True

    @property
    def task_interval(self) -> int:
        """Steps between evaluations of the tasks."""
        return self.tasks_every or self.every

    @model_validator(mode="after")
    def _check_tasks(self) -> EvaluationSettings:
        names = [task.name for task in self.tasks]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise problem(found(name, "each name once"), "tasks", index, "name")
        if self.task_interval % self.every:
            allowed = f"a multiple of evaluation.every ({self.every:,})"
            raise problem(found(self.tasks_every, allowed), "tasks_every")
        return self
