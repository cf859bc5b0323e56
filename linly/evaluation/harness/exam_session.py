"""Asks a model the questions of an exam, dealt over the ranks, through lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from linly.errors import ConfigError
from linly.evaluation.harness.harness_model import check_ids
from linly.evaluation.harness.harness_tasks import make_tasks
from linly.exams.exam_prompts import FORMS, FormName
from linly.exams.exam_scores import Answer
from linly.exams.question import Exam
from linly.tokenization.tokenizer import Tokenizer
from linly.training.ranks.processes import Processes


@dataclass(frozen=True, slots=True)
class ExamSettings:
    """Settings of an exam.

    Attributes:
        shots: Number of solved examples in a prompt.
        form: Form of the prompts.
        delimiter: Text between a prompt and its answer; None for the form's own.
        limit: Number of questions of each subject to ask, the first ones; None for all.
        drops_shots: Whether a prompt that does not fit has fewer examples; otherwise it is an
            error.
    """

    shots: int = 5
    form: FormName = "harness"
    delimiter: str | None = None
    limit: int | None = None
    drops_shots: bool = False

    def delimiter_of(self, exam: Exam) -> str:
        """Delimiter that is used."""
        own = FORMS[self.form][exam.name].delimiter
        return own if self.delimiter is None else self.delimiter

    def shots_of(self, exam: Exam) -> int:
        """Number of examples that is used; AGIEval has none."""
        return 0 if exam.name == "agieval" else self.shots


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers of a model in an exam, the same on all ranks.

    Attributes:
        by_subject: Answers of each subject, in the order of its questions.
        has_bos: Whether the prompts begin with BOS.
        version: Version of the exam's task in the harness.
    """

    by_subject: dict[str, list[Answer]]
    has_bos: bool
    version: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question as it is asked: its requests to the harness, one per choice."""

    subject: str
    index: int
    shots: int
    num_tokens: int
    requests: Sequence[Any]


@torch.no_grad()
def sit_exam(
    harness: Any,
    tokenizer: Tokenizer,
    exam: Exam,
    settings: ExamSettings,
    processes: Processes,
) -> Answers:
    """Ask all questions; a collective.

    Question n of a subject is asked on rank n modulo the world size.

    Args:
        harness: lm-eval's model, of `harness_model`.
        tokenizer: Tokenizer of the model.
        exam: Questions and examples.
        settings: Settings of the exam.
        processes: Processes of the job.

    Raises:
        ConfigError: If prompts are longer than the model's positions, or the ids of one are not
            those of the vocabulary.
    """
    tasks = make_tasks(
        exam,
        shots=settings.shots_of(exam),
        form=settings.form,
        delimiter=settings.delimiter,
    )
    asked: list[_Asked] = []
    too_long: list[str] = []
    has_bos = True
    with processes.together(f"preparing the prompts of {exam.name}"):
        for subject, questions in exam.questions.items():
            dealt = range(processes.rank, len(questions[: settings.limit]), processes.world_size)
            for index in dealt:
                found = _asked(harness, tasks[subject], subject, index, settings, exam)
                if found is None:
                    too_long.append(questions[index].place)
                    continue
                prompt = found.requests[0].args[0]
                ids = harness.tok_encode(prompt)
                has_bos &= check_ids(prompt, ids, tokenizer, questions[index].place)
                asked.append(found)
    _check_fit(exam, settings, harness.max_length, processes.gather_json(too_long))
    with processes.together(f"asking the questions of {exam.name}"):
        mine = _answers(harness, asked, is_quiet=not processes.is_first)
    version = str(next(iter(tasks.values())).VERSION)
    by_subject = _gathered(exam, processes.gather_json(mine))
    return Answers(by_subject, all(processes.gather_json(has_bos)), version)


def _answers(harness: Any, asked: Sequence[_Asked], *, is_quiet: bool) -> list[list[Any]]:
    """[subject, index, log-likelihoods, shots, tokens] of each question of this rank."""
    requests = [request for question in asked for request in question.requests]
    scores = iter(harness.loglikelihood(requests, disable_tqdm=is_quiet) if requests else ())
    return [
        [
            question.subject,
            question.index,
            [float(next(scores)[0]) for _ in question.requests],
            question.shots,
            question.num_tokens,
        ]
        for question in asked
    ]


def _gathered(exam: Exam, parts: Sequence[Sequence[Sequence[Any]]]) -> dict[str, list[Answer]]:
    """Answers of all ranks by subject, in the order of its questions."""
    by_subject: dict[str, list[Answer]] = {subject: [] for subject in exam.questions}
    for subject, index, found, shots, num_tokens in (each for part in parts for each in part):
        chosen = max(range(len(found)), key=found.__getitem__)
        by_subject[subject].append(Answer(index, tuple(found), chosen, shots, num_tokens))
    for answers in by_subject.values():
        answers.sort(key=lambda answer: answer.index)
    return by_subject


def _asked(
    harness: Any, task: Any, subject: str, index: int, settings: ExamSettings, exam: Exam
) -> _Asked | None:
    """A question's requests; None if its prompt does not fit."""
    row = task.eval_docs[index]
    shots = settings.shots_of(exam)
    while True:
        text = task.fewshot_context(row, num_fewshot=shots)
        requests = task.construct_requests(row, text, metadata=(task.config.task, index, 1))
        lengths = [sum(map(len, harness._encode_pair(*request.args))) for request in requests]
        if max(lengths) <= harness.max_length + 1:  # the last token is only a target
            return _Asked(subject, index, shots, max(lengths), requests)
        if not settings.drops_shots or not shots:
            return None
        shots -= 1


def _check_fit(
    exam: Exam, settings: ExamSettings, positions: int, too_long: Sequence[Sequence[str]]
) -> None:
    places = [place for part in too_long for place in part]
    if not places:
        return
    number = sum(len(questions[: settings.limit]) for questions in exam.questions.values())
    cure = (
        "Use a model with more positions"
        if settings.drops_shots or not settings.shots_of(exam)
        else "Ask with fewer examples (--shots), or let these prompts have fewer (--drop-shots), "
        "which makes it another exam"
    )
    raise ConfigError(
        f"{exam.name}: {len(places):,} of {number:,} prompts do not fit into the model's "
        f"{positions:,} positions, the first that of {min(places)}; they are not cut. {cure}"
    )
