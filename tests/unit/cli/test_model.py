"""`linly model`: what it makes, and what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from linly.modeling.load_model import load_model
from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.commands import linly
from tests.support.vocabularies import english_model


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    base = SentencePieceTokenizer(english_model())
    (tmp_path / "base.model").write_bytes(base.model_bytes)
    (tmp_path / "new.model").write_bytes(extend_vocabulary(base, list("山水亿俺")))
    return tmp_path


def test_init_and_extend(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not linly("model", "init", "--config", "nano", "--tokenizer", "base.model",
                     "--output", "old", "--seed", "7")  # fmt: skip
    assert not linly("model", "extend", "--model", "old", "--tokenizer", "new.model",
                     "--output", "grown", "--multiple", "64")  # fmt: skip
    out = capsys.readouterr().out
    assert "400 -> 448 rows (4 new pieces, 44 padding) in lm_head.weight, model.embed_tokens" in out
    assert "4 new pieces of 3 sub-tokens" in out
    assert "groups of equal rows: 1, 2 pieces together; the first is 亿, 俺" in out
    assert load_model(here / "grown").config.vocab_size == 448
    assert SentencePieceTokenizer.load(here / "grown").vocab_size == 404


def test_files_follow_the_umask_and_nothing_is_drawn_on_stderr(here: Path) -> None:
    program = "import os, sys; os.umask(0o027); from linly.cli.main import main; main()"
    for arguments in (
        ("init", "--config", "nano", "--tokenizer", "base.model", "--output", "old"),
        ("extend", "--model", "old", "--tokenizer", "new.model", "--output", "grown"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, "model", *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
    files = [*(here / "old").iterdir(), *(here / "grown").iterdir()]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o640}


def test_errors_are_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert linly("model", "init", "--config", "nano2", "--tokenizer", "base.model",
                 "--output", "old") == 1  # fmt: skip
    assert linly("model", "extend", "--model", "nowhere", "--tokenizer", "new.model",
                 "--output", "grown") == 1  # fmt: skip
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "error"]
    assert not (here / "grown").exists()
