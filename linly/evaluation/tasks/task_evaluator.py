"""Evaluates all tasks of a recipe in packed rows, dealt over the ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedModel

from linly.evaluation.packed_windows import PackedWindows
from linly.evaluation.tasks.prepared_tasks import Task, prompts_hash
from linly.modeling.attention.separation import Way
from linly.records.task_record import TaskEvaluation
from linly.training.ranks.processes import Processes


class TaskEvaluator:
    """Evaluates a model on tasks; all ranks take part."""

    def __init__(
        self,
        tasks: Sequence[Task],
        processes: Processes,
        *,
        sequence_length: int,
        batch_rows: int,
        way: Way | None,
    ) -> None:
        """Pack the windows of each task; see `PackedWindows`."""
        self._tasks = tasks
        self._packed = PackedWindows(
            [task.windows for task in tasks],
            processes,
            sequence_length=sequence_length,
            batch_rows=batch_rows,
            way=way,
        )

    def evaluate(self, model: PreTrainedModel) -> dict[str, TaskEvaluation]:
        """Results by task, the same on all ranks.

        Args:
            model: Model in evaluation mode, without gradients; the same on all ranks.
        """
        nll = self._packed.nll(model)
        return {
            task.name: replace(task.measure(found), prompts=prompts_hash(task))
            for task, found in zip(self._tasks, nll, strict=True)
        }
