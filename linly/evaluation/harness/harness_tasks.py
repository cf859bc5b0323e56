"""lm-evaluation-harness's own tasks, one per subject, with their data replaced by an exam's.

The task's YAML file is read as it is installed: prompt, subject's name, metric, version. Its data
set is a function that returns the questions, so nothing is fetched and no cache is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from linly.exams.exam_prompts import FORMS, FormName, prompt_text
from linly.exams.question import LETTERS, Exam, ExamName, Question

_FILES: dict[ExamName, str] = {
    "mmlu": "mmlu/default/mmlu_{}.yaml",
    "cmmlu": "cmmlu/cmmlu_{}.yaml",
    "ceval": "ceval/ceval-valid_{}.yaml",
    "agieval": "agieval/{}.yaml",
}


def harness_version() -> str:
    """Version of lm-evaluation-harness that is installed."""
    from importlib.metadata import version

    return version("lm-eval")


def make_tasks(
    exam: Exam, *, shots: int, form: FormName = "harness", delimiter: str | None = None
) -> dict[str, Any]:
    """Create the task of each subject.

    Args:
        exam: Questions and examples.
        shots: Number of examples in a prompt; AGIEval's have none.
        form: Form of the prompts.
        delimiter: Text between a prompt and its answer; None for the form's own.

    Returns:
        lm-eval's `ConfigurableTask` by subject.
    """
    import datasets
    import lm_eval
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    root = Path(lm_eval.__file__).parent / "tasks"
    tasks = {}
    for subject, questions in exam.questions.items():
        config = load_yaml(root / _FILES[exam.name].format(subject))
        split = config.get("test_split") or config["validation_split"]
        rows = {split: [_row(question, exam.name) for question in questions]}
        if exam.name != "agieval":
            rows["dev"] = [_row(question, exam.name) for question in exam.examples.get(subject, ())]
        data = {name: datasets.Dataset.from_list(listed) for name, listed in rows.items() if listed}
        data.setdefault("dev", data[split].select([]))
        config |= _authors(exam.name, subject) if form == "authors" else {}
        if delimiter is not None:
            config["target_delimiter"] = delimiter
        config |= {
            "custom_dataset": lambda data=data, **_: data,
            "num_fewshot": 0 if exam.name == "agieval" else shots,
        }
        tasks[subject] = ConfigurableTask(config=config)
    return tasks


def _row(question: Question, exam: ExamName) -> dict[str, Any]:
    """A question in the columns of the exam's data set on the hub.

    A secret answer is given as A, since the harness needs one; its score is not reported.
    """
    right = question.answer or 0
    letters = dict(zip(LETTERS, question.choices, strict=False))
    match exam:
        case "mmlu":
            return {"question": question.stem, "choices": list(question.choices), "answer": right}
        case "cmmlu":
            return {"Question": question.stem, **letters, "Answer": LETTERS[right]}
        case "ceval":
            return {"question": question.stem, **letters, "answer": LETTERS[right]}
        case "agieval":
            return {
                "query": prompt_text(question, (), exam),
                "choices": list(question.choices),
                "gold": list(question.answers),
            }


def _authors(exam: ExamName, subject: str) -> dict[str, Any]:
    """Settings of a task for the prompt of the exam's authors."""
    from linly.exams.exam_subjects import SUBJECTS

    if exam == "agieval":
        return {}
    form = FORMS["authors"][exam]
    stem = "Question" if exam == "cmmlu" else "question"
    fields = [f"choices[{index}]" if exam == "mmlu" else LETTERS[index] for index in range(4)]
    choices = "".join(
        f"\n{letter}. {{{{{field}}}}}" for letter, field in zip(LETTERS, fields, strict=False)
    )
    return {
        "description": form.description.format(SUBJECTS[exam][subject]),
        "doc_to_text": f"{form.lead}{{{{{stem}}}}}{choices}{form.cue}",
        "target_delimiter": form.delimiter,
    }
