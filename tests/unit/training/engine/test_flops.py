"""The arithmetic of a step, against values worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, PreTrainedModel

from linly.modeling.stored.empty_model import empty_model
from linly.training.engine.flops import flops_per_token, peak_flops
from tests.support.models import FAMILIES, tiny_model


def llama2_7b(*, pieces: int, tied: bool = False) -> PreTrainedModel:
    """The defaults of the configuration are its sizes."""
    return empty_model(LlamaConfig(vocab_size=pieces, tie_word_embeddings=tied))


def test_llama2_7b_takes_six_operations_a_weight_and_those_of_causal_attention() -> None:
    """6,738,415,616 weights less the 32,000 x 4,096 that are looked up; 6 x 32 x 4,096 x 2,048."""
    model = llama2_7b(pieces=32_000)
    assert sum(p.numel() for p in model.parameters()) == 6_738_415_616
    assert flops_per_token(model, sequence_length=2048) == 39_644_061_696 + 1_610_612_736


def test_the_characters_added_to_it_count_in_the_output_layer_alone() -> None:
    grown = flops_per_token(llama2_7b(pieces=40_076), sequence_length=2048)
    assert grown - flops_per_token(llama2_7b(pieces=32_000), sequence_length=2048) == (
        6 * 8_076 * 4_096
    )


def test_a_tied_embedding_counts_once() -> None:
    tied = flops_per_token(llama2_7b(pieces=32_000, tied=True), sequence_length=2048)
    assert tied == flops_per_token(llama2_7b(pieces=32_000), sequence_length=2048)


def test_attention_grows_with_the_row_and_nothing_else_does() -> None:
    model = llama2_7b(pieces=32_000)
    long, short = (flops_per_token(model, sequence_length=n) for n in (4096, 2048))
    assert long - short == 1_610_612_736


def test_a_frozen_weight_takes_four() -> None:
    model = llama2_7b(pieces=32_000)
    whole = flops_per_token(model, sequence_length=2048)
    model.lm_head.requires_grad_(False)
    assert whole - flops_per_token(model, sequence_length=2048) == 2 * 32_000 * 4_096


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H20", None),
        ("NVIDIA A10", None),
    ],
)
def test_the_peak_is_the_data_sheets(
    name: str, peak: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert peak_flops(torch.device("cuda")) == peak
    assert peak_flops(torch.device("cpu")) is None


MIXTURES = (
    *("afmoe", "aria_text", "cohere2_moe", "dots1", "ernie4_5_moe", "flex_olmo", "glm4_moe"),
    *("granitemoe", "hunyuan_v1_moe", "hy_v3", "jamba", "jetmoe", "mellum", "minimax_m2"),
    *("mixtral", "olmoe", "phimoe", "qwen2_moe", "qwen3_moe", "solar_open", "zaya"),
)
"""Those whose attention takes the operations that are written for all."""


@pytest.mark.parametrize("name", MIXTURES)
def test_of_a_mixture_the_experts_that_a_token_is_sent_to_count(name: str) -> None:
    """Against the products that torch counts when each expert computes its own tokens."""
    model = tiny_model(name, experts_implementation="eager")
    length = 64
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.arange(length)[None], use_cache=False)
    counted = counter.get_total_flops() / length
    attention = 6 * model.config.num_hidden_layers * model.config.hidden_size * length
    ours = (flops_per_token(model, sequence_length=length) - attention) / 3
    assert ours == pytest.approx(counted, rel=0.015)
    everything = 2 * sum(p.numel() for p in model.parameters() if p.dim() > 1)
    assert everything > 1.05 * counted


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_a_number_of_operations(name: str) -> None:
    model = tiny_model(name)
    most = 6 * sum(p.numel() for p in model.parameters())
    assert 0 < flops_per_token(model, sequence_length=0) <= most
