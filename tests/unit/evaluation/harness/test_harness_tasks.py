"""Tasks of lm-evaluation-harness: its prompts are those that `exam_prompts` builds."""

from __future__ import annotations

import pytest

from linly.evaluation.harness.harness_tasks import make_tasks
from linly.exams.exam_prompts import FormName, answer_texts, prompt_text
from linly.exams.exam_subjects import SUBJECTS
from linly.exams.question import Exam, ExamName, Question

pytest.importorskip("lm_eval")


def question(subject: str, index: int, exam: ExamName) -> Question:
    stem = f"  {{{{ 7 * 7 }}}} {{% x %}} 问题 {index}\nsecond line \n"
    choices = (f"(A)eins {index}", "(B)zwei", "(C) 三", "(D)")
    passage = "A passage. " if exam == "agieval" else ""
    return Question(subject, stem, choices, (index % 4,), "file:1", passage)


def exam_of(exam: ExamName, subjects: list[str]) -> Exam:
    asked = {s: tuple(question(s, index, exam) for index in range(2)) for s in subjects}
    solved = {s: tuple(question(s, index + 7, exam) for index in range(5)) for s in subjects}
    return Exam(exam, "test", asked, {} if exam == "agieval" else solved)


@pytest.mark.parametrize("form", ["harness", "authors"])
@pytest.mark.parametrize("exam", list(SUBJECTS))
@pytest.mark.parametrize("delimiter", [None, "", " "])
def test_prompts_are_those_of_exam_prompts(
    exam: ExamName, form: FormName, delimiter: str | None
) -> None:
    read = exam_of(exam, list(SUBJECTS[exam])[:2])
    tasks = make_tasks(read, shots=5, form=form, delimiter=delimiter)
    for subject, questions in read.questions.items():
        task = tasks[subject]
        for index, asked in enumerate(questions):
            row = task.eval_docs[index]
            text = task.fewshot_context(row, num_fewshot=task.config.num_fewshot)
            examples = read.examples.get(subject, ())
            expected = prompt_text(asked, examples, exam, form=form, delimiter=delimiter)
            assert text == expected
            requests = task.construct_requests(row, text, metadata=("t", index, 1))
            between = requests[0].args[1].removesuffix(answer_texts(asked, exam)[0])
            assert delimiter is None or between == delimiter
            assert [request.args[1] for request in requests] == [
                between + answer for answer in answer_texts(asked, exam)
            ]


def test_every_subject_has_a_task_with_its_name_in_the_prompt() -> None:
    for exam in SUBJECTS:
        subjects = list(SUBJECTS[exam])
        read = exam_of(exam, subjects)
        for subject, task in make_tasks(read, shots=1).items():
            text = task.fewshot_context(task.eval_docs[0], num_fewshot=0)
            assert text == prompt_text(read.questions[subject][0], (), exam)


def test_the_right_answer_is_the_target() -> None:
    for exam in SUBJECTS:
        subject = next(iter(SUBJECTS[exam]))
        read = exam_of(exam, [subject])
        task = make_tasks(read, shots=0)[subject]
        for index, asked in enumerate(read.questions[subject]):
            row = task.eval_docs[index]
            scores = [(-float(n != asked.answer), False) for n in range(4)]
            assert task.process_results(row, scores)["acc"] == 1.0
