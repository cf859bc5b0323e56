"""DeepSpeed's configuration: made from the recipe, a user's own JSON over it, conflicts refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from linly.cli.main import main
from linly.config.deepspeed import TAKEN, deepspeed_config, wants_log
from linly.config.recipe import load_recipe
from linly.config.sections.training_section import TrainingSettings
from linly.errors import ConfigError, LinlyError
from tests.support.tiny_world import make_tiny_world

CHINESE_LLAMA = {
    "fp16": {"enabled": "auto", "loss_scale": 0, "loss_scale_window": 100, "hysteresis": 2},
    "bf16": {"enabled": "auto"},
    "zero_optimization": {
        "stage": 2,
        "allgather_partitions": True,
        "allgather_bucket_size": 1e8,
        "overlap_comm": True,
        "reduce_scatter": True,
        "reduce_bucket_size": 1e8,
        "contiguous_gradients": True,
    },
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "steps_per_print": 2000,
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "wall_clock_breakdown": False,
}
"""As such files are published: what is "auto" is left to whoever starts DeepSpeed."""


def made(own: dict[str, Any] | None = None, **training: Any) -> dict[str, Any]:
    settings = TrainingSettings.model_validate({"micro_batch": 2, "deepspeed": own, **training})
    return deepspeed_config(settings, accumulation=3, world_size=4, has_gpu=False)


def refusals(own: dict[str, Any], **training: Any) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        made(own, **training)
    first, *lines = str(raised.value).splitlines()
    assert first == "training.deepspeed: settings that this run cannot use:"
    return [line.strip() for line in lines]


def test_the_recipe_makes_it() -> None:
    config = made(clip=0.5)
    assert config["train_micro_batch_size_per_gpu"] == 2
    assert config["gradient_accumulation_steps"] == 3
    assert config["gradient_clipping"] == 0.5
    assert config["zero_optimization"]["stage"] == 2
    assert config["data_types"] == {"grad_accum_dtype": "fp32"}
    assert config["communication_data_type"] == "fp32"
    assert not wants_log(config)


def test_a_published_file_is_taken_as_it_is() -> None:
    config = made(CHINESE_LLAMA)
    zero = config["zero_optimization"]
    assert (zero["reduce_bucket_size"], zero["allgather_bucket_size"]) == (10**8, 10**8)
    assert isinstance(zero["reduce_bucket_size"], int)
    assert zero["overlap_comm"] is True
    assert config["steps_per_print"] == 2000
    assert wants_log(config)
    assert "fp16" not in config
    assert config["bf16"] == made()["bf16"]


def test_what_says_the_same_as_the_recipe_is_no_conflict() -> None:
    same = {
        "train_batch_size": 24,
        "train_micro_batch_size_per_gpu": 2,
        "bf16": {"enabled": True},
        "fp16": {"enabled": False},
        "zero_optimization": {"stage": 2, "offload_optimizer": {"device": "none"}},
    }
    assert made(same) == made()


@pytest.mark.parametrize(
    ("own", "refusal"),
    [
        (
            {"train_batch_size": 512},
            "train_batch_size: found 512, the recipe decides 24 (data.global_batch)",
        ),
        (
            {"train_micro_batch_size_per_gpu": 8},
            "train_micro_batch_size_per_gpu: found 8, the recipe decides 2 (training.micro_batch)",
        ),
        (
            {"gradient_accumulation_steps": 1},
            "gradient_accumulation_steps: found 1, the recipe decides 3 (data.global_batch, "
            "training.micro_batch and the world size)",
        ),
        (
            {"gradient_clipping": 0.3},
            "gradient_clipping: found 0.3, the recipe decides 1.0 (training.clip)",
        ),
        ({"bf16": {"enabled": False}}, "bf16.enabled: found false, the recipe decides true"),
        ({"fp16": {"enabled": True}}, "fp16.enabled: found true, the recipe decides false"),
        (
            {"data_types": {"grad_accum_dtype": "bf16"}},
            "data_types.grad_accum_dtype: found 'bf16', the recipe decides 'fp32'",
        ),
        (
            {"communication_data_type": "bf16"},
            "communication_data_type: found 'bf16', the recipe decides 'fp32'",
        ),
        (
            {"zero_optimization": {"stage": 3}},
            "zero_optimization.stage: found 3, the recipe decides 2",
        ),
        (
            {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}},
            "zero_optimization.offload_optimizer.device: found 'cpu', the recipe decides 'none'",
        ),
        (
            {"zero_optimization": {"round_robin_gradients": True}},
            "zero_optimization.round_robin_gradients: found true, the recipe decides false",
        ),
        (
            {"optimizer": {"type": "Adam"}},
            "optimizer.type: found 'Adam', the recipe decides (training.optimizer, lr, "
            "betas, eps and weight_decay)",
        ),
        (
            {"scheduler": {"params": {"warmup_num_steps": 9}}},
            "scheduler.params.warmup_num_steps: found 9, the recipe decides (training.schedule, "
            "warmup and final_lr)",
        ),
        (
            {"zero_optimization": {"reduce_bucket_size": 0}},
            "zero_optimization.reduce_bucket_size: found 0, allowed: a whole number from 1 to "
            "2,147,483,647",
        ),
        (
            {"comms_logger": {"enabled": 1}},
            "comms_logger.enabled: found 1, allowed: true or false",
        ),
        (
            {"prescale_gradients": True},
            f"unknown key 'prescale_gradients', allowed: {', '.join(sorted(TAKEN))}",
        ),
        (
            {"wall_clock_brakdown": True},
            "unknown key 'wall_clock_brakdown', did you mean 'wall_clock_breakdown'? allowed: "
            f"{', '.join(sorted(TAKEN))}",
        ),
    ],
)
def test_what_the_recipe_decides_is_refused_with_both_values(
    own: dict[str, Any], refusal: str
) -> None:
    assert refusals(own) == [refusal]


def test_a_bucket_that_the_recipe_sets_is_the_recipes() -> None:
    own = {"zero_optimization": {"reduce_bucket_size": 1000}}
    assert made(own)["zero_optimization"]["reduce_bucket_size"] == 1000
    assert refusals(own, reduce_bucket_size=500) == [
        "zero_optimization.reduce_bucket_size: found 1000, the recipe decides 500 "
        "(training.reduce_bucket_size)"
    ]


def test_all_that_is_wrong_is_named_at_once() -> None:
    own = {"train_batch_size": 1, "zero_optimization": {"stage": 1}, "aio": {"block_size": 1}}
    assert [line.split(":")[0] for line in refusals(own)] == [
        "train_batch_size",
        "zero_optimization.stage",
        "unknown key 'aio.block_size', allowed",
    ]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_world(tmp_path_factory.mktemp("world"))


def test_a_recipe_names_a_file_and_its_resolved_form_holds_it(recipe: Path) -> None:
    own = {
        "zero_optimization": {"reduce_bucket_size": 1000},
        "comms_logger": {"prof_ops": ["${A}"]},
    }
    (recipe.parent / "own.json").write_text(json.dumps(own, indent="\t"))
    extending = recipe.with_name("with-own.yaml")
    extending.write_text("extends: recipe.yaml\ntraining: {deepspeed: own.json}\n")
    loaded = load_recipe(extending)
    assert loaded.training.deepspeed == own
    resolved = recipe.with_name("resolved.yaml")
    resolved.write_text(loaded.to_yaml())
    assert load_recipe(resolved) == loaded
    without = load_recipe(extending, ["training.deepspeed=null"])
    assert without.training.deepspeed is None
    assert load_recipe(resolved).training.deepspeed == own


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (
            None,
            r"training\.deepspeed=.*: found '.*, allowed: an existing JSON file; .*own\.json",
        ),
        ("steps_per_print: 3", r"own\.json: not valid JSON: Expecting value"),
        ('{"a": 1, "a": 2}', r"own\.json: not valid JSON: the key 'a' occurs twice"),
        ('{"a": NaN}', r"own\.json: not valid JSON: found NaN"),
        ("[" * 100_000, r"own\.json: not valid JSON"),
        ("[1]", r"own\.json: found a list, allowed: a JSON object"),
        ("{" + " " * (1 << 20), r"own\.json: larger than the 1,048,576 bytes"),
    ],
)
def test_a_file_that_is_no_plain_json_is_refused(
    recipe: Path, tmp_path: Path, content: str | None, error: str
) -> None:
    own = tmp_path / "own.json"
    if content is not None:
        own.write_text(content)
    with pytest.raises(LinlyError) as raised:
        load_recipe(recipe, [f"training.deepspeed={own}"])
    assert re.search(error, str(raised.value)), raised.value


def test_train_prints_it_and_check_refuses_a_conflict(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    own = tmp_path / "own.json"
    own.write_text('{"zero_optimization": {"allgather_bucket_size": 1000}}')
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit):
        main(["train", str(recipe), f"training.deepspeed={own}", "--print-deepspeed-config"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["gradient_accumulation_steps"] == 2
    assert printed["zero_optimization"]["allgather_bucket_size"] == 1000
    own.write_text('{"train_batch_size": 16}')
    with pytest.raises(SystemExit) as leaving:
        main(["check", str(recipe), f"training.deepspeed={own}", "--world-size", "2"])
    assert leaving.value.code == 1
    out = capsys.readouterr().out
    assert "BAD  deepspeed" in out
    assert "train_batch_size: found 16, the recipe decides 8 (data.global_batch)" in out


def test_nothing_else_is_printed_beside_it(recipe: Path) -> None:
    """In a process of its own: DeepSpeed writes to stdout where it is loaded first."""
    command = [sys.executable, "-m", "linly.cli.main", "train", str(recipe)]
    environment = {name: value for name, value in os.environ.items() if name != "DS_ACCELERATOR"}
    done = subprocess.run(
        [*command, "--print-deepspeed-config"],
        env=environment | {"WORLD_SIZE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["train_micro_batch_size_per_gpu"] == 2
