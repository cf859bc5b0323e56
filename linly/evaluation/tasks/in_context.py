"""In-context probe: can the model learn a mapping, and copy a sequence, from its context alone?

Two things are measured on random tokens, so that no language is needed:

    mapping  `a b c d : b . e f g h : f . ... i j k l :` and four possible answers. The rule is one
             of RULES; the separators are random too. Chance is 25%.
    copying  a random sequence, twice; the gain is that of the second copy over the first, in bits
             per token (the induction heads of arXiv 2209.11895).

Continual training can destroy this ability while bits per byte hardly change (arXiv 2506.00288).
The questions are a pure function of the seed and the vocabulary. Tokens that were added to the
vocabulary are not used: they would become known during the run, and hide a loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from linly.config.sections.task_setting import TaskSettings
from linly.data.mixing.order import permutation
from linly.data.types import IGNORE_LABEL
from linly.errors import ConfigError
from linly.records.task_record import TaskEvaluation
from linly.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from linly.evaluation.packed_windows import Window

RULES = ("lookup", "first", "last")
"""Rules of mappings: a pair shown before, and the first or last token of an item of four."""

NUM_CHOICES = 4
_POOL_TOKENS = 1024
"""Tokens to draw from: the first ones of the vocabulary, which are the most frequent."""

_MIN_POOL = 64
_COPIED_TOKENS = 64
_QUESTIONS_PER_COPY = 4


class InContextTask:
    """The probe's questions as windows, and its figures."""

    def __init__(
        self, settings: TaskSettings, tokenizer: Tokenizer, *, num_old: int, sequence_length: int
    ) -> None:
        """Draw the questions.

        Args:
            settings: Settings of the task.
            tokenizer: Tokenizer of the run.
            num_old: Size of the vocabulary before it was extended; only these tokens are used.
            sequence_length: Positions of a row, by which the copied sequence may be shortened.

        Raises:
            ConfigError: If the vocabulary has too few tokens.
        """
        self.name = settings.name
        self._settings = settings
        self._bos = tokenizer.bos_id
        self._pool = _pool(tokenizer, num_old)
        if len(self._pool) < _MIN_POOL:
            raise ConfigError(
                f"evaluation.tasks: {self.name} draws random tokens, and the vocabulary has only "
                f"{len(self._pool)} that are text, at least {_MIN_POOL} are needed: remove the task"
            )
        self._answers: list[int] = []
        self.windows: list[Window] = []
        for number in range(settings.limit):
            self._add_question(number)
        self._copied = max(1, min(_COPIED_TOKENS, (sequence_length - 1) // 2))
        self._num_copies = -(-settings.limit // _QUESTIONS_PER_COPY)
        for number in range(self._num_copies):
            self._add_copy(number)

    def measure(self, nll: Sequence[float]) -> TaskEvaluation:
        """Figures from the negative log-likelihood of each window, in nats."""
        num_questions = len(self._answers)
        answers = np.array(nll[: num_questions * NUM_CHOICES]).reshape(num_questions, NUM_CHOICES)
        right = answers[np.arange(num_questions), self._answers]
        others = np.where(np.eye(NUM_CHOICES, dtype=bool)[self._answers], np.inf, answers)
        copies = nll[num_questions * NUM_CHOICES :]
        gain = math.fsum(copies[0::2]) - math.fsum(copies[1::2])
        return TaskEvaluation(
            questions=num_questions,
            accuracy=float((right < others.min(axis=1)).mean()),
            bits_per_answer=finite(math.fsum(right) / math.log(2) / num_questions),
            copy_gain=finite(gain / math.log(2) / (self._num_copies * self._copied)),
            watched=self._settings.watch,
        )

    def _add_question(self, number: int) -> None:
        """Add a window for each of a question's possible answers."""
        rule, shots = RULES[number % len(RULES)], self._settings.shots
        drawn = iter(self._drawn(f"question {number}"))
        colon, stop = next(drawn), next(drawn)
        prompt = [self._bos]
        if rule == "lookup":
            symbols = [next(drawn) for _ in range(NUM_CHOICES)]
            choices = [next(drawn) for _ in range(NUM_CHOICES)]
            turns = [self._order(NUM_CHOICES, number, turn) for turn in range(shots)]
            order = [index for turn in turns for index in turn][:shots]
            for index in order:
                prompt += [symbols[index], colon, choices[index], stop]
            answer = order[self._order(min(shots, NUM_CHOICES), number, "asked")[0]]
            prompt += [symbols[answer], colon]
        else:
            for _ in range(shots):
                item = [next(drawn) for _ in range(NUM_CHOICES)]
                prompt += [*item, colon, item[0 if rule == "first" else -1], stop]
            choices = [next(drawn) for _ in range(NUM_CHOICES)]
            answer = 0 if rule == "first" else NUM_CHOICES - 1
            prompt += [*choices, colon]
        for choice in choices:
            self.windows.append(answered(prompt, [choice]))
        self._answers.append(answer)

    def _add_copy(self, number: int) -> None:
        """Add a sequence once, and a window of both copies in which the second is predicted."""
        drawn = self._drawn(f"copy {number}")[: self._copied]
        once = [self._bos, *drawn]
        self.windows += [answered(once[:1], drawn), answered(once, drawn)]

    def _drawn(self, what: str) -> list[int]:
        """Random tokens of the pool; a token occurs again only after all others."""
        found: list[int] = []
        needed = max(_COPIED_TOKENS, 2 + (NUM_CHOICES + 1) * (self._settings.shots + 1))
        turn = 0
        while len(found) < needed:
            order = permutation(len(self._pool), "icl", self._settings.seed, what, turn)
            found += [self._pool[index] for index in order.tolist()]
            turn += 1
        return found

    def _order(self, length: int, *parts: str | int) -> list[int]:
        order: list[int] = permutation(length, "icl", self._settings.seed, *parts).tolist()
        return order


def answered(prompt: Sequence[int], answer: Sequence[int]) -> Window:
    """Window of a prompt and an answer, whose tokens are the targets."""
    ids = np.array([*prompt, *answer], np.int32)
    labels = np.full(len(ids), IGNORE_LABEL, np.int32)
    labels[len(prompt) :] = answer
    return ids, labels


def finite(value: float) -> float | None:
    """The value, or None if it is not finite, as in the record of a diverged model."""
    return value if math.isfinite(value) else None


def _pool(tokenizer: Tokenizer, num_old: int) -> list[int]:
    """First tokens of the vocabulary that are whole text."""
    partial = tokenizer.partial_ids()
    found: list[int] = []
    for token in range(min(num_old, tokenizer.vocab_size)):
        if tokenizer.is_text(token) and not partial[token]:
            found.append(token)
        if len(found) == _POOL_TOKENS:
            break
    return found
