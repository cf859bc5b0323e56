"""Exams through lm-evaluation-harness: a known key is found, scores are the harness's own."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from linly.errors import ConfigError
from linly.evaluation.harness.exam_session import ExamSettings, sit_exam
from linly.evaluation.harness.harness_model import check_ids, exact_tokenizer, harness_model
from linly.evaluation.harness.harness_tasks import make_tasks
from linly.exams.exam_reader import read_exam
from linly.exams.exam_scores import score_exam
from linly.exams.question import LETTERS, Exam, Question
from linly.modeling.load_model import init_model
from linly.tokenization.growth.new_vocabulary import VocabularySpec, train_vocabulary
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer
from linly.training.ranks.processes import Processes
from tests.support.byte_level import train_byte_level
from tests.support.exam_files import exam_rows, write_ceval, write_cmmlu, write_mmlu

pytest.importorskip("lm_eval")

ALONE = Processes(0, 1, torch.device("cpu"))


class ModelWithAKey(torch.nn.Module):
    """Prefers, after a prompt that it knows, the letter of the key; elsewhere token 5."""

    def __init__(self, config: Any, key: dict[tuple[int, ...], int]) -> None:
        super().__init__()
        self.config, self.device, self._key = config, torch.device("cpu"), key
        self._lengths = {len(prompt) for prompt in key}

    def tie_weights(self) -> None:
        """Nothing is tied."""

    def forward(self, ids: torch.Tensor, **_: Any) -> Any:
        logits = torch.zeros(*ids.shape, self.config.vocab_size)
        logits[..., 5] = 5.0
        for row, content in enumerate(ids.tolist()):
            for end in self._lengths & set(range(1, len(content) + 1)):
                if (token := self._key.get(tuple(content[:end]))) is not None:
                    logits[row, end - 1, token] = 9.0
        return type("Output", (), {"logits": logits})


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = [" ".join(row) for row in exam_rows(60)]
    return SentencePieceTokenizer(train_vocabulary(texts, VocabularySpec(310, coverage=1.0)))


@pytest.fixture(scope="module")
def loaded(tokenizer: Tokenizer) -> Any:
    """A harness around a small model; loading it verifies the tokenizer, which takes seconds."""
    return harness_model(init_model("nano", tokenizer), tokenizer, Path("model"), batch_size=3)


@pytest.fixture
def harness(loaded: Any) -> Iterator[Any]:
    """The harness, as it was loaded."""
    model, length = loaded._model, loaded._max_length
    yield loaded
    loaded._model, loaded._max_length = model, length


@pytest.fixture(scope="module")
def exams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exam]:
    folder = tmp_path_factory.mktemp("exams")
    return {
        "mmlu": read_exam(write_mmlu(folder / "mmlu", 7, ("anatomy", "virology")), "mmlu"),
        "cmmlu": read_exam(write_cmmlu(folder / "cmmlu"), "cmmlu"),
        "ceval": read_exam(write_ceval(folder / "ceval"), "ceval"),
    }


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to open a connection fails the test."""

    def refuse(*arguments: Any, **_: Any) -> None:
        raise AssertionError(f"a connection was attempted: {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def give_key(
    harness: Any, exam: Exam, settings: ExamSettings, choose: Callable[[Question], int]
) -> None:
    """Let the harness's model answer by a key."""
    key = {}
    tasks = make_tasks(
        exam, shots=settings.shots_of(exam), form=settings.form, delimiter=settings.delimiter
    )
    for subject, questions in exam.questions.items():
        for index, question in enumerate(questions):
            task = tasks[subject]
            text = task.fewshot_context(task.eval_docs[index], num_fewshot=settings.shots_of(exam))
            between = settings.delimiter_of(exam)
            context, answer = harness._encode_pair(text, between + LETTERS[choose(question)])
            key[(*context, *answer[:-1])] = answer[-1]
    harness._model = ModelWithAKey(harness.config, key)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mmlu", ExamSettings()),
        ("mmlu", ExamSettings(shots=0, form="authors")),
        ("cmmlu", ExamSettings(shots=2, delimiter="")),
        ("ceval", ExamSettings(form="authors")),
    ],
)
def test_a_model_with_the_answer_key_gets_all(
    harness: Any,
    tokenizer: Tokenizer,
    exams: dict[str, Exam],
    name: str,
    settings: ExamSettings,
) -> None:
    exam = exams[name]
    give_key(harness, exam, settings, lambda question: question.answers[0])
    answers = sit_exam(harness, tokenizer, exam, settings, ALONE)
    _, totals = score_exam(exam, answers.by_subject)
    assert (totals.micro, totals.macro, totals.micro_error) == (1.0, 1.0, 0.0)
    assert totals.answered == totals.expected
    assert answers.has_bos

    give_key(harness, exam, settings, lambda question: 3 - question.answers[0])
    answers = sit_exam(harness, tokenizer, exam, settings, ALONE)
    assert score_exam(exam, answers.by_subject)[1].micro == 0.0


@pytest.mark.usefixtures("offline")
def test_scores_are_those_of_the_harness_itself(
    harness: Any, tokenizer: Tokenizer, exams: dict[str, Exam]
) -> None:
    from lm_eval.evaluator import evaluate

    exam, settings = exams["mmlu"], ExamSettings(shots=3)
    answers = sit_exam(harness, tokenizer, exam, settings, ALONE)
    tasks = make_tasks(exam, shots=3)
    found = evaluate(harness, {"tasks": {f"mmlu_{name}": t for name, t in tasks.items()}})
    subjects, totals = score_exam(exam, answers.by_subject)
    for name, subject in subjects.items():
        theirs = found["results"][f"mmlu_{name}"]
        assert subject.accuracy == theirs["acc,none"]
        assert subject.standard_error == pytest.approx(theirs["acc_stderr,none"], abs=1e-12)
        samples = found["samples"][f"mmlu_{name}"]
        for sample, answer in zip(samples, answers.by_subject[name], strict=True):
            likelihoods = [response[0] for response in sample["filtered_resps"]]
            assert answer.log_likelihoods == pytest.approx(likelihoods, abs=1e-5)
    assert totals.micro is not None
    assert 0 < sum(totals.answered.values()) == exam.num_questions


def test_prompts_that_do_not_fit_are_counted_and_never_cut(
    harness: Any, tokenizer: Tokenizer, exams: dict[str, Exam]
) -> None:
    exam = exams["mmlu"]
    whole = sit_exam(harness, tokenizer, exam, ExamSettings(), ALONE)
    longest = max(a.num_tokens for given in whole.by_subject.values() for a in given)
    harness._max_length = longest - 1  # the last token is only predicted
    sit_exam(harness, tokenizer, exam, ExamSettings(), ALONE)
    harness._max_length = longest - 2
    with pytest.raises(ConfigError, match=r"of 14 prompts do not fit .*_test\.csv"):
        sit_exam(harness, tokenizer, exam, ExamSettings(), ALONE)
    fewer = sit_exam(harness, tokenizer, exam, ExamSettings(drops_shots=True), ALONE)
    given = [answer for subject in fewer.by_subject.values() for answer in subject]
    shortened = [answer for answer in given if answer.shots < 5]
    assert 0 < len(shortened) < len(given)
    assert all(answer.shots == 4 for answer in shortened)
    harness._max_length = 8
    with pytest.raises(ConfigError, match=r"14 of 14 prompts do not fit.*more positions"):
        sit_exam(harness, tokenizer, exam, ExamSettings(drops_shots=True), ALONE)


def test_ids_that_differ_from_the_vocabulary_are_refused(
    harness: Any,
    tokenizer: Tokenizer,
    exams: dict[str, Exam],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encode = harness.tok_encode
    monkeypatch.setattr(harness, "tok_encode", lambda text, **given: [*encode(text, **given), 7])
    with pytest.raises(ConfigError, match=r"anatomy_test\.csv:1: tokenizer\.json produces other"):
        sit_exam(harness, tokenizer, exams["mmlu"], ExamSettings(), ALONE)


def test_a_vocabulary_without_an_exact_tokenizer_json_is_refused(tiny_tokenizer_path: Path) -> None:
    inexact = load_tokenizer(tiny_tokenizer_path)
    with pytest.raises(ConfigError, match=r"no exact tokenizer.json .its normalizer"):
        harness_model(init_model("nano", inexact), inexact, Path("model"), batch_size=1)


def test_prompts_of_a_byte_level_vocabulary_begin_with_bos(tmp_path: Path) -> None:
    texts = [" ".join(row) for row in exam_rows(60)]
    byte_level = train_byte_level(tmp_path / "vocabulary", "qwen2", texts, size=280)
    ids = exact_tokenizer(byte_level, tmp_path / "vocabulary").encode("the house 问")
    assert ids[0] == byte_level.bos_id
    assert check_ids("the house 问", ids, byte_level, "f:1")
