"""The end line of a run, and the arithmetic of throughput."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from linly.evaluation.summary import (
    bits_per_byte_by_language,
    changes_by_language,
    summary_line,
)
from linly.training.engine.flops import flops_per_token


def source(language: str, bits: float, num_bytes: int = 100, kind: str = "text") -> dict[str, Any]:
    return {"language": language, "bits_per_byte": bits, "bytes": num_bytes, "kind": kind}


def test_the_end_line_gives_each_language() -> None:
    before = {"wiki": source("zh", 1.92), "pajama": source("en", 1.0), "ko": source("ko", 3.0)}
    after = {"wiki": source("zh", 1.312), "pajama": source("en", 1.018), "ko": source("ko", 2.0)}
    assert summary_line(before, after, largest_drift=0.931) == (
        "ko 3.00 -> 2.00 bits/byte, zh 1.92 -> 1.31 bits/byte, en +1.8%, largest drift 0.93 row"
    )


def test_languages_are_weighted_by_bytes_and_plain_text_decides() -> None:
    sources = {
        "a": source("zh", 1.0, 300),
        "b": source("zh", 2.0, 100),
        "tuned": source("zh", 9.0, 900, "instruction"),
        "only": source("ja", 4.0, 10, "instruction"),
    }
    assert bits_per_byte_by_language(sources) == {"ja": 4.0, "zh": 1.25}


def test_forgetting_is_the_change_since_the_first_evaluation() -> None:
    before = {"pajama": source("en", 1.0)}
    after = {"pajama": source("en", 1.1), "wiki": source("zh", 2.0)}
    assert changes_by_language(before, after) == {
        "en": {"bits_per_byte": 1.1, "change": pytest.approx(0.1)},
        "zh": {"bits_per_byte": 2.0, "change": None},
    }
    assert changes_by_language(before, before)["en"]["change"] == 0


def test_without_held_out_documents_the_drift_remains() -> None:
    assert summary_line({}, {}, largest_drift=0.5) == "largest drift 0.50 row"


@pytest.mark.parametrize("tied", [False, True])
def test_operations_a_token_are_six_a_weight_and_attention(tied: bool) -> None:
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
    )
    model = LlamaForCausalLM(config)
    layer = 4 * 16 * 16 + 3 * 16 * 32 + 2 * 16
    weights = 3 * layer + 16 + 64 * 16  # the output layer counts, the look-up does not
    assert flops_per_token(model, sequence_length=128) == 6 * weights + 6 * 3 * 16 * 128
