"""The engine and its checkpoints across real processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from linly.training.ranks.processes import Processes
from tests.distributed import engine_worker
from tests.support.rank_processes import logs, start_ranks, wait_all

pytestmark = pytest.mark.distributed
WORKER = str(Path(__file__).parent / "engine_worker.py")


def run_worker(modes: str, folder: Path, world_size: int, **variables: str) -> list[int]:
    log = folder / f"{modes.replace(',', '-')}-of-{world_size}.log"
    started = start_ranks([WORKER, modes, str(folder)], world_size, log, **variables)
    codes = wait_all(started)
    print(logs(log))
    return codes


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All modes at two ranks, where no compiler and no ninja is found."""
    folder = tmp_path_factory.mktemp("engine")
    assert run_worker("fail,lose,flip,guards,batches,save,load", folder, 2, PATH=os.devnull) == [
        0,
        0,
    ]
    return folder


@pytest.fixture(scope="module")
def four_ranks(two_ranks: Path) -> list[int]:
    """Exit codes of four ranks that load the checkpoint of two, after which the last one dies."""
    return run_worker("load,die", two_ranks, 4)


def read(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(folder / f"{name}.safetensors")


def test_a_skipped_step_leaves_weights_and_moments_untouched(two_ranks: Path) -> None:
    assert (two_ranks / "saved-2.safetensors").exists()  # the worker asserts before it saves


def test_micro_batches_of_one_and_of_all_rows_give_the_same_gradient(two_ranks: Path) -> None:
    one, every = read(two_ranks, "one-2"), read(two_ranks, "all-2")
    for name, moment in one.items():
        assert torch.linalg.vector_norm(moment) > 0
        difference = torch.linalg.vector_norm(moment - every[name])
        assert difference < 0.02 * torch.linalg.vector_norm(moment), name


def test_the_same_world_size_goes_on_with_equal_losses(two_ranks: Path) -> None:
    continued, reloaded = read(two_ranks, "continued-2"), read(two_ranks, "reloaded-2")
    assert torch.equal(continued["losses"], reloaded["losses"])


def test_every_parameter_and_moment_is_saved_and_none_is_zero(two_ranks: Path) -> None:
    saved = read(two_ranks, "saved-2")
    assert len(saved) == 3 * 21
    for name, value in saved.items():
        assert value.dtype == torch.float32
        assert bool(value.any()), name


@pytest.mark.usefixtures("four_ranks")
@pytest.mark.parametrize("world_size", [1, 4])
def test_a_checkpoint_of_two_ranks_loads_at_any_world_size(
    two_ranks: Path, alone: Processes, world_size: int
) -> None:
    if world_size == 1:
        engine_worker.load(two_ranks, alone)
    saved, loaded = read(two_ranks, "saved-2"), read(two_ranks, f"loaded-{world_size}")
    assert saved.keys() == loaded.keys()
    for name, value in saved.items():
        assert torch.equal(value, loaded[name]), name
    losses = read(two_ranks, "continued-2")["losses"]
    others = read(two_ranks, f"reloaded-{world_size}")["losses"]
    assert torch.allclose(losses, others, rtol=0.02)


def test_a_failure_on_one_rank_fails_all(two_ranks: Path) -> None:
    assert (two_ranks / "saved-2.safetensors").exists()  # likewise


def test_a_save_that_one_rank_cannot_write_fails_on_all_and_the_last_whole_one_loads(
    two_ranks: Path,
) -> None:
    assert (two_ranks / "saved-2.safetensors").exists()  # likewise


def test_a_bit_that_flipped_on_one_rank_is_not_saved(two_ranks: Path) -> None:
    assert (two_ranks / "saved-2.safetensors").exists()  # likewise


def test_ranks_do_not_wait_for_one_that_died(two_ranks: Path, four_ranks: list[int]) -> None:
    assert (two_ranks / "reloaded-4.safetensors").exists()  # so far all ranks went well
    assert all(code != 0 for code in four_ranks)
