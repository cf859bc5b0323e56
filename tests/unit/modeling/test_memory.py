"""What ZeRO-2 takes of a GPU, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from linly.modeling.memory import average_bytes, training_memory

LLAMA_2_7B_WITH_40076_PIECES = 6_738_415_616 + 2 * (40_076 - 32_000) * 4096


def test_a_7b_model_on_one_gpu_takes_eighteen_bytes_a_weight() -> None:
    parameters = LLAMA_2_7B_WITH_40076_PIECES
    need = training_memory(parameters, num_trained=parameters, state_bytes=12, world_size=1)
    assert need.total_bytes == 18 * parameters
    assert need.total_bytes / 2**30 == pytest.approx(114, abs=0.1)


def test_more_ranks_share_all_but_the_weights() -> None:
    need = training_memory(1000, num_trained=600, state_bytes=12, world_size=3)
    assert need.weights_bytes == 2000
    assert need.dealt_bytes == 600 * 16 // 3


def test_averages_are_sharded_over_ranks() -> None:
    assert average_bytes(1000, num_copies=2, world_size=4) == 1000 * 2 * 4 // 4
