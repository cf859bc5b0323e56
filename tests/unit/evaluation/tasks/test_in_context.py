"""The in-context probe: random mappings with one right answer, and copies, from a seed."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from linly.config.sections.task_setting import TaskSettings
from linly.data.types import IGNORE_LABEL
from linly.errors import ConfigError
from linly.evaluation.tasks.in_context import NUM_CHOICES, InContextTask
from linly.records.task_record import TaskEvaluation
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.models import tiny_model
from tests.support.vocabularies import english_model

LENGTH = 64


@cache
def tokenizer() -> SentencePieceTokenizer:
    return SentencePieceTokenizer(english_model())


def probe(num_old: int = 10_000, **settings: Any) -> InContextTask:
    form = {"name": "icl", "shots": 5, "limit": 12} | settings
    return InContextTask(
        TaskSettings.model_validate(form), tokenizer(), num_old=num_old, sequence_length=LENGTH
    )


def questions(task: InContextTask) -> list[list[list[int]]]:
    """Tokens of each question's windows, without BOS."""
    ids = [ids[1:].tolist() for ids, _ in task.windows]
    count = 12 * NUM_CHOICES
    return [ids[first : first + NUM_CHOICES] for first in range(0, count, NUM_CHOICES)]


def right(task: InContextTask, number: int) -> int:
    return task._answers[number]


def test_the_questions_are_a_pure_function_of_the_seed() -> None:
    same, other = probe(), probe(seed=1)
    for one, two in zip(probe().windows, same.windows, strict=True):
        assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert questions(probe()) != questions(other)


def test_each_answer_follows_from_its_prompt_by_the_rule() -> None:
    task = probe()
    for number, choices in enumerate(questions(task)):
        prompts = {tuple(ids[:-1]) for ids in choices}
        assert len(prompts) == 1
        (prompt,) = prompts
        answers = [ids[-1] for ids in choices]
        assert len(set(answers)) == NUM_CHOICES
        answer = answers[right(task, number)]
        colon = prompt[-1]
        if number % 3 == 0:
            pairs = [prompt[at : at + 4] for at in range(0, len(prompt) - 2, 4)]
            shown = {symbol: label for symbol, mark, label, _ in pairs if mark == colon}
            assert shown[prompt[-2]] == answer
        else:
            asked = prompt[-5:-1]
            assert answer == asked[0 if number % 3 == 1 else -1]
            assert sorted(answers) == sorted(asked)
            at = 0 if number % 3 == 1 else 3
            for first in range(0, len(prompt) - 5, 7):
                item, mark, label = prompt[first : first + 4], prompt[first + 4], prompt[first + 5]
                assert (mark, label) == (colon, item[at])


def test_only_the_answer_is_a_target() -> None:
    for ids, labels in probe().windows[: 12 * NUM_CHOICES]:
        assert (labels[:-1] == IGNORE_LABEL).all()
        assert labels[-1] == ids[-1]


def test_a_copy_is_predicted_once_without_and_once_with_the_sequence_before() -> None:
    once, twice = probe().windows[-2:]
    assert len(twice[0]) <= LENGTH
    half = len(once[0]) - 1
    assert (twice[0][1 : 1 + half] == twice[0][1 + half :]).all()
    assert (once[1][1:] == once[0][1:]).all()
    assert (twice[1][1 + half :] == once[0][1:]).all()
    assert (twice[1][: 1 + half] == IGNORE_LABEL).all()


def test_new_tokens_and_bytes_are_not_drawn() -> None:
    known = probe(num_old=350)
    drawn = {int(token) for ids, _ in known.windows for token in ids[1:]}
    assert max(drawn) < 350
    assert all(tokenizer().is_text(token) for token in drawn)


def test_a_vocabulary_without_text_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"icl draws random tokens.*at least 64 are needed"):
        probe(num_old=270)


def test_a_model_that_knows_all_answers_has_all_right_and_ties_are_wrong() -> None:
    task = probe()
    nll = [0.0 if n % NUM_CHOICES == right(task, n // NUM_CHOICES) else 1.0 for n in range(48)]
    copies = [2.0, 1.0] * 3
    found = task.measure([*nll, *copies])
    assert found.accuracy == 1.0
    assert found.bits_per_answer == 0.0
    assert found.copy_gain == pytest.approx(1 / math.log(2) / 31)
    assert task.measure([*[1.0] * 48, *copies]).accuracy == 0.0


def test_a_diverged_model_has_no_bits() -> None:
    found = probe().measure([math.nan] * len(probe().windows))
    assert found == TaskEvaluation(questions=12, accuracy=0.0)


def test_figures_equal_those_of_plain_transformers() -> None:
    model = tiny_model("llama", vocab_size=tokenizer().vocab_size, initializer_range=0.4)
    task = probe()
    answers, copies = [], []
    with torch.no_grad():
        for ids, _ in task.windows:
            whole = torch.from_numpy(ids.astype(np.int64)).unsqueeze(0)
            logits = model(whole).logits[0, :-1].log_softmax(-1)
            answers.append(logits.gather(1, whole[0, 1:, None]).squeeze(1).double())
    chosen = [float(answer[-1]) for answer in answers[:48]]
    rows = [chosen[first : first + 4] for first in range(0, 48, 4)]
    picked = [max(range(4), key=row.__getitem__) == right(task, n) for n, row in enumerate(rows)]
    for once, twice in zip(answers[48::2], answers[49::2], strict=True):
        copies.append(float(twice[-31:].sum() - once.sum()))
    nll = [-value for value in chosen]
    nll += [float(-value) for one in answers[48:] for value in (one[-31:].sum(),)]
    found = task.measure(nll)
    assert found.accuracy == sum(picked) / 12
    assert found.copy_gain == pytest.approx(sum(copies) / 3 / 31 / math.log(2))
