"""`linly mix`: the stream as JSON, the same for world sizes, producers and resumes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linly.cli.main import main

Rows = list[dict[str, Any]]
Mix = Callable[..., Rows]


@pytest.fixture
def mix(tiny_recipe: Path, tiny_tokenizer_path: Path, tmp_path: Path) -> Mix:
    """Run the command in this process; gives its rows."""

    def run(*arguments: str) -> Rows:
        output = tmp_path / "rows.jsonl"
        command = ["mix", str(tiny_recipe), "--tokenizer", str(tiny_tokenizer_path)]
        with pytest.raises(SystemExit) as caught:
            main([*command, "--output", str(output), *arguments])
        assert caught.value.code == 0
        return [json.loads(line) for line in output.read_text().splitlines()]

    return run


def test_a_row_is_described_completely(mix: Mix, tiny_recipe: Path) -> None:
    rows = mix("--rows", "30")
    assert [row["row"] for row in rows] == list(range(30))
    assert [row["step"] for row in rows] == [index // 12 + 1 for index in range(30)]
    for row in rows:
        assert set(row) == {
            *("row", "step", "source", "epoch", "documents", "supervised_tokens", "padding"),
            "sha256",
        }
        assert len(bytes.fromhex(row["sha256"])) == 32
        for piece in row["documents"]:
            assert set(piece) == {"shard", "record", "start", "end"}
            assert (tiny_recipe.parent / "data" / piece["shard"]).is_file()
        assert sum(p["end"] - p["start"] for p in row["documents"]) == 64 - row["padding"]
        assert 0 <= row["supervised_tokens"] <= 64 - len(row["documents"])


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_the_rows_of_all_ranks_together_are_the_global_stream(world_size: int, mix: Mix) -> None:
    joined = [
        row
        for rank in range(world_size)
        for row in mix("--rows", "40", "--world-size", str(world_size), "--rank", str(rank))
    ]
    assert sorted(joined, key=lambda row: row["row"]) == mix("--rows", "40")


@pytest.mark.parametrize("producers", ["1", "2"])
def test_producers_change_nothing(producers: str, mix: Mix) -> None:
    assert mix("--rows", "40", "--producers", producers) == mix("--rows", "40")


@pytest.mark.parametrize("num_rows", [1, 12, 29])
def test_a_saved_state_gives_the_identical_tail(num_rows: int, mix: Mix, tmp_path: Path) -> None:
    state = str(tmp_path / "state.json")
    head = mix("--rows", str(num_rows), "--save-state", state)
    tail = mix("--rows", str(60 - num_rows), "--state", state, "--producers", "1")
    assert head + tail == mix("--rows", "60")


def test_the_last_line_on_stderr_tells_speed_and_a_drift_below_one_row(
    mix: Mix, capfd: pytest.CaptureFixture[str]
) -> None:
    mix("--rows", "200")
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("200 rows, 12,800 tokens in ")
    drift = float(line.split("largest drift ")[1].split()[0])
    assert 0.3 < drift < 1
    assert "tokens/s" in line


def test_one_row_is_counted_in_the_singular(mix: Mix, capfd: pytest.CaptureFixture[str]) -> None:
    mix("--rows", "1")
    assert capfd.readouterr().err.startswith("1 row, 64 tokens in ")


def test_guards_do_not_act_without_evaluations_and_it_is_said(
    mix: Mix, capfd: pytest.CaptureFixture[str]
) -> None:
    guard = "{source: texts, max_rise: 1%, cap: 60%}"
    rows = mix("--rows", "200", f"curriculum.mixture.english.ratio.guard={guard}")
    assert "the guards of english do not act" in capfd.readouterr().err
    assert rows == mix("--rows", "200")


def test_rows_beyond_the_run_are_not_made(mix: Mix) -> None:
    assert len(mix("--rows", "100000")) == 200


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--rows", "5", "--world-size", "5"], "world sizes that fit: 1, 2, 3, 4, 6, 12"),
        (["--rows", "5", "--state", "missing.json"], "missing.json: cannot be read"),
        (["--rows", "5", "corpora.pairs.paths=['none/*.jsonl']"], "none/*.jsonl"),
    ],
)
def test_errors_are_one_answer_to_the_user(
    arguments: list[str],
    text: str,
    tiny_recipe: Path,
    tiny_tokenizer_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["mix", str(tiny_recipe), "--tokenizer", str(tiny_tokenizer_path), *arguments])
    assert caught.value.code == 1
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert text in error


def test_a_state_of_a_row_before_the_first_is_refused_in_one_answer(
    mix: Mix,
    tiny_recipe: Path,
    tiny_tokenizer_path: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    state = tmp_path / "state.json"
    mix("--rows", "5", "--save-state", str(state))
    state.write_text(json.dumps(json.loads(state.read_text()) | {"row": -5}))
    with pytest.raises(SystemExit) as caught:
        arguments = ["--rows", "5", "--tokenizer", str(tiny_tokenizer_path), "--state", str(state)]
        main(["mix", str(tiny_recipe), *arguments])
    assert caught.value.code == 1
    says = f"error: --state {state}: the mixer state is damaged: row: found -5, allowed: whole"
    assert says in capfd.readouterr().err


def test_a_recipe_without_a_model_needs_a_tokenizer(
    tiny_recipe: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["mix", str(tiny_recipe), "--rows", "1"])
    assert "names no model; set `model` or pass --tokenizer FILE" in capfd.readouterr().err


def test_it_needs_no_torch(tiny_recipe: Path, tiny_tokenizer_path: Path) -> None:
    code = (
        "import sys\nfrom linly.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules"
    )
    arguments = ["mix", str(tiny_recipe), "--tokenizer", str(tiny_tokenizer_path), "--rows", "5"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert len(done.stdout.splitlines()) == 5


def test_the_end_line_says_how_full_the_rows_of_best_fit_sources_are(
    mix: Mix, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = mix("--rows", "200")
    tasks = [row["padding"] for row in rows if row["source"] == "tasks"]
    assert sum(tasks) > 0
    filled = 1 - sum(tasks) / (64 * len(tasks))
    end = capsys.readouterr().err.splitlines()[-1]
    assert end.endswith(f"; rows filled: tasks {filled:.1%}")  # the others are cut to fit
