"""Evaluates a model folder or a run's checkpoint: exams, and a recipe's held-out documents."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import torch

from linly.config.recipe import Recipe
from linly.evaluation.harness.exam_session import Answers, ExamSettings, sit_exam
from linly.evaluation.harness.harness_model import harness_model
from linly.evaluation.harness.harness_tasks import harness_version
from linly.evaluation.model_held_out import evaluate_held_out
from linly.exams.exam_scores import questions_hash, score_exam
from linly.exams.paired_test import Paired, compare_answers
from linly.exams.question import LETTERS, Exam
from linly.export.generation import OpenModel, open_model
from linly.export.model_export import DTYPES
from linly.files import made, publish
from linly.records.evaluation_record import SourceEvaluation, sources_form
from linly.records.exam_record import ExamRecord
from linly.runs.exam_results import exam_file_stem, write_exam
from linly.training.ranks.launcher import rank_variables
from linly.training.ranks.processes import Processes, start_processes


@dataclass(frozen=True, slots=True)
class SatExam:
    """A model's answers in an exam, with their record.

    Attributes:
        run: Run folder that the model is a checkpoint of; None for others.
    """

    exam: Exam
    answers: Answers
    record: ExamRecord
    run: Path | None


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure of a model.

    Attributes:
        exams: Exams to sit.
        settings: Settings of all of them.
        recipe: Recipe whose held-out documents are measured; None for none.
        dtype: Type of the weights, a key of DTYPES; None for the stored one, for a run BF16.
        batch_size: Prompts per forward pass.
    """

    exams: Sequence[Exam]
    settings: ExamSettings
    recipe: Recipe | None = None
    dtype: str | None = None
    batch_size: int = 4


@dataclass(frozen=True, slots=True)
class ModelScores:
    """Results of a model.

    Attributes:
        exams: The exams that it sat.
        held_out: Results by source; None without a recipe.
    """

    exams: tuple[SatExam, ...]
    held_out: dict[str, SourceEvaluation] | None


def processes_of_job(environment: Mapping[str, str]) -> Processes:
    """This process among those that a launcher started, or alone.

    Args:
        environment: Environment of this process.
    """
    variables = {**environment, **rank_variables(environment)}
    if variables["WORLD_SIZE"] == "1":
        return Processes(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return start_processes()


@torch.no_grad()
def measure(text: str, request: Request, processes: Processes) -> ModelScores:
    """Load a model and measure what is requested; a collective.

    Args:
        text: Model folder, hub id, or run with its steps.
        request: Exams and recipe to measure.
        processes: Processes of the job.

    Raises:
        LinlyError: If the model cannot be loaded, lm-eval is missing, a prompt does not fit, or
            the vocabulary is not exact.
    """
    with processes.together(f"loading {text}"):
        opened = open_model(text, dtype=DTYPES[request.dtype] if request.dtype else None)
    held_out = None
    if request.recipe is not None:
        held_out = evaluate_held_out(opened.model, opened.tokenizer, request.recipe, processes)
    if not request.exams:
        return ModelScores((), held_out)
    with processes.together("preparing lm-evaluation-harness"):
        harness = harness_model(
            opened.model, opened.tokenizer, opened.folder, batch_size=request.batch_size
        )
    found = []
    for exam in request.exams:
        began = time.monotonic()
        answers = sit_exam(harness, opened.tokenizer, exam, request.settings, processes)
        facts = _facts(text, opened, request.settings, exam, answers)
        record = ExamRecord(
            **facts,
            time=time.time(),
            seconds=time.monotonic() - began,
            world_size=processes.world_size,
        )
        found.append(SatExam(exam, answers, record, opened.run))
    return ModelScores(tuple(found), held_out)


def _facts(
    text: str, opened: OpenModel, settings: ExamSettings, exam: Exam, answers: Answers
) -> dict[str, Any]:
    """Fields of an exam's record, except those on the time that it took."""
    subjects, totals = score_exam(exam, answers.by_subject)
    shots = settings.shots_of(exam)
    given = [answer for listed in answers.by_subject.values() for answer in listed]
    return {
        "exam": exam.name,
        "split": exam.split,
        "model": text,
        "steps": list(opened.steps),
        "shots": shots,
        "num_shortened": sum(answer.shots < shots for answer in given),
        "limit": settings.limit,
        "form": settings.form,
        "delimiter": settings.delimiter_of(exam),
        "has_bos": answers.has_bos,
        "dtype": str(opened.model.dtype).removeprefix("torch."),
        "harness": harness_version(),
        "version": answers.version,
        "questions_hash": questions_hash(exam, settings.limit),
        "subjects": subjects,
        **asdict(totals),
    }


def compared(
    before: ModelScores, after: ModelScores
) -> dict[str, tuple[ExamRecord, ExamRecord, Paired | None]]:
    """Two models' records in each exam, with the test between them; None for secret answers."""
    return {
        first.exam.name: (
            first.record,
            second.record,
            None
            if second.record.micro is None
            else compare_answers(first.exam, first.answers.by_subject, second.answers.by_subject),
        )
        for first, second in zip(before.exams, after.exams, strict=True)
    }


def write_results(sat: SatExam, output: Path | None) -> list[Path]:
    """Write an exam's record into the run's folder, and with the answers below `output`.

    Args:
        sat: The exam.
        output: Folder for the record and the answers; None for none.

    Returns:
        The files.
    """
    files = [] if sat.run is None else [write_exam(sat.run, sat.record)]
    if output is not None:
        stem = exam_file_stem(sat.record)
        record = orjson.dumps(sat.record.to_json(), option=orjson.OPT_INDENT_2)
        files += [output / f"{stem}.json", output / f"{stem}_answers.jsonl"]
        with made(output):
            publish(files[-2], record)
            publish(files[-1], b"".join(_answer_lines(sat.exam, sat.answers)))
    return files


def write_held_out(found: Mapping[str, SourceEvaluation], output: Path) -> Path:
    """Write the results on held-out documents, by source as in evaluations.jsonl."""
    path = output / "held_out.json"
    with made(output):
        publish(path, orjson.dumps(sources_form(found), option=orjson.OPT_INDENT_2))
    return path


def write_submission(sat: SatExam, output: Path) -> Path:
    """Write C-Eval's submission: {subject: {id: letter}} for its secret test.

    Args:
        sat: Answers to the split `test`.
        output: Folder to write into.
    """
    letters = {
        subject: {str(answer.index): LETTERS[answer.chosen] for answer in answers}
        for subject, answers in sorted(sat.answers.by_subject.items())
    }
    path = output / "ceval_submission.json"
    with made(output):
        publish(path, orjson.dumps(letters, option=orjson.OPT_INDENT_2))
    return path


def _answer_lines(exam: Exam, answers: Answers) -> Sequence[bytes]:
    """One JSON line per question."""
    return [
        orjson.dumps(line) + b"\n"
        for subject, given in sorted(answers.by_subject.items())
        for answer in given
        for line in [_answer_line(exam, subject, answer.index, asdict(answer))]
    ]


def _answer_line(exam: Exam, subject: str, index: int, answer: Mapping[str, Any]) -> dict[str, Any]:
    question = exam.questions[subject][index]
    return {
        "subject": subject,
        "index": index,
        "place": question.place,
        "chosen": LETTERS[answer["chosen"]],
        "right": question.letters or None,
        "shots": answer["shots"],
        "num_tokens": answer["num_tokens"],
        "log_likelihoods": list(answer["log_likelihoods"]),
    }
