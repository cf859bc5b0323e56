"""Prompts, byte for byte: of the harness, and those that the exams' authors published."""

from __future__ import annotations

from linly.exams.exam_prompts import answer_texts, prompt_text
from linly.exams.question import Question

SOLVED = [
    Question("high_school_physics", f" stem {n}", (f"{n}a", f"{n}b", "c", "d"), (n % 4,), "f:1")
    for n in range(5)
]
ASKED = Question("high_school_physics", " asked\n", ("w", "x", "y", "z"), (0,), "f:1")


def test_mmlu_of_its_authors() -> None:
    assert prompt_text(ASKED, SOLVED, "mmlu", form="authors") == (
        "The following are multiple choice questions (with answers) about  high school physics.\n\n"
        " stem 0\nA. 0a\nB. 0b\nC. c\nD. d\nAnswer: A\n\n"
        " stem 1\nA. 1a\nB. 1b\nC. c\nD. d\nAnswer: B\n\n"
        " stem 2\nA. 2a\nB. 2b\nC. c\nD. d\nAnswer: C\n\n"
        " stem 3\nA. 3a\nB. 3b\nC. c\nD. d\nAnswer: D\n\n"
        " stem 4\nA. 4a\nB. 4b\nC. c\nD. d\nAnswer: A\n\n"
        " asked\n\nA. w\nB. x\nC. y\nD. z\nAnswer:"
    )


def test_ceval_of_its_authors() -> None:
    assert prompt_text(ASKED, SOLVED, "ceval", form="authors") == (
        "以下是中国关于高中物理考试的单项选择题，请选出其中的正确答案。\n\n"
        " stem 0\nA. 0a\nB. 0b\nC. c\nD. d\n答案：A\n\n"
        " stem 1\nA. 1a\nB. 1b\nC. c\nD. d\n答案：B\n\n"
        " stem 2\nA. 2a\nB. 2b\nC. c\nD. d\n答案：C\n\n"
        " stem 3\nA. 3a\nB. 3b\nC. c\nD. d\n答案：D\n\n"
        " stem 4\nA. 4a\nB. 4b\nC. c\nD. d\n答案：A\n\n"
        " asked\n\nA. w\nB. x\nC. y\nD. z\n答案："
    )


def test_cmmlu_of_its_authors() -> None:
    assert prompt_text(ASKED, SOLVED[:1], "cmmlu", form="authors") == (
        "以下是关于高中物理学的单项选择题，请直接给出正确答案的选项。\n\n"
        "题目： stem 0\nA. 0a\nB. 0b\nC. c\nD. d\n答案是：A\n\n"
        "题目： asked\n\nA. w\nB. x\nC. y\nD. z\n答案是："
    )


def test_mmlu_of_the_harness() -> None:
    assert prompt_text(ASKED, SOLVED[1:2], "mmlu") == (
        "The following are multiple choice questions (with answers) about high school physics.\n\n"
        "stem 1\nA. 1a\nB. 1b\nC. c\nD. d\nAnswer: B\n\n"
        "asked\nA. w\nB. x\nC. y\nD. z\nAnswer:"
    )


def test_ceval_of_the_harness_with_a_chosen_delimiter() -> None:
    start = "以下是中国关于高中物理的单项选择题，请选出其中的正确答案。\n\n"
    question = "asked\nA. w\nB. x\nC. y\nD. z\n答案："
    example = "stem 1\nA. 1a\nB. 1b\nC. c\nD. d\n答案："
    assert prompt_text(ASKED, [], "ceval") == start + question
    assert prompt_text(ASKED, SOLVED[1:2], "ceval") == f"{start}{example} B\n\n{question}"
    assert (
        prompt_text(ASKED, SOLVED[1:2], "ceval", delimiter="") == f"{start}{example}B\n\n{question}"
    )


def test_agieval_in_the_language_of_its_file() -> None:
    zh = Question("gaokao-physics", "题", ("(A)甲", "(B)乙", "(C)丙"), (1,), "f:1")
    en = Question("sat-en", "q", ("(A)x", "(B)y", "(C)z", "(D)w"), (1,), "f:1", passage="Text.")
    assert prompt_text(zh, [], "agieval") == (
        "问题：题 选项：(A)甲 (B)乙 (C)丙\n答案：从A到C, 我们应选择"
    )
    assert prompt_text(en, [], "agieval") == (
        "Text.Q: q Answer Choices: (A)x (B)y (C)z (D)w\nA: Among A through D, the answer is"
    )


def test_what_is_scored_is_a_letter_or_agievals_whole_choice() -> None:
    assert answer_texts(ASKED, "mmlu") == ("A", "B", "C", "D")
    zh = Question("gaokao-physics", "题", ("(A)甲", "(B)乙"), (1,), "f:1")
    assert answer_texts(zh, "agieval") == ("(A)甲", "(B)乙")
