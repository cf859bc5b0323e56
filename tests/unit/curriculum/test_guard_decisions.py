"""linly.curriculum.timeline: guards raise and lower groups, and what a resume makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linly.config.curriculum import Curriculum
from linly.curriculum.mixture import Mixture
from linly.curriculum.timeline import fold, resume_decision
from linly.errors import CheckpointError


def curriculum(*, steps: int = 4, english: str = "70%") -> dict[str, Any]:
    guards = {
        group: {"source": "web", "max_rise": "3%", "cap": cap, "steps": steps}
        for group, cap in (("english", "60%"), ("parallel", "30%"))
    }
    ratios = {"english": (english, "20%"), "parallel": ("10%", "5%")}
    mixture: dict[str, Any] = {
        group: {
            "ratio": {"curve": "linear", "from": first, "to": last, "guard": guards[group]},
            "sources": {"web" if group == "english" else "pairs": "100%"},
        }
        for group, (first, last) in ratios.items()
    }
    mixture["chinese"] = {"ratio": "rest", "sources": {"wiki": "100%"}}
    return Curriculum.model_validate({"name": "c", "tokens": "10K", "mixture": mixture}).file_form()


START = {
    "step": 0,
    "kind": "start",
    "row": 0,
    "sequence_length": 10,
    "curriculum": curriculum(),
    "corpora": {},
}


def guard(step: int, after: int, group: str = "english") -> dict[str, Any]:
    return {"step": step, "kind": "guard", "row": step * 8, "group": group, "after": after}


def amend(step: int, **values: Any) -> dict[str, Any]:
    form = curriculum(**values)
    return {
        "step": step,
        "kind": "amend",
        "row": step * 8,
        "corpora": {},
        "relisted": {},
        "curriculum": form,
    }


def levels(*lines: dict[str, Any]) -> list[tuple[int, dict[str, int]]]:
    """(first row, levels above 0) of each phase; each phase's mixture has these levels."""
    timeline = fold([START, *lines])
    found = []
    for phase in timeline.phases:
        at = dict(timeline.levels_at(phase.from_row))
        rows = np.arange(0, 1000, 50)
        if phase is timeline.phases[-1]:
            wanted = Mixture.from_curriculum(timeline.curriculum, num_rows=1000, levels=at)
            assert np.array_equal(phase.mixture.shares(rows), wanted.shares(rows))
        found.append((phase.from_row, {group: level for group, level in at.items() if level}))
    return found


def test_each_decision_begins_a_phase_and_leaves_other_groups_as_they_are() -> None:
    assert levels(guard(10, 1), guard(20, 1, "parallel"), guard(30, 2), guard(40, 1)) == [
        (0, {}),
        (80, {"english": 1}),
        (160, {"english": 1, "parallel": 1}),
        (240, {"english": 2, "parallel": 1}),
        (320, {"english": 1, "parallel": 1}),
    ]


def test_guards_that_decide_at_one_evaluation_share_a_phase() -> None:
    both = {"english": 1, "parallel": 1}
    assert levels(guard(10, 1), guard(10, 1, "parallel")) == [(0, {}), (80, both)]


def test_a_resume_voids_decisions_from_evaluations_that_the_checkpoint_does_not_know() -> None:
    one, two = (80, {"english": 1}), (160, {"english": 2})
    lines = [guard(10, 1), guard(20, 2)]
    assert levels(*lines, resume_decision(20, evaluated_step=20)) == [(0, {}), one, two]
    assert levels(*lines, resume_decision(25, evaluated_step=20)) == [(0, {}), one, two]
    assert levels(*lines, resume_decision(15, evaluated_step=10)) == [(0, {}), one]
    # saved at step 20 before its evaluation, as a SIGTERM has it
    assert levels(*lines, resume_decision(20, evaluated_step=10)) == [(0, {}), one]
    again = [*lines, resume_decision(20, evaluated_step=10), guard(20, 2)]
    assert levels(*again) == [(0, {}), one, two]
    assert levels(*lines, resume_decision(5, evaluated_step=0)) == [(0, {})]


def test_an_amendment_keeps_groups_as_far_raised_as_its_guards_allow() -> None:
    lines = [guard(10, 3), amend(15, english="50%")]
    assert levels(*lines) == [(0, {}), (80, {"english": 3}), (120, {"english": 3})]
    assert levels(guard(10, 3), amend(15, steps=2))[-1] == (120, {"english": 2})
    assert levels(guard(10, 3), amend(10))[-1] == (80, {"english": 3})


@pytest.mark.parametrize(
    "line",
    [guard(10, 5), guard(10, -1), guard(10, 1, "chinese"), {"step": 10, "kind": "guard"}],
)
def test_a_decision_that_the_curriculum_cannot_follow_is_damage(line: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="a line cannot be read"):
        fold([START, line])
