"""What an export's configuration keeps of the base's, leaves out, and says for transformers 4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, GenerationConfig

from linly.modeling.stored.exported_config import exported_config, exported_generation
from tests.support.models import tiny_config

FORMER = {
    "quantization_config": {"quant_method": "fp8"},
    "compression_config": {},
    "auto_map": {"AutoConfig": "configuration_x.C"},
    "custom_pipelines": {"text-generation": {"impl": "x.P"}},
    "_name_or_path": "/home/somebody/model",
    "_attn_implementation": "flash_attention_2",
    "_attn_implementation_autoset": True,
    "torch_dtype": "float16",
}


def exported(name: str, **changes: Any) -> dict[str, Any]:
    config = tiny_config(name)
    base = json.loads(config.to_json_string()) | changes
    return exported_config(base, config, architecture="X", dtype=torch.bfloat16)


def test_keys_that_no_longer_hold_are_left_out() -> None:
    found = exported("llama", **FORMER, own_key=None)
    assert not found.keys() & (FORMER.keys() - {"torch_dtype"})
    assert (found["dtype"], found["torch_dtype"]) == ("bfloat16", "bfloat16")
    assert found["architectures"] == ["X"]
    assert found["own_key"] is None


def test_infinity_is_written_as_transformers_4_reads_it(tmp_path: Path) -> None:
    found = exported("mamba2")
    assert found["time_step_limit"] == [0.0, float("inf")]
    (tmp_path / "config.json").write_text(json.dumps(found))
    assert AutoConfig.from_pretrained(tmp_path).time_step_limit[1] == float("inf")


def test_old_names_are_those_of_the_family() -> None:
    rope = exported("llama3")
    assert rope["rope_theta"] == 10000.0
    assert rope["rope_scaling"]["rope_type"] == "llama3"
    assert exported("qwen3_moe")["num_experts"] == 4
    assert exported("granitemoehybrid")["layer_types"] == ["mamba", "attention"]


SAMPLED = {"do_sample": True}
LLAMA_2 = {"temperature": 0.6, "top_p": 0.9, "max_length": 4096, "pad_token_id": 0}


@pytest.mark.parametrize(
    ("base", "expected", "changed"),
    [
        ({"eos_token_id": 2}, {"eos_token_id": 2}, ()),
        (LLAMA_2, {**LLAMA_2, "do_sample": True}, ("do_sample",)),
        ({"do_sample": False, "top_k": 7}, {"do_sample": False}, ("top_k",)),
        (
            {"length_penalty": 2.0, "eos_token_id": [2, 3]},
            {"eos_token_id": [2, 3]},
            ("length_penalty",),
        ),
        (
            {"num_return_sequences": 3},
            {"num_return_sequences": 3, "do_sample": True},
            ("do_sample",),
        ),
        ({"early_stopping": "maybe"}, {}, ("early_stopping",)),
        ({"temperature": "hot", "do_sample": True}, None, None),
        ({"output_attentions": True}, {}, ("output_attentions",)),
        ({"cache_implementation": "none_such"}, {}, ("cache_implementation",)),
        ({"pad_token_id": -1}, {}, ("pad_token_id",)),
        ({"max_new_tokens": 0}, {}, ("max_new_tokens",)),
    ],
)
def test_settings_of_generation_can_be_saved_again(
    tmp_path: Path, base: dict[str, Any], expected: dict[str, Any] | None, changed: Any
) -> None:
    found, names = exported_generation(base)
    GenerationConfig.from_dict(dict(found)).save_pretrained(tmp_path)
    if expected is not None:
        assert (found, names) == (expected, changed)
