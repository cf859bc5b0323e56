"""Families of models in GGUF: hyperparameters, names of tensors, order of rows.

llama.cpp rotates neighbouring columns of a head in Llama and Mistral, where transformers rotates
its two halves: the rows of their query and key projections are interleaved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from linly.errors import ConfigError

if TYPE_CHECKING:
    from gguf import GGUFWriter

CONVERTER = "convert it with llama.cpp's own convert_hf_to_gguf.py"
"""Cure for a model or vocabulary that is not supported here."""

_INTERLEAVED = ("self_attn.q_proj", "self_attn.k_proj")


@dataclass(frozen=True, slots=True)
class GgufFamily:
    """How llama.cpp reads a family of models.

    Attributes:
        architecture: Name of the architecture in GGUF.
        is_interleaved: Whether the rows of query and key heads are interleaved.
    """

    architecture: str
    is_interleaved: bool


FAMILIES = {
    "llama": GgufFamily("llama", is_interleaved=True),
    "mistral": GgufFamily("llama", is_interleaved=True),
    "qwen2": GgufFamily("qwen2", is_interleaved=False),
    "qwen3": GgufFamily("qwen3", is_interleaved=False),
}
"""Families by `model_type`."""


def gguf_family(config: Any) -> GgufFamily:
    """Family of a configuration.

    Raises:
        ConfigError: If it is not supported, or has a setting that GGUF cannot express.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise ConfigError(
            f"--gguf: found a {config.model_type} model, supported: {', '.join(FAMILIES)}; export "
            f"it without --gguf and {CONVERTER}"
        )
    if config.hidden_act != "silu":
        raise ConfigError(f"--gguf: found hidden_act {config.hidden_act!r}, supported: silu")
    if (kind := _rope(config)["rope_type"]) not in ("default", "linear", "llama3"):
        raise ConfigError(
            f"--gguf: found RoPE of type {kind!r}, supported: default, linear, llama3; export the "
            f"model without --gguf and {CONVERTER}"
        )
    if _rope(config).get("partial_rotary_factor", 1.0) != 1.0:
        raise ConfigError(f"--gguf: found a partial_rotary_factor; {CONVERTER}")
    return family


def head_size(config: Any) -> int:
    """Columns of an attention head."""
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(size)


def context_length(config: Any) -> int:
    """Positions that llama.cpp may use.

    It attends to all earlier positions in these architectures, so a model with a sliding window is
    limited to it: there, both attend to the same.
    """
    limits = (config.max_position_embeddings, getattr(config, "sliding_window", None))
    return min(int(limit) for limit in limits if limit)


def add_hyperparameters(writer: GGUFWriter, config: Any) -> None:
    """Add the shape of a model."""
    from gguf import RopeScalingType

    rope = _rope(config)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(context_length(config))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_size(config))
    writer.add_value_length(head_size(config))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head_size(config))
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])


def frequency_factors(config: Any) -> torch.Tensor | None:
    """Divisors of RoPE's frequencies, one per pair of columns; None if they are not scaled.

    Llama 3.1 divides low frequencies by `factor`, keeps high ones, and blends those between.
    """
    rope = _rope(config)
    if rope["rope_type"] != "llama3":
        return None
    old = rope["original_max_position_embeddings"]
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    exponents = torch.arange(0, head_size(config), 2, dtype=torch.float64) / head_size(config)
    rotations = old * rope["rope_theta"] ** -exponents / (2 * math.pi)  # over the old positions
    kept = ((rotations - low) / (high - low)).clamp(0, 1)
    divisors: torch.Tensor = (1 / ((1 - kept) / factor + kept)).float()
    return divisors


def row_order(name: str, num_rows: int, config: Any, family: GgufFamily) -> torch.Tensor | None:
    """Order of a tensor's rows in GGUF; None if unchanged.

    Args:
        name: Name of the tensor in transformers, without `.weight` or `.bias`.
        num_rows: Its rows; values of a bias.
        config: Configuration of the model.
        family: Family of the model.
    """
    if not family.is_interleaved or not name.endswith(_INTERLEAVED):
        return None
    rows = torch.arange(num_rows).view(-1, 2, head_size(config) // 2)
    return rows.transpose(1, 2).reshape(-1)


def _rope(config: Any) -> dict[str, Any]:
    return {"rope_type": "default", **config.rope_parameters}
