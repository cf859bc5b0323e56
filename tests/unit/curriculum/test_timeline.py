"""linly.curriculum.timeline: the log folded into phases, and what going back to a step voids."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linly.config.curriculum import Curriculum
from linly.curriculum.apportion import Apportioner, row_counts
from linly.curriculum.timeline import decisions_in_force, fold
from linly.errors import CheckpointError

LENGTH = 10


def curriculum(tokens: str = "10K", *, english: str = "70%", also: bool = False) -> dict[str, Any]:
    chinese = {"wiki": "60%", "news": "40%"} if also else {"wiki": "100%"}
    mixture = {
        "english": {"ratio": english, "sources": {"books": "100%"}},
        "chinese": {"ratio": "rest", "sources": chinese},
    }
    return Curriculum.model_validate(
        {"name": "c", "tokens": tokens, "mixture": mixture}
    ).file_form()


def start() -> dict[str, Any]:
    begin = {"step": 0, "kind": "start", "row": 0, "sequence_length": LENGTH}
    return {**begin, "curriculum": curriculum(), "corpora": {}}


def amend(step: int, **values: Any) -> dict[str, Any]:
    line = {"step": step, "kind": "amend", "row": step * 8, "corpora": {}, "relisted": {}}
    return {**line, "curriculum": curriculum(**values)}


def resume(step: int) -> dict[str, Any]:
    return {"step": step, "kind": "resume", "changes": [], "set_aside": []}


def starts(lines: list[dict[str, Any]], step: int | None = None) -> list[int]:
    return [phase.from_row for phase in fold(lines, step=step).phases]


def test_a_run_without_amendments_is_one_phase() -> None:
    timeline = fold([start(), resume(7), resume(14)])
    assert [phase.from_row for phase in timeline.phases] == [0]
    assert timeline.num_rows == timeline.phases[0].mixture.num_rows == 1000
    assert timeline.curriculum.file_form() == curriculum()


def test_an_amendment_begins_a_phase_and_leaves_the_rows_before_it_alone() -> None:
    before, after = fold([start()]), fold([start(), amend(20, tokens="20K", english="10%")])
    assert starts([start(), amend(20)]) == [0, 160]
    schedule = [Apportioner(timeline.phases) for timeline in (before, after)]
    assert [next(schedule[0]) for _ in range(160)] == [next(schedule[1]) for _ in range(160)]
    assert schedule[1].num_rows == 2000
    rows = row_counts(after.phases)
    assert abs(rows["books"] - (0.7 * 160 + 0.1 * (2000 - 160))) < 2


def test_sources_that_are_gone_are_still_known_and_in_their_group() -> None:
    timeline = fold([start(), amend(10, also=True), amend(20)])
    assert sorted(timeline.sources) == ["books", "news", "wiki"]
    assert timeline.groups == {"chinese": ("news", "wiki"), "english": ("books",)}
    assert sorted(timeline.curriculum.sources) == ["books", "wiki"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([start(), amend(20), resume(20)], [0, 160]),  # made at the checkpoint that is resumed
        ([start(), amend(20), resume(27)], [0, 160]),
        ([start(), amend(20), resume(14)], [0]),  # gone back to before it
        ([start(), amend(20), resume(14), resume(21)], [0]),  # and on again: it stays void
        ([start(), amend(20), resume(14), amend(21)], [0, 168]),
        ([start(), amend(7), amend(20), resume(14)], [0, 56]),
        ([start(), amend(20), amend(14)], [0, 112]),  # the run was cut back without a line
        ([start(), amend(20), amend(20, english="1%")], [0, 160]),
        ([start(), amend(20), start()], [0]),  # no checkpoint was whole: it began anew
        ([start(), amend(0, english="1%")], [0]),
    ],
)
def test_going_back_voids_what_was_decided_later(
    lines: list[dict[str, Any]], expected: list[int]
) -> None:
    assert starts(lines) == expected


def test_the_later_of_two_amendments_at_a_row_counts() -> None:
    timeline = fold([start(), amend(20, english="50%"), amend(20, english="10%")])
    assert timeline.phases[1].mixture.share("books", 500) == pytest.approx(0.1)
    assert fold([start(), amend(0, english="1%")]).phases[0].mixture.share(
        "books", 0
    ) == pytest.approx(0.01)


def test_the_course_at_an_earlier_step_is_that_of_the_decisions_up_to_it() -> None:
    lines = [start(), amend(7), amend(14), resume(30)]
    assert [starts(lines, step) for step in (6, 7, 13, 14, 30)] == [
        [0],
        [0, 56],
        [0, 56],
        [0, 56, 112],
        [0, 56, 112],
    ]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("tracga"), st.integers(1, 9)), max_size=30))
def test_the_decisions_that_stand_are_those_of_the_checkpoint_that_is_resumed(
    actions: list[tuple[str, int]],
) -> None:
    """A run that keeps with each checkpoint what was decided up to it, beside the log."""
    lines, step = [start()], 0
    kept: dict[int, list[int]] = {0: []}  # step of a checkpoint -> numbers of the amendments
    for number, (action, size) in enumerate(actions):
        newest = max(kept)
        if action == "t":  # train, save at the end
            step += size
            kept[step] = list(kept[newest])
        elif action == "r":  # die some steps after a checkpoint, start again
            lines.append(resume(newest))
            step = newest
        elif action == "c":  # a torn checkpoint, or one that was pruned
            if newest and not kept[newest][-1:] and len(kept) > 1:
                del kept[newest]
                step = max(kept)
                lines.append(resume(step))
        elif action == "g":  # --resume step-N
            step = sorted(kept)[size % len(kept)]
            kept = {saved: found for saved, found in kept.items() if saved <= step}
            lines.append(resume(step))
        else:
            lines.append(amend(newest) | {"number": number})
            kept[newest].append(number)
        found = decisions_in_force([*lines, resume(max(kept))])
        assert [line["number"] for line in found if line["kind"] == "amend"] == kept[max(kept)]


def test_what_stands_is_given_in_the_order_taken() -> None:
    lines = [start(), resume(5), amend(9), resume(9), resume(7), amend(8)]
    assert decisions_in_force(lines) == [lines[0], lines[1], lines[4], lines[5]]
    assert decisions_in_force(lines, step=7) == [lines[0], lines[1], lines[4]]


def test_rows_belong_to_the_phase_that_began_last() -> None:
    timeline = fold([start(), amend(7), amend(14)])
    found = [timeline.phase_at(row).from_row for row in (0, 55, 56, 111, 112, 999)]
    assert found == [0, 0, 56, 56, 112, 112]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], "has no 'start' line"),
        ([resume(5)], "has no 'start' line"),
        ([start(), {"step": 3, "kind": "overture"}], "'overture'"),
        ([start(), {"step": 3, "kind": "amend"}], "'corpora'|'curriculum'|'relisted'"),
        ([{**start(), "curriculum": {"name": "c"}}], "mixture"),
        ([start(), {"step": 3}], "'kind'"),
    ],
)
def test_a_log_that_cannot_be_followed_is_refused(lines: list[Any], found: str) -> None:
    with pytest.raises(CheckpointError, match=found) as refused:
        fold(lines)
    assert "restore the file" in str(refused.value)
