"""README and docs/: links have targets, and lists name everything that the code knows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from linly.config.shapes import CURVES
from linly.config.shard_formats import FileFormat
from linly.records.evaluation_record import (
    EvaluationRecord,
    LanguageEvaluation,
    NewPieceStatistics,
    SourceEvaluation,
)
from linly.records.metrics import MeasuredRecord, metrics_of
from linly.records.step_record import StepRecord

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_have_targets(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", page.read_text("utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def cells(page: str, first: str) -> list[str]:
    """Other cells of the rows of a page's tables whose first cell is given."""
    rows = (ROOT / page).read_text("utf-8").splitlines()
    return [row[len(first) + 4 :] for row in rows if row.startswith(f"| {first} |")]


def code_words(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def test_the_readme_names_every_curve_and_its_keys() -> None:
    (row,) = cells("README.md", "`curve:`")
    assert code_words(row) == {*CURVES, *(key for s in CURVES.values() for key in s.file_keys())}


@pytest.mark.parametrize(
    ("page", "first"), [("README.md", "formats"), ("docs/corpus-files.md", "`format`")]
)
def test_the_lists_of_formats_are_complete(page: str, first: str) -> None:
    (row,) = cells(page, first)
    assert code_words(row) == set(get_args(FileFormat))


def tags(record: type[MeasuredRecord], name: str) -> set[str]:
    """Tags of a record's metrics, with a name for the source or language."""
    found = {entry.tag for entry in metrics_of(record).values() if entry.tag is not None}
    return {tag.format(name) for tag in found}


def test_the_table_of_scalars_is_complete() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
    table = re.findall(r"^\| (`.*) \| each (step|evaluation) \|$", text, re.MULTILINE)
    listed = {
        when: {tag for row, found in table if found == when for tag in code_words(row)}
        for when in ("step", "evaluation")
    }
    of_evaluations = (
        tags(EvaluationRecord, "")
        | tags(SourceEvaluation, "SOURCE")
        | tags(LanguageEvaluation, "CODE")
        | tags(NewPieceStatistics, "")
    )
    assert listed == {
        "step": tags(StepRecord, "SOURCE"),
        "evaluation": of_evaluations - {"tokens_seen"},
    }
