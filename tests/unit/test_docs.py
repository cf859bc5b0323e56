"""README and docs/: links have targets, and lists name everything that the code knows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from docs.hooks.hardware import MODELS, READMES, with_table
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
from linly.records.task_record import TaskEvaluation

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


def test_every_guide_is_in_the_navigation() -> None:
    pages = {str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/**/*.md")}
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert pages - {*listed} == set(), "add the page to `nav` in mkdocs.yml"


def cells(page: str, first: str) -> list[str]:
    """Other cells of the rows of a page's tables whose first cell is given."""
    rows = (ROOT / page).read_text("utf-8").splitlines()
    return [row[len(first) + 4 :] for row in rows if row.startswith(f"| {first} |")]


def code_words(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def test_the_guide_names_every_curve_and_its_keys() -> None:
    (row,) = cells("docs/curricula.md", "`curve:`")
    assert code_words(row) == {*CURVES, *(key for s in CURVES.values() for key in s.file_keys())}


def test_the_list_of_formats_is_complete() -> None:
    (row,) = cells("docs/corpus-files.md", "`format`")
    assert code_words(row) == set(get_args(FileFormat))


@pytest.mark.parametrize("page", [page.name for page in READMES])
def test_the_table_of_hardware_is_the_estimate(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert text == with_table(text), "run: python -m docs.hooks.hardware"


@pytest.mark.parametrize("name", MODELS)
def test_the_table_of_hardware_counts_as_transformers(name: str) -> None:
    shape = MODELS[name]
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        intermediate_size=shape.intermediate_size,
        num_attention_heads=shape.hidden_size // 128,
        num_key_value_heads=shape.kv_size // 128,
        tie_word_embeddings=shape.is_tied,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    assert sum(p.numel() for p in model.parameters()) == shape.num_parameters


def tags(record: type[MeasuredRecord], name: str) -> set[str]:
    """Tags of a record's metrics, with a name for the source or language."""
    found = {entry.tag for entry in metrics_of(record).values() if entry.tag is not None}
    return {tag.format(name) for tag in found}


def test_the_table_of_scalars_is_complete() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
    table = re.findall(
        r"^\| (`.*) \| each (step|evaluation|evaluation of the tasks) \|$", text, re.MULTILINE
    )
    listed = {
        when: {tag for row, found in table if found == when for tag in code_words(row)}
        for when in ("step", "evaluation", "evaluation of the tasks")
    }
    of_evaluations = (
        tags(EvaluationRecord, "PART")
        | tags(SourceEvaluation, "SOURCE")
        | tags(LanguageEvaluation, "CODE")
        | tags(NewPieceStatistics, "")
    )
    assert listed == {
        "step": tags(StepRecord, "SOURCE"),
        "evaluation": of_evaluations - {"tokens_seen"},
        "evaluation of the tasks": tags(TaskEvaluation, "NAME"),
    }
