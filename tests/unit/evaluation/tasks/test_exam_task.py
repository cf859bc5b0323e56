"""An exam in a run: the harness's letters, the answers' texts, and figures by hand."""

from __future__ import annotations

import csv
import math
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from linly.config.sections.task_setting import ExamKind, TaskSettings
from linly.errors import DataError
from linly.evaluation.tasks.exam_task import ExamTask
from linly.exams.question import EXAM_NAMES
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.models import tiny_model
from tests.support.vocabularies import english_model

KEY = "BDAC"
DEV = [("What is 1 + 1?", "one", "two", "three", "four", "B")]
TEST = [
    (f"Which is {n}?", "a", "the other one", "no", f"word {n}", key) for n, key in enumerate(KEY)
]


@cache
def tokenizer() -> SentencePieceTokenizer:
    return SentencePieceTokenizer(english_model())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for split, rows in (("dev", DEV), ("test", TEST)):
        path = folder / "exams" / split / f"anatomy_{split}.csv"
        path.parent.mkdir(parents=True)
        with path.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows(rows)
    return folder


def exam(data: Path, **settings: Any) -> ExamTask:
    form = {"name": "mmlu", "files": "exams", "shots": 1} | settings
    return ExamTask(TaskSettings.model_validate(form), tokenizer(), data)


def texts(task: ExamTask) -> list[tuple[str, str]]:
    """(prompt, answer) of each window."""
    found = []
    for ids, labels in task.windows:
        at = int((labels >= 0).argmax())
        found.append((tokenizer().decode(ids[:at]), tokenizer().decode(ids[at:])))
    return found


def test_letters_have_the_harness_s_prompt_and_texts_one_without_choices(data: Path) -> None:
    found = texts(exam(data))
    assert len(found) == 4 * 2 * 4
    assert found[0] == (
        "The following are multiple choice questions (with answers) about anatomy.\n\n"
        "What is 1 + 1?\nA. one\nB. two\nC. three\nD. four\nAnswer: B\n\n"
        "Which is 0?\nA. a\nB. the other one\nC. no\nD. word 0\nAnswer:",
        "A",
    )
    assert [answer for _, answer in found[:4]] == list("ABCD")
    assert found[4] == ("What is 1 + 1?\nAnswer: two\n\nWhich is 0?\nAnswer:", "a")
    assert [answer for _, answer in found[4:8]] == ["a", "the other one", "no", "word 0"]


def test_a_model_with_the_key_has_all_right(data: Path) -> None:
    task = exam(data)
    nll: list[float] = []
    for key in KEY:
        right = [float(letter != key) for letter in "ABCD"]
        nll += [*right, *(10 * value for value in right)]
    found = task.measure(nll)
    assert (found.questions, found.accuracy, found.text_accuracy) == (4, 1.0, 1.0)
    assert found.bits_per_byte == 0.0
    assert found.letters == {"A": 1, "B": 1, "C": 1, "D": 1}
    assert found.watched == "bits_per_byte"


def test_a_model_that_always_says_a_is_seen(data: Path) -> None:
    found = exam(data).measure([0.0, 1.0, 1.0, 1.0] * 8)
    assert found.letters == {"A": 4, "B": 0, "C": 0, "D": 0}
    assert found.accuracy == 0.25


def test_texts_are_compared_by_their_bytes(data: Path) -> None:
    """The same total likelihood: the longest text has the most likely bytes."""
    found = exam(data).measure([1.0] * 32)
    assert found.text_accuracy == 0.25  # "the other one", right in the first question only
    sizes = [len("the other one"), len("word 1"), len("a"), len("no")]
    assert found.bits_per_byte == pytest.approx(4 / math.log(2) / sum(sizes))


def test_a_limit_chooses_by_the_seed_and_keeps_the_order(data: Path) -> None:
    asked = [
        [prompt.split("Which is ")[1][0] for prompt, _ in texts(exam(data, limit=2, seed=seed))]
        for seed in range(6)
    ]
    chosen = {tuple(dict.fromkeys(one)) for one in asked}
    assert all(len(one) == 2 and one[0] < one[1] for one in chosen)
    assert len(chosen) > 1


def test_missing_files_are_named(data: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        exam(data, files="nowhere")


def test_the_kinds_are_those_of_the_reader() -> None:
    assert set(get_args(ExamKind)) <= set(EXAM_NAMES)


def test_likelihoods_equal_those_of_plain_transformers(data: Path) -> None:
    """Figures of a random model, by the log-likelihood of each answer alone."""
    model = tiny_model("llama", vocab_size=tokenizer().vocab_size, initializer_range=0.4)
    task = exam(data, shots=0)
    nll = []
    with torch.no_grad():
        for ids, labels in task.windows:
            whole = torch.from_numpy(ids.astype(np.int64)).unsqueeze(0)
            log = model(whole).logits[0, :-1].log_softmax(-1).gather(1, whole[0, 1:, None])
            nll.append(-float(log.squeeze(1)[torch.from_numpy(labels[1:] >= 0)].sum()))
    found = task.measure(nll)
    picked = [int(np.argmin(nll[first : first + 4])) for first in range(0, 32, 8)]
    assert (
        found.accuracy == sum("ABCD"[one] == key for one, key in zip(picked, KEY, strict=True)) / 4
    )
    answers = [nll[8 * n + 4 + "ABCD".index(key)] for n, key in enumerate(KEY)]
    sizes = [len(TEST[n][1 + "ABCD".index(key)]) for n, key in enumerate(KEY)]
    assert found.bits_per_byte == pytest.approx(sum(answers) / math.log(2) / sum(sizes))
