"""Charts of the tasks of evaluations, and of how far the weights have moved."""

from __future__ import annotations

from collections.abc import Callable

from linly.monitor.charts.figures import (
    MUTED,
    STRONG,
    Chart,
    Figure,
    evaluated_line,
    new_chart,
    new_figure,
)
from linly.monitor.history.history import History
from linly.records.evaluation_record import EvaluationRecord
from linly.records.task_record import TaskEvaluation

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_MAX_LAYERS = 4


def task_charts(history: History) -> tuple[Chart | None, ...]:
    """Accuracies, bits per byte and the gain of copying; None for a chart without data."""
    return (_accuracy(history), _bits(history), _copy_gain(history))


def drift_chart(history: History) -> Chart | None:
    """Distance of the weights from those of the model folder; None without any."""
    found = [record for record in history.evaluations if record.weight_drift]
    if not found:
        return None
    parts = _shown_parts(found)
    figure = new_figure("relative distance", tickformat=".2%", x_end=_end(history), legend=True)
    for index, part in enumerate(parts):
        figure.add_trace(
            evaluated_line(
                [record.tokens_seen for record in found],
                [record.weight_drift.get(part) for record in found],
                name=part,
                line={"dash": _DASHES[index % len(_DASHES)]},
                hover="%{y:.3%}",
                meta=STRONG if part == "all" else MUTED,
            )
        )
    figure.update_yaxes(rangemode="tozero")
    note = "Norm of the weights' change since the model folder, relative to their norm there."
    left_out = len(found[-1].weight_drift) - len(parts)
    if left_out > 0:
        note += f" {left_out} layers between are in evaluations.jsonl."
    return new_chart("weight-drift", "How far the weights have moved", note, figure)


def _shown_parts(found: list[EvaluationRecord]) -> list[str]:
    """All parts of the last record, but of many layers only the first, the last, and some."""
    names = list(found[-1].weight_drift)
    layers = [name for name in names if name.startswith("layer-")]
    if len(layers) <= _MAX_LAYERS:
        return names
    last = len(layers) - 1
    kept = {layers[round(index * last / (_MAX_LAYERS - 1))] for index in range(_MAX_LAYERS)}
    return [name for name in names if name in kept or name not in layers]


def _accuracy(history: History) -> Chart | None:
    figure = new_figure("questions", tickformat=".0%", x_end=_end(history), legend=True)
    has_letters = _add_lines(figure, history, lambda task: task.accuracy, form=".1%")
    has_texts = _add_lines(
        figure, history, lambda task: task.text_accuracy, form=".1%", suffix=", by text", dash=1
    )
    if not has_letters and not has_texts:
        return None
    note = "Questions answered right; of four choices, chance is 25%."
    return new_chart("task-accuracy", "Tasks: accuracy", note, figure)


def _bits(history: History) -> Chart | None:
    figure = new_figure("bits per byte", x_end=_end(history), legend=True)
    if not _add_lines(figure, history, lambda task: task.bits_per_byte, form=".3f"):
        return None
    note = "Bits per byte of the right answers' texts, lower is better."
    return new_chart("task-bits", "Tasks: right answers", note, figure)


def _copy_gain(history: History) -> Chart | None:
    figure = new_figure("bits per token", x_end=_end(history))
    if not _add_lines(figure, history, lambda task: task.copy_gain, form=".2f"):
        return None
    note = "Bits per token that the second copy of a random sequence saves; higher is better."
    return new_chart("copy-gain", "Copying in context", note, figure)


def _add_lines(
    figure: Figure,
    history: History,
    value_of: Callable[[TaskEvaluation], float | None],
    *,
    form: str,
    suffix: str = "",
    dash: int = 0,
) -> bool:
    """Add a line of each task that has the figure; returns whether there is one."""
    records = [record for record in history.evaluations if record.tasks]
    names = list(dict.fromkeys(name for record in records for name in record.tasks))
    is_any = False
    for index, name in enumerate(names):
        tasks = [record.tasks.get(name) for record in records]
        values = [None if task is None else value_of(task) for task in tasks]
        if all(value is None for value in values):
            continue
        is_any = True
        figure.add_trace(
            evaluated_line(
                [record.tokens_seen for record in records],
                values,
                name=f"{name}{suffix}",
                line={"dash": _DASHES[(2 * index + dash) % len(_DASHES)]},
                hover=f"%{{y:{form}}}",
                meta=MUTED if dash else STRONG,
                texts=[None if task is None else task.prompts for task in tasks],
            )
        )
    return is_any


def _end(history: History) -> int:
    return int(history.tokens_seen[-1])
