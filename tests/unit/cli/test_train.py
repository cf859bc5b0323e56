"""What `linly train` prints: errors once, and how it resumes and ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from linly.config.recipe import load_recipe
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.rank_processes import TRAIN, environment, logs, start_ranks
from tests.support.tiny_world import make_tiny_world

RANKS = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "1",
}

PROGRAM = """
import sys
from pathlib import Path
sys.modules["plotly"] = None  # as where it is not installed
from linly.cli.train import _report_line
print(_report_line(Path("runs/mine")))
"""


def test_a_node_without_plotly_ends_a_run_without_a_report_and_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "report: none, plotly is not installed here; "
        "run linly report runs/mine where linly[monitor] is installed\n"
    )


QUICK = ("data.producers=0", "evaluation.prompts=[]")
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # importing it fails
from linly.cli.main import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_world(tmp_path_factory.mktemp("world"), num_steps=3)


@pytest.mark.parametrize(
    "command", [("train",), ("launch", "--nproc", "2")], ids=["train", "launch"]
)
@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.lrr=1", "error: override training.lrr=1: unknown key 'lrr', did you mean 'lr'?"),
        ("training.micro_batch=8", "error: world size 2 does not fit data.global_batch 8"),
    ],
    ids=["a wrong key", "a wrong number of ranks"],
)
def test_wrong_recipe_is_one_line_before_torch_is_imported(
    command: tuple[str, ...], override: str, says: str, recipe: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *command, str(recipe), override],
        capture_output=True,
        text=True,
        check=False,
        env={**environment(), **RANKS},
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(says)
    assert done.stdout == ""


def test_error_that_both_ranks_have_is_printed_once(recipe: Path, tmp_path: Path) -> None:
    """The first rank reports it, and the launcher ends the other one."""
    log = tmp_path / "refused.log"
    first, second = start_ranks([TRAIN, str(recipe), "training.lrr=1"], 2, log)
    assert first.wait(60) == 1
    assert second.poll() is None
    second.kill()
    second.wait()
    assert logs(log).count("error: ") == 1


def test_launch_says_how_it_ends(recipe: Path, tmp_path: Path, alone: Processes) -> None:
    def ending(*overrides: str) -> str:
        loaded = load_recipe(recipe, [*QUICK, f"run={tmp_path}/run", *overrides])
        return train(loaded, alone, resume_step=None, is_quiet=True).ending

    assert ending("stop_at_step=2") == "stopped after 2 of 3 steps, as stop_at_step requests"
    assert ending() == "complete, 3 of 3 steps"
    assert ending() == "was complete already, 3 of 3 steps"


def test_resume_with_changed_settings_names_them(
    recipe: Path, tmp_path: Path, alone: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in (["stop_at_step=1"], ["training.lr=2e-3", "training.micro_batch=4"], []):
        loaded = load_recipe(recipe, [*QUICK, f"run={tmp_path}/run", *more])
        train(loaded, alone, resume_step=None)
    said = capsys.readouterr().out.splitlines()
    (changed, again) = (line for line in said if line.startswith("resumed"))
    assert changed == (
        "resumed after step 1 with 3 changed settings: stop_at_step: 1 -> (missing); "
        "training.lr: 0.001 -> 0.002; training.micro_batch: 2 -> 4"
    )
    assert again.startswith("resumed after step 3 with 2 changed settings: training.lr: 0.002 ->")
