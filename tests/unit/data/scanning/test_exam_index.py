"""linly.data.scanning.exam_index: which texts hold a question."""

from __future__ import annotations

import random

import pytest

from linly.data.scanning.exam_index import MAX_QUESTIONS, ExamIndex, ExamQuestion
from linly.data.scanning.units import units_of

ENGLISH = ExamQuestion(
    "mmlu",
    "physics/test/0",
    "A ball is thrown straight up with a speed of twenty metres per second from the roof of a "
    "house; how high does it rise?",
    ("about ten metres above it", "about twenty metres", "forty metres", "it does not rise"),
)
CHINESE = ExamQuestion(
    "cmmlu",
    "history/test/4",
    "唐朝初年，统治者吸取隋亡教训，采取的措施不包括",
    ("轻徭薄赋", "开凿大运河", "虚心纳谏", "重视农业生产"),
)
SHORT = ExamQuestion("cmmlu", "medicine/test/9", "肾在液为", ("唾", "泪", "涎", "尿"))
INDEX = ExamIndex([ENGLISH, CHINESE, SHORT])


def printed(question: ExamQuestion, form: str = "{}. {}") -> str:
    choices = [form.format(*pair) for pair in zip("ABCD", question.choices, strict=True)]
    return "\n".join([question.text, *choices, "Answer: C"])


def held(text: str) -> dict[str, float]:
    return {hit.question.question: hit.score for hit in INDEX.find(units_of([text]))}


@pytest.mark.parametrize("form", ["{}. {}", "({}) {}", "{}：{}"])
@pytest.mark.parametrize("question", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_a_printed_question_is_found_whole(question: ExamQuestion, form: str) -> None:
    text = f"Some words before. 前文。{printed(question, form).upper()} 后文 and more."
    assert held(text) == {question.question: 1.0}


@pytest.mark.parametrize("question", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_one_changed_word_leaves_half_of_a_part(question: ExamQuestion) -> None:
    old, new = ("speed", "pace") if question is ENGLISH else ("教训", "经验")
    assert held(printed(question).replace(old, new))[question.question] >= 0.5


def test_a_question_shorter_than_an_ngram_is_named() -> None:
    assert INDEX.too_short == [SHORT]
    assert len(INDEX.questions) == 2


def test_other_text_holds_none() -> None:
    draw = random.Random(3)
    words = printed(ENGLISH).split()
    shuffled = " ".join(draw.sample(words, len(words)))
    assert held(shuffled) == {}
    assert held("".join(draw.sample(CHINESE.text, len(CHINESE.text)))) == {}


def test_wording_that_many_questions_repeat_is_no_hit() -> None:
    lead = "Read the following passage with care and then choose the one answer that is best. "
    alike = [
        ENGLISH._replace(question=str(n), text=f"{lead}Question number {n}: {ENGLISH.text} {n}")
        for n in range(MAX_QUESTIONS + 1)
    ]
    assert ExamIndex(alike).find(units_of([lead * 2])) == []
    assert ExamIndex(alike[:2]).find(units_of([lead * 2])) != []
