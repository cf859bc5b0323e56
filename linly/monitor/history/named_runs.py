"""Runs with names that are unique on a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from linly.monitor.history.history import History


@dataclass(frozen=True, slots=True)
class NamedRun:
    """A run with a name that is unique on the page."""

    name: str
    history: History


def named_runs(histories: Sequence[History]) -> tuple[NamedRun, ...]:
    """Name runs by their folders; the parent folder is added if two names are the same."""
    names = [history.name for history in histories]
    return tuple(
        NamedRun(
            name if names.count(name) == 1 else f"{history.path.resolve().parent.name}/{name}",
            history,
        )
        for name, history in zip(names, histories, strict=True)
    )
