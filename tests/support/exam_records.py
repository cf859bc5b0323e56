"""A record of an exam, as `linly evaluate` writes it."""

from __future__ import annotations

from linly.records.exam_record import ExamRecord, SubjectScore

RECORD = ExamRecord(
    exam="mmlu",
    split="test",
    model="runs/x@20",
    steps=[20],
    shots=5,
    form="harness",
    delimiter=" ",
    has_bos=True,
    dtype="bfloat16",
    harness="0.4.13",
    version="1.0",
    questions_hash="0",
    time=1.0,
    seconds=2.0,
    micro=0.5,
    micro_error=None,
    macro=0.5,
    macro_error=None,
    chance=0.25,
    constant=0.5,
    answered={"A": 2},
    expected={"A": 1, "B": 1},
    subjects={
        "anatomy": SubjectScore(
            questions=2, right=1, accuracy=0.5, standard_error=0.5, answered={"A": 2}
        )
    },
)
