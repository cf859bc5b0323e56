"""`linly evaluate`: exams and held-out bits per byte of a model or a run's checkpoint."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linly.cli.generate import ModelOrRun
from linly.errors import ConfigError

if TYPE_CHECKING:
    from linly.evaluation.harness.exam_session import ExamSettings
    from linly.exams.question import Exam
    from linly.export.model_evaluation import ModelScores
    from linly.records.exam_record import ExamRecord


class PromptsOf(str, Enum):
    """Whose prompts are used."""

    harness = "harness"
    authors = "authors"


class WeightType(str, Enum):
    """Types of the weights."""

    bf16 = "bf16"
    fp16 = "fp16"
    fp32 = "fp32"


Tasks = Annotated[
    str, typer.Option(help="Exams, separated by commas: mmlu, cmmlu, ceval, agieval.")
]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with a folder per exam.")]
Shots = Annotated[
    int, typer.Option(min=0, max=100, help="Solved examples in a prompt (agieval: none).")
]
HeldOutRecipe = Annotated[
    Path | None,
    typer.Option(help="Recipe whose sources' held-out documents are measured as well."),
]
Compare = Annotated[
    str | None,
    typer.Option(metavar="BASE", help="Model or run to measure too, and to test against."),
]
Leaks = Annotated[
    Path | None,
    typer.Option(
        metavar="LIST",
        help="Record list of leaks: count the exams' questions that the run was trained on.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder for the scores and each question's answer."),
]
Limit = Annotated[
    int | None,
    typer.Option(min=1, max=1_000_000, help="Ask only the first questions of each subject."),
]
Prompts = Annotated[
    PromptsOf, typer.Option(help="Prompts of lm-eval (harness) or of the exam's authors.")
]
Delimiter = Annotated[
    str | None,
    typer.Option(help="Text before the answer's letter (default: that of the prompts)."),
]
DropShots = Annotated[
    bool, typer.Option("--drop-shots", help="Give a prompt that does not fit fewer examples.")
]
Submission = Annotated[
    bool, typer.Option("--submission", help="Answer C-Eval's secret test, into --output.")
]
BatchSize = Annotated[int, typer.Option(min=1, max=1 << 16, help="Prompts per forward pass.")]
Dtype = Annotated[WeightType | None, typer.Option(help="Type of the weights (default: as stored).")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    model: ModelOrRun,
    tasks: Tasks = "",
    data: Data = None,
    shots: Shots = 5,
    recipe: HeldOutRecipe = None,
    compare: Compare = None,
    leaks: Leaks = None,
    output: Output = None,
    limit: Limit = None,
    prompts: Prompts = PromptsOf.harness,
    delimiter: Delimiter = None,
    drop_shots: DropShots = False,
    submission: Submission = False,
    batch_size: BatchSize = 4,
    dtype: Dtype = None,
) -> None:
    """Measure a model in exams through lm-evaluation-harness, on local files and without network.

    Under `torchrun -m linly evaluate` or `srun` the questions are dealt over the ranks.
    Scores of a run's checkpoint are written into the run's folder, and its report shows them.
    """
    from linly import api
    from linly.evaluation.harness.exam_session import ExamSettings
    from linly.export.model_evaluation import Request, measure, processes_of_job
    from linly.training.ranks.launcher import first_rank_reports
    from linly.training.ranks.processes import stop_processes

    form = ExamSettings(shots, prompts.value, delimiter, limit, drop_shots)
    _check(tasks, data, recipe, compare, output, drops_shots=drop_shots, is_submission=submission)
    _check_leaks(model, leaks)
    with first_rank_reports():
        names = [name.strip() for name in tasks.split(",") if name.strip()]
        exams = _exams(names, data, form, is_submission=submission)
        loaded = None if recipe is None else api.load_recipe(recipe)
        request = Request(
            exams, form, loaded, dtype=None if dtype is None else dtype.value, batch_size=batch_size
        )
        processes = processes_of_job(os.environ)
        before = None if compare is None else measure(compare, request, processes)
        after = measure(model, request, processes)
        with processes.together("writing the scores"):
            if processes.is_first:
                _report(after, before, output, leaks, is_submission=submission)
    if processes.world_size > 1:
        stop_processes()


def _check(
    tasks: str,
    data: Path | None,
    recipe: Path | None,
    compare: str | None,
    output: Path | None,
    *,
    drops_shots: bool,
    is_submission: bool,
) -> None:
    """Check that the options go together."""
    if not tasks.strip() and recipe is None:
        raise ConfigError("nothing to measure: name exams with --tasks, or a recipe with --recipe")
    if tasks.strip() and data is None:
        raise ConfigError("--tasks needs --data DIR, the folder with a folder per exam")
    if drops_shots and compare is not None:
        raise ConfigError(
            "--drop-shots with --compare would give the two models different prompts; use fewer "
            "--shots for both"
        )
    if is_submission and (tasks.strip() != "ceval" or output is None):
        raise ConfigError("--submission needs --tasks ceval and --output DIR")


def _check_leaks(model: str, leaks: Path | None) -> None:
    from linly.export.run_checkpoints import parse_run

    if leaks is not None and not (parse_run(model)[0] / "rows").is_dir():
        raise ConfigError(
            f"--leaks: {model} is not a run, so it has no record of the rows that it was trained "
            f"on; name the run"
        )


def _exams(
    names: list[str], data: Path | None, form: ExamSettings, *, is_submission: bool
) -> list[Exam]:
    from linly.exams.exam_reader import read_exam
    from linly.exams.question import EXAM_NAMES

    exams = []
    for name in dict.fromkeys(names):
        known = next((exam for exam in EXAM_NAMES if exam == name), None)
        if known is None:
            raise ConfigError(f"--tasks: found {name!r}, allowed: {', '.join(EXAM_NAMES)}")
        assert data is not None
        folder = data / name
        exams.append(
            read_exam(folder, known, split="test", shots=form.shots)
            if is_submission
            else read_exam(folder, known, shots=form.shots)
        )
    return exams


def _report(
    after: ModelScores,
    before: ModelScores | None,
    output: Path | None,
    leaks: Path | None,
    *,
    is_submission: bool,
) -> None:
    """Print the scores and write their files."""
    from linly.cli.evaluate_texts import print_comparison, print_exam, print_held_out
    from linly.export.model_evaluation import (
        compared,
        write_held_out,
        write_results,
        write_submission,
    )

    if after.held_out is not None:
        print_held_out(after.held_out, None if before is None else before.held_out)
        if output is not None:
            print(f"written: {write_held_out(after.held_out, output)}")
    for sat in after.exams:
        print_exam(sat.record)
        if leaks is not None:
            _print_leaks(sat.record, leaks)
        for file in write_results(sat, output):
            print(f"written: {file}")
        if is_submission and output is not None:
            print(f"written: {write_submission(sat, output)}")
    if before is not None:
        print_comparison(compared(before, after))


def _print_leaks(record: ExamRecord, leaks: Path) -> None:
    """Print how many of an exam's questions the run was trained on, up to its checkpoint."""
    from linly.data.scanning.trained_questions import questions_of_run
    from linly.export.run_checkpoints import parse_run

    run, _ = parse_run(record.model)
    found = questions_of_run(run, leaks, last_step=max(record.steps)).get(record.exam, set())
    asked = [
        index
        for _, split, index in (question.split("/") for question in found)
        if split == record.split and (record.limit is None or int(index) < record.limit)
    ]
    print(
        f"{len(asked):,} of {record.num_questions:,} questions are in records that the run was "
        f"trained on, by {leaks}"
    )
