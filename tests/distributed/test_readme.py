"""The five commands of the README run as typed, in a folder with its model and data names."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from tests.support.prepared import run_prepared
from tests.support.rank_processes import environment
from tests.support.tiny_world import make_tiny_world

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))[0].splitlines()


def test_both_readmes_have_the_same_five_commands() -> None:
    chinese = BLOCK.findall((ROOT / "README_zh.md").read_text("utf-8"))[0].splitlines()
    assert chinese == COMMANDS
    assert len(COMMANDS) == 5


@pytest.mark.distributed
def test_the_commands_run_as_typed(tmp_path: Path) -> None:
    make_tiny_world(tmp_path / "world")
    (tmp_path / "models").mkdir()
    (tmp_path / "world/model").rename(tmp_path / "models/llama2-7b")
    (tmp_path / "world/data").rename(tmp_path / "data")
    for command in COMMANDS:
        program, *words = shlex.split(command)
        assert program == "linly"
        done = run_prepared("-m", "linly", *words, folder=tmp_path, environment=environment())
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert (tmp_path / "runs/llama2-7b-zh/report.html").is_file()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "models/llama2-7b-zh")
    assert model.config.model_type == "llama"
