"""What loading a model takes of the host's memory where two ranks share it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from linly.modeling.load_model import save_weights
from tests.support.rank_processes import logs, start_ranks, wait_all

pytestmark = pytest.mark.benchmark
WORKER = str(Path(__file__).parent / "load_memory_worker.py")
MIB = 1 << 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """144 M parameters: 288 MB in BF16."""
    folder = tmp_path_factory.mktemp("model")
    config = LlamaConfig(
        vocab_size=20_000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=16,
        num_attention_heads=12,
        max_position_embeddings=64,
    )
    with torch.device("meta"):
        empty = LlamaForCausalLM(config).bfloat16()
    filled = empty.to_empty(device="cpu")
    for parameter in filled.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    save_weights(filled, folder)
    return folder


def measured(how: str, model: Path, folder: Path) -> list[dict[str, Any]]:
    report = folder / how
    log = folder / f"{how}.log"
    codes = wait_all(start_ranks([WORKER, how, str(model), str(report)], 2, log), timeout_s=300)
    assert codes == [0, 0], logs(log)
    return [orjson.loads(report.with_suffix(f".{rank}.json").read_bytes()) for rank in range(2)]


def test_loading_takes_no_copy_of_the_weights_for_each_rank(model: Path, tmp_path: Path) -> None:
    """Then the engine takes 8 bytes a parameter: BF16, half of the master weight and moments."""
    print()
    found = {how: measured(how, model, tmp_path) for how in ("copies", "shared")}
    for how, ranks in found.items():
        for rank, values in enumerate(ranks):
            for when, what in (("loaded", "model loaded"), ("whole", "engine made")):
                taken = {kind: f"{size / MIB:,.0f} MiB" for kind, size in values[when].items()}
                print(f"{how:7} rank {rank}, {what}: peak growth {taken}")
    for copied, shared in zip(found["copies"], found["shared"], strict=True):
        parameters = shared["parameters"]
        assert copied["loaded"]["private"] > 3.5 * parameters
        assert shared["loaded"]["private"] < 0.5 * parameters
        assert shared["whole"]["private"] < 9.5 * parameters
