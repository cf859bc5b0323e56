"""linly fork --decay: a branch that ends with a decay, of a run whose rate is stable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from linly.cli.main import main
from linly.config.recipe import load_recipe
from linly.errors import ConfigError
from linly.monitor.history.history import read_history
from linly.monitor.history.shares import realized_and_planned
from linly.training.changes.annealing import annealing_from
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.commands import linly_ok
from tests.support.tiny_world import make_tiny_world
from tests.unit.training.changes.test_forked_run import FAST, lines, losses, order, row_table, tree

STEPS, STEP_TOKENS, PEAK = 12, 8 * 32, 1e-3
WSD = ("training.schedule=wsd", "training.decay=25%", "training.decay_form=1-sqrt")
DECAY = 3 * STEP_TOKENS - 7  # rounded up to three steps


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=STEPS)
    return folder


@pytest.fixture(scope="module")
def trunk(world: Path, alone: Processes) -> Path:
    """A run of 12 steps: warmup to step 2, stable to step 9; checkpoints of every fourth."""
    start(world, alone, "trunk")
    return world / "runs" / "trunk"


@pytest.fixture(scope="module")
def branch(trunk: Path, world: Path, alone: Processes) -> Path:
    """A branch of three steps after step 4, trained as a whole."""
    run = world / "runs" / "branch"
    linly_ok("fork", trunk, "--step", "4", "--run", run, "--decay", DECAY)
    shutil.copytree(run, world / "runs" / "again")
    start(world, alone, "branch")
    return run


def start(world: Path, alone: Processes, name: str, *overrides: str) -> None:
    run = f"run={world / 'runs' / name}"
    settings = [run, "checkpoint.every=4", "checkpoint.keep_last=9", *FAST, *WSD, *overrides]
    train(load_recipe(world / "recipe.yaml", settings), alone, resume_step=None)


def rates(run: Path) -> list[float]:
    return [line["lr"] for line in lines(run, "metrics")]


def test_the_branch_has_the_rates_of_the_formula_and_ends(trunk: Path, branch: Path) -> None:
    decay = [PEAK * (0.1 + 0.9 * (1 - (step / 3) ** 0.5)) for step in (1, 2, 3)]
    assert rates(branch) == pytest.approx([PEAK / 2, PEAK, PEAK, PEAK, *decay], rel=1e-12)
    assert rates(trunk)[4:9] == [PEAK] * 5  # and there the run itself goes on
    ended = lines(branch, "events")[-1]
    assert (ended["kind"], ended["text"]) == ("end", "ended after step 7")
    assert [line["step"] for line in lines(branch, "evaluations")][-1] == 7
    assert (branch / "checkpoints" / "step-00000007").is_dir()
    history = read_history(branch)
    assert history.is_finished and history.total_tokens == 7 * STEP_TOKENS


def test_the_branch_trains_on_the_rows_of_the_run(trunk: Path, branch: Path) -> None:
    assert order(branch) == order(trunk)[: 7 * 8]
    assert losses(branch)[:5] == losses(trunk)[:5]
    linly_ok("report", branch, "--recount")


def test_the_run_is_unchanged(trunk: Path, world: Path, alone: Processes) -> None:
    before = tree(trunk)
    run = world / "runs" / "other"
    linly_ok("fork", trunk, "--step", "8", "--run", run, "--decay", STEP_TOKENS)
    start(world, alone, "other")
    assert rates(run)[7:] == pytest.approx([PEAK, PEAK * 0.1])
    assert tree(trunk) == before


def test_a_branch_resumes_exactly(branch: Path, world: Path, alone: Processes) -> None:
    again = world / "runs" / "again"
    start(world, alone, "again", "stop_at_step=5")
    shares = realized_and_planned(read_history(again))  # a page of a branch under way
    assert shares.end_tokens == 7 * STEP_TOKENS
    own = load_recipe(again / "recipe.yaml", ["stop_at_step=null"])
    train(own, alone, resume_step=None)
    assert (row_table(again), losses(again)) == (row_table(branch), losses(branch))
    assert rates(again) == rates(branch)


def test_the_plan_of_a_branch_is_that_of_its_own_steps(
    branch: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    linly_ok(
        "plan", branch / "recipe.yaml", "--without-data", "--json", "--plot", tmp_path / "a.html"
    )
    plan = json.loads(capsys.readouterr().out)
    assert (plan["first_step"], plan["num_steps"], plan["trained_rows"]) == (4, 3, 24)
    assert plan["positions"] == pytest.approx([4 / 12, 5.5 / 12, 7 / 12])
    assert sum(source["lr_share"] for source in plan["sources"]) == pytest.approx(1.0)
    assert any(note.startswith("an annealing branch: rows") for note in plan["notes"])
    linly_ok("plan", branch / "recipe.yaml", "--without-data")
    said = capsys.readouterr().out
    assert "steps: 3 of 8 rows" in said
    heading = next(line for line in said.splitlines() if "start" in line)
    assert heading.split()[:5] == ["group", "source", "start", "middle", "end"]


def test_a_branch_may_have_a_curriculum_of_its_own(
    trunk: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that makes room for the decay after the run's last step."""
    text = (world / "curriculum.yaml").read_text()
    file, run = world / "longer.yaml", world / "runs" / "longer"
    file.write_text(text.replace(f"tokens: {STEPS * STEP_TOKENS}", f"tokens: {20 * STEP_TOKENS}"))
    words = ["fork", str(trunk), "--step", "8", "--run", str(run), "--decay", str(5 * STEP_TOKENS)]
    with pytest.raises(SystemExit):
        main(words)
    assert (
        "training.annealing.tokens: found 1,280, allowed: at most 1,024, which the curriculum has "
        "left after step 8"
    ) in capsys.readouterr().err
    assert not run.exists()
    linly_ok(*words, "--curriculum", file)
    assert "and the run ends after step 13" in capsys.readouterr().out
    recipe = load_recipe(run / "recipe.yaml")
    assert (recipe.num_steps, recipe.curriculum_steps, recipe.run) == (13, 20, run)


def test_a_branch_with_another_decay_or_schedule_is_refused(
    branch: Path, world: Path, alone: Processes
) -> None:
    """The decay is a decision of the fork; a schedule that has no place for it is no choice."""
    text = (branch / "recipe.yaml").read_text()
    file = branch.parent / "edited.yaml"
    file.write_text(text.replace("from_step: 4", "from_step: 5"))
    with pytest.raises(ConfigError, match=r"training.annealing.from_step: 4 -> 5"):
        train(load_recipe(file, FAST), alone, resume_step=None)
    with pytest.raises(ConfigError, match=r"found with schedule: cosine, allowed: constant"):
        start(world, alone, "branch", "training.schedule=cosine")


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("12", "its rate decays from step 9 on; choose a checkpoint up to there"),
        ("8 --decay soon", "--decay: found 'soon', allowed: a positive number of tokens"),
    ],
)
def test_a_branch_that_cannot_be_leaves_nothing_behind(
    trunk: Path, world: Path, capsys: pytest.CaptureFixture[str], step: str, words: str
) -> None:
    before = sorted((world / "runs").iterdir())
    options = f"--decay {STEP_TOKENS} --step {step}".split()
    with pytest.raises(SystemExit) as left:
        main(["fork", str(trunk), "--run", str(world / "runs" / "none"), *options])
    assert left.value.code == 1
    assert words in capsys.readouterr().err
    assert sorted((world / "runs").iterdir()) == before


@pytest.mark.parametrize(
    ("schedule", "step", "words"),
    [
        ("cosine", 8, "falls toward step 12 from the warmup on, and is at 41% of training.lr"),
        ("linear", 8, "train the run with schedule: wsd or constant"),
        ("constant", 1, "the warmup ends at step 2"),
        ("wsd", 12, "its rate decays from step 10 on"),
    ],
)
def test_a_rate_that_is_not_stable_is_refused(
    world: Path, schedule: str, step: int, words: str
) -> None:
    recipe = load_recipe(world / "recipe.yaml", [f"training.schedule={schedule}"])
    with pytest.raises(ConfigError, match=words):
        annealing_from(recipe, step, STEP_TOKENS)


@pytest.mark.parametrize("schedule", ["constant", "inverse-sqrt"])
def test_a_rate_that_does_not_know_the_runs_length_is_stable(world: Path, schedule: str) -> None:
    recipe = load_recipe(world / "recipe.yaml", [f"training.schedule={schedule}"])
    assert annealing_from(recipe, 11, STEP_TOKENS).from_step == 11
