"""The documentation site: links between pages, diagrams as tables, nothing fetched."""

from __future__ import annotations

import re

import pytest

from docs.hooks.command_reference import commands_page
from docs.hooks.site import diagram_table, fetched, with_page_links
from linly.cli.main import COMMAND_MODULES


@pytest.mark.parametrize(
    ("place", "link", "wanted"),
    [
        ("index.md", "docs/faq.md#a", "faq.md#a"),
        ("index.md", "CONTRIBUTING.md", "maintainers/contributing.md"),
        ("maintainers/contributing.md", "docs/maintainers/architecture.md", "architecture.md"),
        ("maintainers/contributing.md", "docs/monitoring.md", "../monitoring.md"),
        ("maintainers/promises.md", "reliability.md", "reliability.md"),
        ("faq.md", "https://example.org/a.md", "https://example.org/a.md"),
        ("faq.md", "#here", "#here"),
        ("python.md", "notebook.ipynb", "notebook.md"),
    ],
)
def test_a_link_leads_to_the_page(place: str, link: str, wanted: str) -> None:
    assert with_page_links(f"see [it]({link}).", place, None) == f"see [it]({wanted})."


def test_a_link_to_a_source_file_needs_a_repository() -> None:
    text = "[`test_house.py`](../../tests/unit/test_house.py)"
    place = "maintainers/architecture.md"
    assert with_page_links(text, place, None) == "`test_house.py`"
    there = with_page_links(text, place, "https://example.org/linly/")
    assert there == (
        "[`test_house.py`](https://example.org/linly/blob/main/tests/unit/test_house.py)"
    )


def test_a_diagram_becomes_a_table() -> None:
    drawn = '    a_b["a/b"]\n    a_b --> c\n    a_b --> d\n    c["c"]\n    c --> d\n    d["d"]\n'
    rows = ["| `a/b` | `c`, `d` |", "| `c` | `d` |", "| `d` |  |"]
    assert diagram_table(drawn).splitlines()[2:] == rows


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<script src="https://cdn.example.org/a.js"></script>', ["https://cdn.example.org/a.js"]),
        ("<link rel=stylesheet href=//fonts.example.org/css>", ["//fonts.example.org/css"]),
        ("@font-face { src: url(https://e.org/a.woff) }", ["https://e.org/a.woff"]),
        ('<a href="https://example.org">there</a><script src="a.js"></script>', []),
        ('<link rel="canonical" href="https://example.org/page">', []),
    ],
)
def test_what_a_page_fetches_is_found(page: str, found: list[str]) -> None:
    assert fetched(page) == found


def test_every_command_is_in_the_reference() -> None:
    page = commands_page()
    for name in COMMAND_MODULES:
        assert f"\n## linly {name}" in page
    assert re.search(r"^\| `--rows` \| .+ \| required \|$", page, re.MULTILINE)
