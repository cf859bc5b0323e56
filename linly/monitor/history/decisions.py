"""Decisions about a run's later rows, in words: amendments, guards, forks, lost shards."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from linly.curriculum.timeline import decisions_in_force

_KNOWN = frozenset({"step", "time", "kind", "text"})
_MAX_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a run: a start, a checkpoint, a skipped step, an alarm."""

    step: int
    time: float
    kind: str
    text: str


def decision_events(decisions: Sequence[Mapping[str, Any]]) -> tuple[Event, ...]:
    """Decisions that still hold and changed something, in the order taken.

    Args:
        decisions: Lines of decisions.jsonl. Unknown kinds are described by their values.
    """
    found = []
    for line in decisions_in_force(decisions):
        kind = str(line.get("kind", ""))
        text = line.get("text") or _WORDS.get(kind, _values)(line)
        if text:
            time = line.get("time")
            found.append(
                Event(line["step"], math.nan if time is None else float(time), kind, str(text))
            )
    return tuple(found)


def told(decisions: Sequence[Event], events: Sequence[Event]) -> tuple[Event, ...]:
    """Decisions, in the words of their events if there are any."""
    by_place: dict[tuple[int, str], list[Event]] = {}
    for event in events:
        by_place.setdefault((event.step, event.kind), []).append(event)
    found: list[Event] = []
    for decision in decisions:
        same = by_place.get((decision.step, decision.kind))
        found += [event for event in same if event not in found] if same else [decision]
    return tuple(found)


def _amended(line: Mapping[str, Any]) -> str:
    curriculum = line.get("curriculum") or {}
    groups = ", ".join(
        f"{group} {_ratio(form.get('ratio'))}"
        for group, form in (curriculum.get("mixture") or {}).items()
    )
    relisted = ", ".join(sorted(line.get("relisted") or {}))
    shards = f"; other shards of {relisted}" if relisted else ""
    return f"from row {line.get('row', 0):,} on: {groups or 'the mixture as it was'}{shards}"


def _ratio(form: object) -> str:
    """A group's ratio in short: `70%`, `cosine 70% to 20%`, `rest`."""
    if not isinstance(form, Mapping):
        return str(form)
    curve = str(form.get("curve", ""))
    if "from" in form and "to" in form:
        return f"{curve} {form['from']} to {form['to']}"
    points = form.get("points")
    if isinstance(points, Mapping) and points:
        values = [str(value) for value in points.values()]
        return f"{curve} {values[0]} to {values[-1]}"
    return curve


def _guarded(line: Mapping[str, Any]) -> str:
    before, after = line.get("before", 0), line.get("after", 0)
    moved = "raised" if after > before else "lowered" if after < before else "left"
    is_task = bool(line.get("task"))
    watched, figure = line.get("source"), "bits per byte"
    if is_task:
        watched, figure = line["task"], str(line.get("figure", "")).replace("_", " ")
    value, baseline = line.get("value" if is_task else "bits_per_byte"), line.get("baseline")
    why = (
        f": {watched} {value / baseline - 1:+.2%} {figure} since step 0"
        if value is not None and baseline
        else ""
    )
    return f"{line.get('group')} {moved} from level {before} to {after}{why}"


def _lost(line: Mapping[str, Any]) -> str:
    place = f"source {line.get('source')}: shard {line.get('shard')}"
    return f"{place} left at record {line.get('record')}: {line.get('reason')}"


def _forked(line: Mapping[str, Any]) -> str:
    passed = [f"{first}-{last}" for first, last in line.get("skip_steps") or ()]
    over = f", skipping steps {', '.join(passed)}" if passed else ""
    decay = line.get("annealing")
    tokens = f", to end with a decay over {decay['tokens']:,} tokens" if decay else ""
    return f"forked from {line.get('run')}{over}{tokens}"


def _resumed(line: Mapping[str, Any]) -> str:
    """Describe the changes of a resume; empty without any, since the events record the resume."""
    changes = [
        f"{change['key']}: {change['before']} to {change['now']}"
        for change in line.get("changes") or ()
    ]
    return "; ".join([*changes, *(f"set aside {name}" for name in line.get("set_aside") or ())])


def _values(line: Mapping[str, Any]) -> str:
    shown = {
        key: value
        for key, value in line.items()
        if key not in _KNOWN and isinstance(value, str | int | float)
    }
    text = ", ".join(f"{key} {value}" for key, value in shown.items()) or "decided"
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."


_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "start": lambda line: "",
    "resume": _resumed,
    "amend": _amended,
    "guard": _guarded,
    "shard": _lost,
    "fork": _forked,
}
