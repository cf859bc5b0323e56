"""linly from Python: the examples of docs/python.md run as printed, and are what commands do."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import orjson
import pytest
from transformers import AutoModelForCausalLM

import linly
from linly import api
from tests.support.commands import linly_ok
from tests.support.tiny_world import make_tiny_world

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny world, in which the examples run."""
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=6)
    return folder


def test_the_page_has_three_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize(
    ("example", "num_lines", "last"),
    [(0, 6, r"English to 40%: .+ tokens, .+ epochs"), (1, 17, "next: 16")],
)
def test_an_example_without_training_runs_as_printed(
    example: int,
    num_lines: int,
    last: str,
    world: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(world)
    exec(EXAMPLES[example], {})  # noqa: S102
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == num_lines
    assert re.fullmatch(last, lines[-1])


def test_the_third_example_trains_and_exports(world: Path) -> None:
    """In a process of its own: its process group would be in the way of other tests."""
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLES[2]], cwd=world, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert lines[-1].endswith("parameters of step 6")
    assert AutoModelForCausalLM.from_pretrained(world / "models/better").config.vocab_size > 0


def test_plan_is_the_plan_of_the_command(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = linly.plan(linly.load_recipe(world / "recipe.yaml"))
    linly_ok("plan", world / "recipe.yaml", "--json")
    printed = orjson.loads(capsys.readouterr().out)
    assert [source["rows"] for source in printed["sources"]] == [s.rows for s in plan.sources]
    assert [source["epochs"] for source in printed["sources"]] == [s.epochs for s in plan.sources]


def test_a_curriculum_is_planned_without_a_recipe() -> None:
    plan = linly.plan(linly.load_curriculum(ROOT / "curricula/linly-llama2.yaml"))
    assert plan.batch is None
    assert plan.sequence_length == api.CURRICULUM_SEQUENCE_LENGTH


def test_rows_are_the_rows_of_the_command(world: Path, tmp_path: Path) -> None:
    linly_ok("mix", world / "recipe.yaml", "--rows", 12, "--output", tmp_path / "rows.jsonl")
    printed = [orjson.loads(line) for line in (tmp_path / "rows.jsonl").read_bytes().splitlines()]
    with linly.rows(linly.load_recipe(world / "recipe.yaml"), producers=0) as rows:
        digests = [mixed.digest.hex() for mixed in islice(rows, 12)]
    assert digests == [row["sha256"] for row in printed]


def test_another_name_is_no_function() -> None:
    with pytest.raises(AttributeError, match="mix"):
        linly.mix  # noqa: B018
