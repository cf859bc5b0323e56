"""The structure of the package stays as docs/maintainers/architecture.md draws it."""

from __future__ import annotations

from tests.house import (
    DOCUMENT,
    circles,
    files_by_folder,
    folder_graph,
    long_functions,
    module_graph,
    repeated_names,
    with_diagrams,
)

MAX_FILES = 14
MAX_LONG_FUNCTIONS = 21


def test_no_folder_is_crowded() -> None:
    crowded = {name: n for name, n in files_by_folder().items() if n > MAX_FILES}
    assert crowded.keys() <= {"linly/cli"}  # one file a command


def test_imports_form_no_circle() -> None:
    assert circles(module_graph()) == []
    assert circles(folder_graph()) == []


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}
    assert circles(graph) == [["a", "b", "c"]]


def test_no_name_occurs_twice() -> None:
    assert repeated_names() == {}


def test_no_more_functions_are_long() -> None:
    assert len(long_functions()) <= MAX_LONG_FUNCTIONS, long_functions()


def test_the_drawn_architecture_is_the_code_s() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == with_diagrams(text), "run: python -m tests.house --draw"
