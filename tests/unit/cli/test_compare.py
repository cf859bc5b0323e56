"""`linly compare`: what runs learned and lost, what curricula take, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.cli.main import main
from tests.support.synthetic_run import CURRICULUM, SyntheticRun


def compare(*arguments: str | Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["compare", *map(str, arguments)])
    if ended.value.code:
        raise AssertionError(f"exit code {ended.value.code}")


def test_runs_are_compared_by_what_they_learned_and_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, steps in (("short", 125), ("long", 500)):
        run = SyntheticRun(tmp_path / name)
        run.start()
        run.train(1, steps)
    compare(tmp_path / "short", tmp_path / "long", "--output", tmp_path / "both.html")
    said = capsys.readouterr().out
    assert "short: Chinese −" in said
    assert "Chinese gained per 1% English lost" in said
    assert "long against short: Chinese bits per byte −" in said
    assert "long" in (tmp_path / "both.html").read_text()


def test_curricula_are_compared_by_the_tokens_of_each_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.yaml").write_text(CURRICULUM.format(tokens="200M"))
    other = CURRICULUM.format(tokens="400M").replace("name: small", "name: twice")
    (tmp_path / "two.yaml").write_text(other)
    compare(tmp_path / "one.yaml", tmp_path / "two.yaml", "--output", tmp_path / "both.html")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["source", "small", "twice"]
    assert next(line for line in lines if "slimpajama" in line).split()[1:] == ["100M", "200M"]
    page = (tmp_path / "both.html").read_text()
    assert "default-src 'none'" in page and "<script src" not in page


@pytest.mark.parametrize(
    ("names", "message"),
    [(["run"], "found 1 path"), (["run", "one.yaml"], "found a file and a folder")],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str], message: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "one.yaml").write_text(CURRICULUM.format(tokens="200M"))
    with pytest.raises(SystemExit):
        main(["compare", *(str(tmp_path / name) for name in names)])
    assert message in capsys.readouterr().err
