"""`linly corpora show`: records, documents and tokens."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from linly.cli.corpora_view import CorpusView
from linly.cli.shown_text import printable
from linly.config.corpus import load_corpus
from linly.tokenization.load_tokenizer import load_tokenizer
from tests.support.commands import linly
from tests.support.tiny_corpora import source_of
from tests.support.vocabularies import english_model

ALPACA = """\
language: en
kind: instruction
paths: ["alpaca/*.jsonl"]
where: [{field: output, not_in: ["skip"]}]
held_out: 0%
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a corpus file, its shard of three good records, a vocabulary."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.model").write_bytes(english_model())
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "alpaca.yaml").write_text(ALPACA)
    put(tmp_path, "data/alpaca/a.jsonl",
        {"instruction": "Sing\x1b[31m [bold]", "output": "The river"},
        {"instruction": "x", "output": "skip"},
        {"instruction": "x"},
        {"instruction": "Walk", "output": "The mountain"},
        {"instruction": "Rest", "output": "The bridge"})  # fmt: skip
    return tmp_path


def put(folder: Path, name: str, *records: dict[str, object]) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


DATA = ("--data-root", "data")


def test_list_shows_the_form_of_each_corpus(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "corpora" / "pairs.yaml").write_text(
        "kind: parallel\npaths: {en: 'p/[ab].en', zh: 'p/[ab].zh'}\n"
    )
    (here / "corpora" / "pages.yaml").write_text(
        "language: zh\nkind: text\npaths: ['a/*.parquet', 'b/*.jsonl.zst', 'c/*']\n"
    )
    assert linly("corpora", "list") == 0
    rows = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [
        ["alpaca", "en", "instruction", "jsonl", "alpaca/*.jsonl"],
        ["pages", "zh", "text", "by file name, jsonl, parquet", "a/*.parquet, b/*.jsonl.zst, c/*"],
        ["pairs", "en-zh", "parallel", "aligned lines", "p/[ab].en, p/[ab].zh"],
    ]


def test_list_names_a_wrong_file_after_the_others(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "corpora" / "a.yaml").write_text("language: '?'\nkind: text\npaths: ['a.jsonl']\n")
    assert linly("corpora", "list") == 1
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == ["name", "alpaca"]
    assert re.match(r"error: corpora/a\.yaml:1: .*language", printed.err)


@pytest.mark.parametrize("is_asked", [False, True])
def test_the_corpora_of_linly_are_used_where_there_are_none(
    here: Path, capsys: pytest.CaptureFixture[str], is_asked: bool
) -> None:
    if not is_asked:
        (here / "corpora").rename(here / "others")
    asked = ["--corpora", "linly:corpora"] if is_asked else []
    assert linly("corpora", "list", *asked) == 0
    assert "slimpajama" in capsys.readouterr().out
    put(
        here,
        "data/alpaca/alpaca_data.json",
        {"instruction": "Sit", "input": "", "output": "The chair"},
    )
    assert linly("corpora", "show", "alpaca", *asked, *DATA) == 0
    assert "The chair" in capsys.readouterr().out


def test_show_prints_record_document_and_tokens(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not linly("corpora", "show", "alpaca", "--tokenizer", "base.model", *DATA)
    out = capsys.readouterr().out
    assert '"output": "The river"' in out
    assert "no loss | Below is an instruction" in out
    assert "loss    | The river" in out
    assert "alpaca/a.jsonl, record 1: left out: where: output is 'skip'" in out
    assert "record 2: bad: field 'output' is missing" in out
    assert "loss    | The mountain" in out
    assert "The bridge" not in out
    tokenizer = load_tokenizer(here / "base.model")
    num_answer = len(tokenizer.encode("The river"))
    assert f"tokens, {num_answer + 1} with loss" in out
    assert "<s> ▁" in out


def test_control_characters_and_markup_of_a_record_do_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not linly("corpora", "show", "corpora/alpaca.yaml", "-n", "1", *DATA)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "Sing\\u001b[31m [bold]" in out
    assert printable("a\u202eb\r\x07\n\t") == "a\\u202eb\\u000d\\u0007\n\t"


def test_what_carries_no_loss_is_dim(here: Path) -> None:
    corpus = load_corpus("alpaca", [here / "corpora"])
    tokenizer = load_tokenizer(here / "base.model")
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system="standard", soft_wrap=True)
    CorpusView(console, source_of(corpus, here / "data", template="linly"), tokenizer).show(1)
    lines = file.getvalue().splitlines()
    (prompt,) = [line for line in lines if "no loss" in line]
    (answer,) = [line for line in lines if line.startswith("\x1b[36mloss")]
    assert "\x1b[2m### Instruction" in prompt
    assert "\x1b[2m" not in answer
    tokens = lines[-1]
    assert tokens.startswith("\x1b[2m<s>\x1b[0m")
    assert "\x1b[2m" not in tokens[tokens.rindex("\x1b[2m") + 4 :]
    assert tokens.rstrip().endswith("</s>")


def test_an_unknown_corpus_names_the_nearest(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert linly("corpora", "show", "alpaka", *DATA) == 1
    assert "found 'alpaka', did you mean 'alpaca'?" in capsys.readouterr().err


def test_a_corpus_without_a_document_is_an_error(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(here, "data/alpaca/a.jsonl", {"instruction": "x", "output": "skip"})
    assert linly("corpora", "show", "alpaca", *DATA) == 1
    assert "none of its first 1 records gives a document" in capsys.readouterr().err
