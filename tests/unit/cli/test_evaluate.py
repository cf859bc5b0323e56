"""`linly evaluate`: scores on the screen, in the run's folder and in its report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from linly.modeling.load_model import init_model, save_model
from linly.monitor.pages.run_report import write_report
from linly.runs.exam_results import read_exams
from linly.runs.runs import RunFolder
from linly.tokenization.load_tokenizer import load_tokenizer
from tests.support.commands import linly, linly_ok
from tests.support.exam_files import write_ceval, write_cmmlu, write_mmlu
from tests.support.rank_processes import environment, free_port
from tests.support.tiny_world import make_tiny_world

pytest.importorskip("lm_eval")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny world with a trained run, a second model and exams."""
    folder = tmp_path_factory.mktemp("world")
    recipe = make_tiny_world(folder, num_steps=2)
    command = [sys.executable, "-m", "linly", "train", str(recipe), "--quiet"]
    overrides = ["evaluation.prompts=[]", "checkpoint.every=2"]
    subprocess.run([*command, *overrides], check=True, env=environment(), capture_output=True)
    tokenizer = load_tokenizer(folder / "model")
    save_model(init_model("nano", tokenizer, seed=9), tokenizer, folder / "base")
    write_mmlu(folder / "exams" / "mmlu", 6, ("anatomy", "virology"))
    write_cmmlu(folder / "exams" / "cmmlu")
    write_ceval(folder / "exams" / "ceval")
    return folder


def test_a_run_is_scored_against_its_base_and_its_report_shows_it(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, output = world / "runs" / "tiny", world / "scores"
    words = ["--tasks", "mmlu,cmmlu", "--data", world / "exams", "--shots", 1, "--output", output]
    linly_ok(
        "evaluate", run, *words, "--compare", world / "base", "--recipe", world / "recipe.yaml"
    )
    printed = capsys.readouterr().out
    assert "mmlu (test, 12 questions): 1-shot, prompts of the harness, delimiter ' '" in printed
    assert "with BOS" in printed and "the same letter always" in printed
    assert "McNemar" in printed and "bits per byte" in printed

    records = {record.exam: record for record in read_exams(run)}
    assert records.keys() == {"mmlu", "cmmlu"}
    mmlu = records["mmlu"]
    assert (mmlu.steps, mmlu.shots, mmlu.num_questions) == ([2], 1, 12)
    assert mmlu.subjects.keys() == {"anatomy", "virology"}
    answers = (output / "step-00000002_mmlu_1-shot_answers.jsonl").read_bytes().splitlines()
    right = [line["chosen"] == line["right"] for line in map(orjson.loads, answers)]
    assert len(right) == 12 and mmlu.micro == sum(right) / 12

    page = write_report(run).read_text(encoding="utf-8")
    assert "Subjects of mmlu, 1-shot, step 2" in page
    assert "Exams" in page


def test_a_model_has_the_held_out_bits_per_byte_of_a_runs_start(world: Path) -> None:
    words = ["--recipe", world / "recipe.yaml", "--dtype", "bf16", "--output", world / "held-out"]
    linly_ok("evaluate", world / "model", *words)
    found = orjson.loads((world / "held-out" / "held_out.json").read_bytes())
    first = next(RunFolder.open(world / "runs" / "tiny").read_evaluations())
    assert first.step == 0 and found.keys() == first.sources.keys()
    for name, source in first.sources.items():
        assert found[name]["documents"] == source.documents
        assert found[name]["bytes"] == source.size_bytes
        assert found[name]["bits_per_byte"] == pytest.approx(source.bits_per_byte, rel=1e-3)


def test_two_ranks_give_the_answers_of_one(world: Path) -> None:
    words = ["evaluate", str(world / "base"), "--tasks", "mmlu,ceval", "--data"]
    words += [str(world / "exams"), "--shots", "2", "--output"]
    linly_ok(*words, world / "one")
    ranks = ["--nproc-per-node", "2", "--master-port", free_port(), "-m", "linly"]
    command = [sys.executable, "-m", "torch.distributed.run", *ranks, *words, str(world / "two")]
    subprocess.run(command, check=True, env=environment(), capture_output=True)
    for name in ("mmlu_2-shot", "ceval_2-shot"):
        one, two = (
            [orjson.loads(line) for line in (world / each / f"{name}_answers.jsonl").open("rb")]
            for each in ("one", "two")
        )
        scores = [line.pop("log_likelihoods") for line in one]
        theirs = [line.pop("log_likelihoods") for line in two]
        assert one == two
        for ours, other in zip(scores, theirs, strict=True):
            assert ours == pytest.approx(other, abs=1e-5)
        record = orjson.loads((world / "two" / f"{name}.json").read_bytes())
        assert record["world_size"] == 2


def test_a_submission_answers_the_secret_test(world: Path, tmp_path: Path) -> None:
    words = ["evaluate", world / "base", "--tasks", "ceval", "--data", world / "exams"]
    linly_ok(*words, "--submission", "--output", tmp_path)
    found = orjson.loads((tmp_path / "ceval_submission.json").read_bytes())
    assert found.keys() == {"accountant"}
    assert found["accountant"].keys() == {"0", "1", "2"}
    assert set(found["accountant"].values()) <= set("ABCD")
    record = orjson.loads((tmp_path / "ceval_5-shot.json").read_bytes())
    assert record["micro"] is None and record["split"] == "test"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "nothing to measure: name exams with --tasks, or a recipe with --recipe"),
        (["--tasks", "mmlu"], "--tasks needs --data DIR"),
        (["--tasks", "mmlu", "--data", "none"], "none/mmlu: no such folder"),
        (["--tasks", "mmmlu", "--data", "."], "found 'mmmlu', allowed: mmlu, cmmlu"),
        (["--tasks", "mmlu", "--data", ".", "--submission"], "--submission needs --tasks ceval"),
        (
            ["--tasks", "mmlu", "--data", ".", "--drop-shots", "--compare", "x"],
            "--drop-shots with --compare would give the two models different prompts",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert linly("evaluate", "model", *words) == 1
    assert complaint in capsys.readouterr().err
