"""An index of exam questions: finds the texts that hold one, by n-grams.

A question is looked for in parts: its text, and its choices after the text, with their letters and
without. An n-gram of a part in common is a hit; the score is the fraction of the part's n-grams
that the text has. So a changed word leaves the other part whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linly.data.scanning.units import Ngrams, Units, ngrams_of, units_of

NUM_WORDS = 13
"""Units of an n-gram of words, as GPT-3 was checked (arXiv 2005.14165, appendix C)."""

NUM_CHARACTERS = 16
"""Units of an n-gram of Chinese characters: of 13, 16 and 20 the shortest without a false hit in
60 MB of text. All but 4 of 4,333 questions of MMLU, CMMLU and AGIEval have as many."""

MAX_QUESTIONS = 8
"""Questions that may share an n-gram; one of more is wording that exams repeat."""

_LETTERS = "ABCDEFG"
_FILTER_BITS = 22


class ExamQuestion(NamedTuple):
    """A question to look for.

    Attributes:
        task: Name of the exam.
        question: Identity in the exam: `SUBJECT/SPLIT/INDEX`.
        text: Text of the question, with the passage that it refers to.
        choices: Texts of its choices, in order.
    """

    task: str
    question: str
    text: str
    choices: tuple[str, ...]


class QuestionHit(NamedTuple):
    """A question that a text holds.

    Attributes:
        text: Index of the text.
        question: The question.
        score: Fraction of the question's n-grams that are in the text.
    """

    text: int
    question: ExamQuestion
    score: float


class ExamIndex:
    """Questions by the hashes of their n-grams; 16 bytes per n-gram, and 4 MiB."""

    def __init__(
        self,
        questions: Iterable[ExamQuestion],
        *,
        num_words: int = NUM_WORDS,
        num_characters: int = NUM_CHARACTERS,
    ) -> None:
        """Index questions.

        Args:
            questions: Questions to look for.
            num_words: Units of an n-gram for questions that are mostly words.
            num_characters: Units of an n-gram for questions that are mostly single characters.
        """
        given = list(questions)
        self.questions: list[ExamQuestion] = []
        self.too_short: list[ExamQuestion] = []
        probes: dict[int, list[tuple[int, NDArray[np.uint64]]]] = {}
        for question, found in zip(given, _parts(given, num_words, num_characters), strict=True):
            length, parts = found
            (self.questions if parts else self.too_short).append(question)
            for hashes in parts:
                probes.setdefault(length, []).append((len(self.questions) - 1, hashes))
        self._tables = {length: _Table(found) for length, found in sorted(probes.items())}

    def find(self, units: Units) -> list[QuestionHit]:
        """Find the questions in texts, in the order of texts and questions."""
        best: dict[tuple[int, int], float] = {}
        for length, table in self._tables.items():
            ngrams = ngrams_of(units, length)
            for text, question, score in table.find(ngrams.hashes, ngrams.texts):
                key = text, question
                best[key] = max(score, best.get(key, 0.0))
        return [
            QuestionHit(text, self.questions[question], score)
            for (text, question), score in sorted(best.items())
        ]


class _Table:
    """Probes whose n-grams have one length."""

    def __init__(self, probes: Sequence[tuple[int, NDArray[np.uint64]]]) -> None:
        sizes = np.array([len(hashes) for _, hashes in probes])
        hashes = np.concatenate([hashes for _, hashes in probes])
        probe_of = np.repeat(np.arange(len(probes)), sizes)
        question_of = np.array([question for question, _ in probes])
        common = _common(hashes, question_of[probe_of])
        own = ~np.isin(hashes, common)
        # A question of repeated wording alone keeps its n-grams, or it could not be found.
        num_own = np.bincount(probe_of[own], minlength=len(probes))
        kept = own | (num_own == 0)[probe_of]
        hashes, probe_of = hashes[kept], probe_of[kept]
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._probes = hashes[order], probe_of[order]
        self._questions = question_of
        self._sizes = np.bincount(probe_of, minlength=len(probes))
        self._filter = np.zeros(1 << _FILTER_BITS, np.bool_)
        self._filter[_filter_places(self._hashes)] = True

    def find(
        self, hashes: NDArray[np.uint64], texts: NDArray[np.int64]
    ) -> Iterable[tuple[int, int, float]]:
        """(text, question, fraction of the n-grams of one of its probes) of every hit."""
        maybe = np.flatnonzero(self._filter[_filter_places(hashes)])
        first = np.searchsorted(self._hashes, hashes[maybe], "left")
        last = np.searchsorted(self._hashes, hashes[maybe], "right")
        seen: dict[tuple[int, int], set[int]] = {}
        for index in np.flatnonzero(last > first).tolist():
            text = int(texts[maybe[index]])
            for place in range(int(first[index]), int(last[index])):
                seen.setdefault((text, int(self._probes[place])), set()).add(
                    int(self._hashes[place])
                )
        for (text, probe), found in seen.items():
            yield text, int(self._questions[probe]), len(found) / int(self._sizes[probe])


def _filter_places(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    places: NDArray[np.uint64] = hashes >> np.uint64(64 - _FILTER_BITS)
    return places


def _common(hashes: NDArray[np.uint64], questions: NDArray[np.int64]) -> NDArray[np.uint64]:
    """N-grams that more than MAX_QUESTIONS questions share."""
    pairs = set(zip(hashes.tolist(), questions.tolist(), strict=True))
    counts = Counter(hash_ for hash_, _ in pairs)
    return np.array([h for h, n in counts.items() if n > MAX_QUESTIONS], np.uint64)


def _parts(
    questions: Sequence[ExamQuestion], num_words: int, num_characters: int
) -> list[tuple[int, list[NDArray[np.uint64]]]]:
    """(units per n-gram, n-grams of each part) of every question; no part if it is too short."""
    stems = units_of([question.text for question in questions])
    plain = units_of([_printed(question, lettered=False) for question in questions])
    lettered = units_of([_printed(question, lettered=True) for question in questions])
    singles = np.bincount(plain.texts, plain.singles, len(questions))
    is_single = (2 * singles > np.bincount(plain.texts, minlength=len(questions))).tolist()
    by_length = {
        length: [
            _by_text(ngrams_of(units, length), len(questions)) for units in (stems, plain, lettered)
        ]
        for length in {num_words, num_characters}
    }
    found = []
    for index in range(len(questions)):
        length = num_characters if is_single[index] else num_words
        stem, *printed = (texts[index] for texts in by_length[length])
        parts = [stem, *(hashes[len(stem) :] for hashes in printed)]
        found.append((length, [np.unique(hashes) for hashes in parts if len(hashes)]))
    return found


def _by_text(ngrams: Ngrams, num_texts: int) -> list[NDArray[np.uint64]]:
    """N-grams of each text."""
    return np.split(ngrams.hashes, np.searchsorted(ngrams.texts, np.arange(1, num_texts)))


def _printed(question: ExamQuestion, *, lettered: bool) -> str:
    marks = [f"{letter}. " if lettered else "" for letter in _LETTERS]
    choices = [f"{mark}{text}" for mark, text in zip(marks, question.choices, strict=False)]
    return "\n".join([question.text, *choices])
