"""`linly mix --text`: what rows say, with the parts that carry loss."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from linly.cli.mix_text import MAX_PARTS, RowPrinter
from linly.data.cursor import SourceCursor
from linly.data.mixing.mixed_row import MixedRow
from linly.data.types import IGNORE_LABEL, Row
from linly.records.span import Span
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer
from tests.support.commands import linly_ok
from tests.support.vocabularies import english_model


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    (tmp_path / "base.model").write_bytes(english_model())
    return load_tokenizer(tmp_path / "base.model")


def row_of(tokenizer: Tokenizer, *documents: tuple[str, str], padding: int = 0) -> MixedRow:
    """A row of documents, each a text without loss and one with."""
    ids: list[int] = []
    labels: list[int] = []
    spans = []
    starts = []
    for number, (prompt, answer) in enumerate(documents):
        starts.append(len(ids))
        first = [tokenizer.bos_id, *tokenizer.encode(prompt).tolist()]
        second = [*tokenizer.encode(answer).tolist(), tokenizer.eos_id]
        ids += first + second
        labels += [IGNORE_LABEL] * len(first) + second
        spans.append(Span("a/b.jsonl", number, 0, len(first + second)))
    row = Row(
        "english",
        1,
        np.array(ids + [tokenizer.eos_id] * padding, np.int32),
        np.array(labels + [IGNORE_LABEL] * padding, np.int32),
        np.array(starts, np.int32),
        tuple(spans),
        padding,
        SourceCursor(),
        (),
    )
    return MixedRow(13, 0, row, b"")


def test_parts_with_loss_are_told_apart(tokenizer: Tokenizer) -> None:
    mixed = row_of(tokenizer, ("the river", "the hill"), ("a page", "the sea"), padding=3)
    lines = RowPrinter(tokenizer, 12).text(mixed).splitlines()
    num_tokens, num_loss = len(mixed.row.ids), mixed.row.num_supervised
    assert lines[0] == (
        f"row 13  step 2  english  epoch 1  {num_tokens} tokens, {num_loss} with loss, 3 of padding"
    )
    assert lines[1].startswith("  a/b.jsonl, record 0, tokens 0 to ")
    assert lines[2:4] == ["    no loss | <s>the river", "    loss    | the hill</s>"]
    assert lines[4].startswith("  a/b.jsonl, record 1, tokens 0 to ")
    assert lines[5:] == ["    no loss | <s>a page", "    loss    | the sea</s>"]


def test_texts_are_harmless_and_bounded(tokenizer: Tokenizer) -> None:
    text = RowPrinter(tokenizer, 1).text(row_of(tokenizer, ("a\x1b[31m", "river " * 500)))
    assert "\x1b" not in text
    assert "    no loss | <s>a\\u001b[31m" in text
    assert "characters more ...]" in text
    assert len(text) < 1_000
    many = RowPrinter(tokenizer, 1).text(row_of(tokenizer, *[("a", "b")] * 100))
    assert many.count("loss") == MAX_PARTS + 1
    assert many.endswith(f"  ... and {100 - MAX_PARTS // 2} more documents\n")


def test_the_rows_of_a_recipe_are_printed(
    tiny_recipe: Path, tiny_tokenizer_path: Path, tmp_path: Path
) -> None:
    command = ("mix", tiny_recipe, "--tokenizer", tiny_tokenizer_path, "--rows", 24)
    linly_ok(*command, "--output", tmp_path / "rows.jsonl")
    linly_ok(*command, "--text", "--output", tmp_path / "rows.txt")
    text = (tmp_path / "rows.txt").read_text()
    for line in (tmp_path / "rows.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert f"row {row['row']}  step {row['step']}  {row['source']}  epoch" in text
        assert f"{row['supervised_tokens']} with loss" in text
        for document in row["documents"]:
            assert f"  {document['shard']}, record {document['record']}, tokens" in text
    assert "loss    | " in text
