"""Exam files in every layout give the same questions; what is wrong in one is named by its line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linly.errors import DataError
from linly.exams.exam_reader import read_exam
from linly.exams.question import ExamName

ROWS = [
    ("What is\n1 + 1?", "1", "2", "3", 'the "fourth"', "B"),
    ("Which, if any?", "this", "that", "both, or", "", "D"),
]
WORDS = ("question", "A", "B", "C", "D", "answer")


def write_csv(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows] if header else rows)


def hendrycks(folder: Path) -> None:
    for split in ("dev", "test"):
        write_csv(folder / split / f"anatomy_{split}.csv", ROWS)
    (folder / "README.txt").write_text("not a table")
    write_csv(folder / "auxiliary_train" / "race.csv", ROWS)


def cmmlu_csv(folder: Path) -> None:
    header = ("", "Question", "A", "B", "C", "D", "Answer")
    for split in ("dev", "test"):
        rows = [(str(index), *row) for index, row in enumerate(ROWS)]
        write_csv(folder / split / "anatomy.csv", rows, header)


def ceval_csv(folder: Path) -> None:
    rows = [(str(index), *row) for index, row in enumerate(ROWS)]
    write_csv(folder / "val" / "accountant_val.csv", rows, ("id", *WORDS))
    explained = [(*row, "because") for row in rows]
    write_csv(folder / "dev" / "accountant_dev.csv", explained, ("id", *WORDS, "explanation"))
    secret = [row[:-1] for row in rows]
    write_csv(folder / "test" / "accountant_test.csv", secret, ("id", *WORDS[:-1]))


def hub_parquet(folder: Path) -> None:
    lists = [
        {
            "question": row[0],
            "subject": "x",
            "choices": list(row[1:5]),
            "answer": "ABCD".index(row[5]),
        }
        for row in ROWS
    ]
    for split in ("dev", "validation", "test"):
        for index, part in enumerate((lists[:1], lists[1:])):
            path = folder / "anatomy" / f"{split}-{index:05}-of-00002.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(part), path)
    (folder / "all").mkdir()
    pq.write_table(pa.Table.from_pylist(lists), folder / "all" / "test-00000-of-00001.parquet")


def json_lines(folder: Path) -> None:
    for split in ("dev", "test"):
        path = folder / split / "anatomy.jsonl"
        path.parent.mkdir(parents=True)
        lines = [json.dumps(dict(zip(WORDS, row, strict=True)), ensure_ascii=False) for row in ROWS]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("write", "exam"),
    [
        (hendrycks, "mmlu"),
        (cmmlu_csv, "cmmlu"),
        (ceval_csv, "ceval"),
        (hub_parquet, "mmlu"),
        (hub_parquet, "cmmlu"),
        (json_lines, "mmlu"),
        (json_lines, "cmmlu"),
    ],
)
def test_every_layout_gives_the_same_questions(
    tmp_path: Path, write: Callable[[Path], None], exam: ExamName
) -> None:
    write(tmp_path)
    read = read_exam(tmp_path, exam, shots=2)
    (questions,) = read.questions.values()
    assert [(each.stem, *each.choices, each.letters) for each in questions] == ROWS
    (examples,) = read.examples.values()
    assert [each.stem for each in examples] == [row[0] for row in ROWS]


def test_secret_answers_of_ceval_are_none(tmp_path: Path) -> None:
    ceval_csv(tmp_path)
    read = read_exam(tmp_path, "ceval", split="test", shots=1)
    assert [question.answer for question in read.questions["accountant"]] == [None, None]
    assert read.num_questions == 2


def test_agieval_keeps_passages_and_several_answers(tmp_path: Path) -> None:
    lines = [
        {
            "passage": None,
            "question": "q",
            "options": ["(A)1", "(B)2", "(C)3"],
            "label": ["C", "A"],
        },
        {
            "passage": "p",
            "question": "q",
            "options": ["(A)1", "(B)2"],
            "label": "B",
            "answer": None,
        },
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    (tmp_path / "gaokao-physics.jsonl").write_text(text)
    first, second = read_exam(tmp_path, "agieval").questions["gaokao-physics"]
    assert (first.answers, first.letters, first.passage) == ((0, 2), "AC", "")
    assert (second.answer, second.passage, second.choices) == (1, "p", ("(A)1", "(B)2"))


GOOD = "q,1,2,3,4,A\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + "q,1,2,3,4,E\n", "anatomy_test.csv:2: found the answer 'E', allowed: A, B, C, D"),
        (GOOD + "q,1,2,3,4,2\n", "anatomy_test.csv:2: found the answer '2'"),
        (GOOD + "q,1,2,3,4,\n", "anatomy_test.csv:2: found the answer ''"),
        (GOOD + "q,1,2,3,A\n", "anatomy_test.csv:2: found 5 columns, expected 6"),
        (GOOD + '"a\nb",1,2,3,4,A\n"open,1,2,3,4,A\n', "anatomy_test.csv:4: not valid CSV"),
        (GOOD + '"a"b,1,2,3,4,A\n', "anatomy_test.csv:2: not valid CSV"),
        (GOOD + " ,1,2,3,4,A\n", "anatomy_test.csv:2: the question is empty"),
        (GOOD + "q\0,1,2,3,4,A\n", "anatomy_test.csv:2: contains a NUL byte"),
        ("", "anatomy_test.csv: contains no question"),
        ("question,A,B,C,answer\nq,1,2,3,A\n", "anatomy_test.csv:2: no column 'd'"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    hendrycks(tmp_path)
    (tmp_path / "test" / "anatomy_test.csv").write_text(text)
    with pytest.raises(DataError) as error:
        read_exam(tmp_path, "mmlu", shots=1)
    assert words in str(error.value)


def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path: Path) -> None:
    hendrycks(tmp_path)
    (tmp_path / "test" / "anatomy_test.csv").write_bytes(GOOD.encode() + b"q\xff,1,2,3,4,A\n")
    with pytest.raises(DataError, match=r"anatomy_test\.csv:2: not UTF-8"):
        read_exam(tmp_path, "mmlu", shots=1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "anatomy.jsonl:2: not valid JSON"),
        ("[1]", "anatomy.jsonl:2: expected a JSON object"),
        ('{"question": "q", "choices": ["a", 2], "answer": 0}', ":2: the choices are not a list"),
        (
            '{"question": "q", "choices": ["a", "b"], "answer": 0}',
            ":2: found 2 choices, expected 4",
        ),
        (
            '{"question": "q", "choices": ["a", "b", "c", "d"], "answer": 4}',
            ":2: found the answer 4",
        ),
        ('{"question": "q", "choices": ["a", "b", "c", "d"], "answer": true}', "answer True"),
        (
            '{"question": 1, "choices": ["a", "b", "c", "d"], "answer": 0}',
            ":2: question is not text",
        ),
        ('{"question": "q", "choices": ["a", "b", "c", "d"]}', ":2: found the answer None"),
    ],
)
def test_a_malformed_line_of_json_is_named(tmp_path: Path, line: str, words: str) -> None:
    json_lines(tmp_path)
    path = tmp_path / "test" / "anatomy.jsonl"
    path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n" + line + "\n")
    with pytest.raises(DataError) as error:
        read_exam(tmp_path, "mmlu", shots=1)
    assert words in str(error.value)


def test_a_missing_or_short_dev_file_is_named(tmp_path: Path) -> None:
    hendrycks(tmp_path)
    with pytest.raises(
        DataError, match=r"anatomy_dev\.csv: 2 examples of anatomy, and 5 are asked"
    ):
        read_exam(tmp_path, "mmlu", shots=5)
    (tmp_path / "dev" / "anatomy_dev.csv").unlink()
    with pytest.raises(DataError, match=r"no dev file for anatomy.*dev/anatomy_dev\.csv"):
        read_exam(tmp_path, "mmlu", shots=5)
    assert read_exam(tmp_path, "mmlu", shots=0).num_questions == 2


def test_the_local_exams_have_4233_questions(real_data: Path) -> None:
    folder = real_data / "eval" / "exams"
    exams: tuple[ExamName, ...] = ("mmlu", "cmmlu", "agieval")
    found = [read_exam(folder / exam, exam).num_questions for exam in exams]
    assert found == [1303, 1866, 1064]
