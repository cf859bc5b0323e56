"""Prompts of an exam, in the form of lm-evaluation-harness or of the exam's own authors.

A prompt is a description of the subject, solved examples, and the question up to the place of its
answer; what is scored there is the delimiter and a letter. AGIEval's has no description and no
examples, and the whole text of a choice is scored.

| exam | of the harness 0.4.13 | of the authors |
|---|---|---|
| MMLU | `about anatomy`, delimiter " " | `about  anatomy` (two spaces), delimiter " " |
| CMMLU | `答案：`, delimiter " " | `题目：` before a question, `答案是：`, no delimiter |
| C-Eval | `关于X的单项选择题`, delimiter " " | `关于X考试的单项选择题`, no delimiter |
| AGIEval | delimiter " " | the same |

The harness removes white space around a question; the authors do not.

Sources: lm_eval/tasks/{mmlu/default,cmmlu,ceval,agieval}; hendrycks/test `evaluate.py`;
haonan-li/CMMLU `src/mp_utils.py`; hkust-nlp/ceval `code/evaluator_series/evaluators/llama.py`;
ruixiangcui/AGIEval `src/dataset_loader.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from linly.exams.exam_subjects import SUBJECTS
from linly.exams.question import LETTERS, ExamName, Question

FormName = Literal["harness", "authors"]

_MMLU = "The following are multiple choice questions (with answers) about {}.\n\n"
_CMMLU = "以下是关于{}的单项选择题，请直接给出正确答案的选项。\n\n"
_CEVAL = "以下是中国关于{}的单项选择题，请选出其中的正确答案。\n\n"
_CEVAL_AUTHORS = "以下是中国关于{}考试的单项选择题，请选出其中的正确答案。\n\n"


@dataclass(frozen=True, slots=True)
class PromptForm:
    """Form of an exam's prompts.

    Attributes:
        description: Text before the examples, with a place for the subject's name.
        lead: Text before a question.
        cue: Text after the choices of a question, before the answer.
        strips: Whether white space around the question is removed.
        delimiter: Text between the cue and the answer.
    """

    description: str
    lead: str
    cue: str
    strips: bool
    delimiter: str


FORMS: Mapping[FormName, Mapping[ExamName, PromptForm]] = {
    "harness": {
        "mmlu": PromptForm(_MMLU, "", "\nAnswer:", True, " "),
        "cmmlu": PromptForm(_CMMLU, "", "\n答案：", True, " "),
        "ceval": PromptForm(_CEVAL, "", "\n答案：", True, " "),
        "agieval": PromptForm("", "", "", False, " "),
    },
    "authors": {
        "mmlu": PromptForm(_MMLU.replace("{}", " {}"), "", "\nAnswer:", False, " "),
        "cmmlu": PromptForm(_CMMLU, "题目：", "\n答案是：", False, ""),
        "ceval": PromptForm(_CEVAL_AUTHORS, "", "\n答案：", False, ""),
        "agieval": PromptForm("", "", "", False, " "),
    },
}


def prompt_text(
    question: Question,
    examples: Sequence[Question],
    exam: ExamName,
    *,
    form: FormName = "harness",
    delimiter: str | None = None,
) -> str:
    """Build the text of a prompt, up to where the delimiter and the answer follow.

    Args:
        question: Question to answer.
        examples: Solved questions before it, in order.
        exam: Name of the exam.
        form: Form of the prompt.
        delimiter: Text between the cue and the answer of an example; None for the form's own.
    """
    chosen = FORMS[form][exam]
    between = chosen.delimiter if delimiter is None else delimiter
    description = chosen.description.format(SUBJECTS[exam][question.subject])
    solved = "".join(
        f"{_asked(example, exam, chosen)}{between}{answer_texts(example, exam)[example.answers[0]]}"
        "\n\n"
        for example in examples
    )
    return description + solved + _asked(question, exam, chosen)


def answer_texts(question: Question, exam: ExamName) -> tuple[str, ...]:
    """Texts that may follow a prompt and its delimiter, one per choice."""
    if exam == "agieval":
        return question.choices
    return tuple(LETTERS[: len(question.choices)])


def _asked(question: Question, exam: ExamName, form: PromptForm) -> str:
    """The question with its choices, up to the place of the answer."""
    if exam == "agieval":
        return _agieval(question)
    stem = question.stem.strip() if form.strips else question.stem
    choices = "".join(
        f"\n{letter}. {choice}" for letter, choice in zip(LETTERS, question.choices, strict=False)
    )
    return f"{form.lead}{stem}{choices}{form.cue}"


def _agieval(question: Question) -> str:
    last = LETTERS[len(question.choices) - 1]
    choices = " ".join(question.choices)
    if SUBJECTS["agieval"][question.subject] == "zh":
        return (
            f"{question.passage}问题：{question.stem} 选项：{choices}\n"
            f"答案：从A到{last}, 我们应选择"
        )
    return (
        f"{question.passage}Q: {question.stem} Answer Choices: {choices}\n"
        f"A: Among A through {last}, the answer is"
    )
