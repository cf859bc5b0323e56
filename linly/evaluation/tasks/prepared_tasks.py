"""The tasks of a recipe, built and checked before a run; works without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from linly.config.recipe import Recipe
from linly.errors import ConfigError
from linly.evaluation.tasks.exam_task import ExamTask
from linly.evaluation.tasks.in_context import InContextTask
from linly.records.task_record import TaskEvaluation
from linly.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from linly.evaluation.packed_windows import Window

_PASSES_OF_A_STEP = 3
"""Forward passes that take as long as the forward and backward pass of a step."""


class Task(Protocol):
    """A task: windows whose likelihoods give its figures."""

    name: str

    @property
    def windows(self) -> Sequence[Window]:
        """Prompts with one possible answer each, whose tokens are the targets."""

    def measure(self, nll: Sequence[float]) -> TaskEvaluation:
        """Figures from the negative log-likelihood of each window's targets, in nats."""


def prepare_tasks(recipe: Recipe, tokenizer: Tokenizer, *, num_old: int) -> list[Task]:
    """Build the tasks of a recipe.

    Args:
        recipe: Recipe of the run.
        tokenizer: Tokenizer of the run.
        num_old: Size of the vocabulary before it was extended.

    Raises:
        ConfigError: If an exam's files cannot be read, or a prompt does not fit into a row.
    """
    length = recipe.data.sequence_length
    tasks: list[Task] = [
        InContextTask(settings, tokenizer, num_old=num_old, sequence_length=length)
        if settings.is_probe
        else ExamTask(settings, tokenizer, recipe.data_root)
        for settings in recipe.evaluation.tasks
    ]
    for task in tasks:
        _check_length(task, length)
    return tasks


def num_tokens(tasks: Sequence[Task]) -> int:
    """Tokens of the forward passes of one evaluation of the tasks, without padding."""
    return sum(len(ids) for task in tasks for ids, _ in task.windows)


def prompts_hash(task: Task) -> str:
    """Hash of a task's prompts and answers, as tokens."""
    digest = hashlib.sha256()
    for ids, labels in task.windows:
        digest.update(len(ids).to_bytes(8, "little") + ids.tobytes() + labels.tobytes())
    return digest.hexdigest()[:16]


def _check_length(task: Task, length: int) -> None:
    lengths = [len(ids) for ids, _ in task.windows]
    too_long = sum(found > length for found in lengths)
    if too_long:
        raise ConfigError(
            f"evaluation.tasks: {task.name}: {too_long:,} of {len(lengths):,} prompts with their "
            f"answers are longer than a row: the longest has {max(lengths):,} tokens, and "
            f"data.sequence_length is {length:,}. They are not cut, as that would be another exam: "
            "use fewer shots, or longer rows"
        )


def cost_text(tasks: Sequence[Task], recipe: Recipe) -> str:
    """Cost of an evaluation of the tasks beside that of a step."""
    tokens = num_tokens(tasks)
    step = recipe.data.global_batch * recipe.data.sequence_length
    names = ", ".join(task.name for task in tasks)
    return (
        f"{names}: {tokens:,} tokens forward in an evaluation, every "
        f"{recipe.evaluation.task_interval:,} steps; a step has {step:,} forward and backward, so "
        f"an evaluation costs about {tokens / _PASSES_OF_A_STEP / step:.2g} steps"
    )
