"""An exam within a run: letters as the harness scores them, and the answers' texts.

Each question is asked twice, after the same solved examples:

    letters  the prompt of lm-evaluation-harness, with the choices, answered by a letter
    texts    the question without its choices, answered by the text of each; small models know
             little of letters, and the bits of the right text move long before an accuracy does
             (as in OLMo's evaluations, arXiv 2406.08446)

An answer's tokens are those that follow the tokens of the prompt in the tokens of both, as in the
harness.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from linly.config.sections.task_setting import TaskSettings
from linly.data.mixing.order import permutation
from linly.evaluation.tasks.in_context import answered, finite
from linly.exams.exam_prompts import FORMS, PromptForm, answer_texts, prompt_text
from linly.exams.exam_reader import read_exam
from linly.exams.question import LETTERS, Exam, Question
from linly.records.task_record import TaskEvaluation
from linly.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from linly.evaluation.packed_windows import Window


class ExamTask:
    """Questions of an exam as windows, and its figures."""

    def __init__(self, settings: TaskSettings, tokenizer: Tokenizer, data_root: Path) -> None:
        """Read the exam and choose its questions.

        Args:
            settings: Settings of the task.
            tokenizer: Tokenizer of the run.
            data_root: Folder that the exam's files are relative to.

        Raises:
            DataError: If a file is missing or malformed.
        """
        assert settings.files is not None and settings.exam is not None
        self.name = settings.name
        self._watch = settings.watch
        self._tokenizer = tokenizer
        exam = read_exam(data_root / settings.files, settings.exam, shots=settings.shots)
        form = FORMS["harness"][exam.name]
        questions = chosen_questions(exam, settings)
        self.windows: list[Window] = []
        self._num_choices: list[int] = []
        self._answers: list[int] = []
        self._sizes: list[int] = []
        for question in questions:
            assert question.answer is not None  # of the split whose answers are known
            examples = exam.examples.get(question.subject, ())
            letters = prompt_text(question, examples, exam.name)
            self._add(letters, form.delimiter, answer_texts(question, exam.name))
            texts = text_prompt(question, examples, form)
            choices = [choice.strip() for choice in question.choices]
            self._add(texts, form.delimiter, choices)
            self._num_choices.append(len(choices))
            self._answers.append(question.answer)
            self._sizes += [max(1, len(choice.encode())) for choice in choices]

    def measure(self, nll: Sequence[float]) -> TaskEvaluation:
        """Figures from the negative log-likelihood of each window, in nats."""
        found, sizes = iter(nll), iter(self._sizes)
        num_right, num_right_texts, letters = 0, 0, Counter(dict.fromkeys(LETTERS[:4], 0))
        bits, size_bytes = [], 0
        for count, answer in zip(self._num_choices, self._answers, strict=True):
            by_letter = [next(found) for _ in range(count)]
            by_text = [next(found) for _ in range(count)]
            length = [next(sizes) for _ in range(count)]
            picked = int(np.argmin(by_letter))
            letters[LETTERS[picked]] += 1
            num_right += picked == answer
            num_right_texts += int(np.argmin(np.array(by_text) / length)) == answer
            bits.append(by_text[answer] / math.log(2))
            size_bytes += length[answer]
        num_questions = len(self._answers)
        return TaskEvaluation(
            questions=num_questions,
            accuracy=num_right / num_questions,
            text_accuracy=num_right_texts / num_questions,
            bits_per_byte=finite(math.fsum(bits) / size_bytes),
            letters=dict(letters),
            watched=self._watch,
        )

    def _add(self, prompt: str, delimiter: str, answers: Iterable[str]) -> None:
        """Add a window of each answer."""
        bos = self._tokenizer.bos_id
        before = len(self._tokenizer.encode(prompt))
        for answer in answers:
            ids = self._tokenizer.encode(prompt + delimiter + answer).tolist()
            self.windows.append(answered([bos, *ids[:before]], ids[before:]))


def chosen_questions(exam: Exam, settings: TaskSettings) -> list[Question]:
    """Questions of a task, in the order of the exam: all, or as many as the limit, by the seed."""
    questions = [one for subject in exam.questions.values() for one in subject]
    order = permutation(len(questions), "exam", settings.seed).tolist()
    return [questions[index] for index in sorted(order[: settings.limit])]


def text_prompt(question: Question, examples: Sequence[Question], form: PromptForm) -> str:
    """Prompt that is answered by a text: examples and question without their choices.

    Args:
        question: Question to answer.
        examples: Solved questions before it.
        form: Form that names the place of the answer.
    """
    solved = "".join(
        f"{example.stem.strip()}{form.cue}{form.delimiter}"
        f"{example.choices[example.answers[0]].strip()}\n\n"
        for example in examples
    )
    return f"{solved}{question.stem.strip()}{form.cue}"
