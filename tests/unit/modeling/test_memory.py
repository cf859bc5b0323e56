"""What ZeRO-2 takes of a GPU, against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from linly.modeling.memory import count_parameters, training_memory

LLAMA_2_7B_WITH_40076_PIECES = 6_738_415_616 + 2 * (40_076 - 32_000) * 4096


def test_a_7b_model_on_one_gpu_takes_eighteen_bytes_a_weight() -> None:
    parameters = LLAMA_2_7B_WITH_40076_PIECES
    need = training_memory(parameters, num_trained=parameters, world_size=1)
    assert need.total_bytes == 18 * parameters
    assert need.total_bytes / 2**30 == pytest.approx(114, abs=0.1)


def test_more_ranks_share_all_but_the_weights() -> None:
    need = training_memory(1000, num_trained=600, world_size=3)
    assert need.weights_bytes == 2000
    assert need.dealt_bytes == 600 * 16 // 3


def test_parameters_are_counted_over_all_files(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3, 4)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file(
        {"b": torch.zeros(5), "c": torch.zeros(2, 2, 2)}, tmp_path / "model-00002.safetensors"
    )
    assert count_parameters(tmp_path) == 12 + 5 + 8
