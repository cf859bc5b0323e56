"""Tiny models with random weights of every decoder-only family that transformers can build.

A family is a `model_type` of transformers. Its tiny configuration is the class's defaults with
every size that it has made small; a few families need more, which `OVERRIDES` names.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

VOCAB_SIZE = 400
POSITIONS = 256
HIDDEN, LAYERS, HEADS, KEY_VALUE_HEADS, HEAD_SIZE, FEED_FORWARD = 64, 2, 4, 2, 16, 128

_SIZES: dict[str, Any] = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCAB_SIZE),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "word_embed_proj_dim"), HIDDEN),
    **dict.fromkeys(("embedding_size", "lru_width", "attention_hidden_size"), HIDDEN),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), HEADS),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), KEY_VALUE_HEADS),
    **dict.fromkeys(("head_dim", "v_head_dim", "kv_channels", "query_pre_attn_scalar"), HEAD_SIZE),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "ffn_hidden_size"), FEED_FORWARD),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), POSITIONS),
    **dict.fromkeys(("n_ctx", "context_length", "original_max_position_embeddings"), POSITIONS),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k", "num_experts_per_token"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("moe_shared_expert_intermediate_size", "expert_ffn_hidden_size"), 32),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "first_k_dense_replace"), 1),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 32),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim"), 16),
    **dict.fromkeys(("sliding_window", "window_size", "attention_window_size"), 32),
    **dict.fromkeys(("mamba_d_state", "state_size", "mamba_d_head", "mamba_head_dim"), 16),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 16),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 4),
    **dict.fromkeys(("chunk_size", "mamba_chunk_size"), 32),
}
"""Size by the names that families give it; set where the configuration class has the name."""

_DEFAULT_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

_ALL_HEADS = {"num_key_value_heads": HEADS}
_HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
OVERRIDES: dict[str, dict[str, Any]] = {
    "axk1": _ALL_HEADS,
    "axk2": _ALL_HEADS,
    "bamba": {"mamba_n_heads": 8, "mamba_expand": 2, "attn_layer_indices": [1]},
    "codegen": {"rotary_dim": 8},
    "deepseek_v2": {**_ALL_HEADS, "num_experts_per_tok": 2},
    "deepseek_v3": _ALL_HEADS,
    "deepseek_v32": _ALL_HEADS,
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "dots3_note_text": _ALL_HEADS,
    "falcon": {"ffn_hidden_size": 4 * HIDDEN, "num_kv_heads": 1},
    "falcon_h1": {"mamba_n_heads": 8, "mamba_d_ssm": 128},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "glm4_moe_lite": _ALL_HEADS,
    "glm_moe_dsa": _ALL_HEADS,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 8},
    "granitemoehybrid": {"mamba_n_heads": 8, "mamba_expand": 2, **_HYBRID},
    "hunyuan_v1_dense": {"head_dim": HEAD_SIZE},
    "hunyuan_v1_moe": {"head_dim": HEAD_SIZE},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {
        "linear_num_heads": HEADS,
        "linear_head_dim": HEAD_SIZE,
        **_ALL_HEADS,
        **_HYBRID,
        "model_max_length": POSITIONS,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": _ALL_HEADS,
    "mamba2": {"num_heads": 8, "expand": 2, "head_dim": HEAD_SIZE},
    "minicpm3": _ALL_HEADS,
    "ministral": {"head_dim": HEAD_SIZE},
    "nemotron": {"head_dim": HEAD_SIZE, "num_key_value_heads": KEY_VALUE_HEADS},
    **dict.fromkeys(("qwen3_5_moe_text", "qwen3_5_text", "qwen3_next"), _HYBRID),
    "qwen3_moe": {"norm_topk_prob": True},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "youtu": _ALL_HEADS,
    "zaya": {"num_experts_per_tok": 1},
}
"""What a family's configuration needs beyond small sizes."""

FAMILIES = (
    *("afmoe", "apertus", "arcee", "aria_text", "axk1", "axk2", "bamba", "beam", "biogpt"),
    *("bitnet", "bloom", "codegen", "cohere", "cohere2", "cohere2_moe", "ctrl", "cwm"),
    *("deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_v4", "diffllama", "doge", "dots1"),
    *("dots3_note_text", "ernie4_5", "ernie4_5_moe", "exaone4", "exaone_moe", "falcon"),
    *("falcon_h1", "falcon_mamba", "flex_olmo", "flint", "gemma", "gemma2", "gemma3_text"),
    *("gemma3n_text", "gemma4_text", "glm", "glm4", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa"),
    *("gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_neox_japanese", "gpt_oss", "gptj"),
    *("granite", "granite_swa", "granitemoe", "granitemoe_swa", "granitemoehybrid"),
    *("granitemoeshared", "helium", "hrm_text", "hunyuan_v1_dense", "hunyuan_v1_moe", "hy_v3"),
    *("hy_v4", "hyperclovax", "inkling2_text", "inkling_text", "jais2", "jamba", "jetmoe"),
    *("kimi_linear", "kolibri1", "laguna", "lfm2", "lfm2_moe", "lfm3", "llama", "llama4_text"),
    *("longcat_flash", "mamba", "mamba2", "mellum", "mimo_v2_flash", "minicpm3", "minimax"),
    *("minimax_m2", "ministral", "ministral3", "mistral", "mixtral", "modernbert-decoder"),
    *("mpt", "nanochat", "nemotron", "nemotron_h", "olmo", "olmo2", "olmo3", "olmo_hybrid"),
    *("olmoe", "openai-gpt", "opt", "persimmon", "phi", "phi3", "phimoe", "qwen2", "qwen2_moe"),
    *("qwen3", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_moe", "qwen3_next", "recurrent_gemma"),
    *("rwkv", "seed_oss", "smollm3", "solar_open", "stablelm", "starcoder2", "vaultgemma"),
    *("xglm", "xlstm", "youtu", "zaya"),
)
"""Every `model_type` that decodes text from left to right and has weights of its own."""

_ROPE = {"rope_theta": 10000.0}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "falcon-7b": ("falcon", {"multi_query": True, "parallel_attn": True}),
    "falcon-40b": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": KEY_VALUE_HEADS}),
    "falcon-alibi": ("falcon", {"alibi": True}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama-dynamic": (
        "llama",
        {
            "max_position_embeddings": 32,
            "rope_parameters": {**_ROPE, "rope_type": "dynamic", "factor": 4.0},
        },
    ),
    "llama-linear": ("llama", {"rope_parameters": {**_ROPE, "rope_type": "linear", "factor": 4.0}}),
    "llama-yarn": (
        "llama",
        {
            "rope_parameters": {
                **_ROPE,
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
    ),
    "llama3": (
        "llama",
        {
            "rope_parameters": {
                **_ROPE,
                "rope_type": "llama3",
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
    ),
    "phi3-longrope": (
        "phi3",
        {
            "original_max_position_embeddings": 32,
            "rope_parameters": {
                **_ROPE,
                "rope_type": "longrope",
                "short_factor": [1.0] * (HEAD_SIZE // 2),
                "long_factor": [4.0] * (HEAD_SIZE // 2),
                "original_max_position_embeddings": 32,
            },
        },
    ),
    "llama4-chunked": ("llama4_text", {"attention_chunk_size": 32}),
    "deepseek-sparse": ("deepseek_v32", {"index_topk": 16}),
    "mistral-full": ("mistral", {"sliding_window": None}),
    "mamba2-one-group": ("mamba2", {"n_groups": 1}),
    "gpt2-untied": ("gpt2", {"tie_word_embeddings": False}),
    "opt-post-norm": ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 32}),
}
"""Forms of a family that differ from its defaults: name -> family and settings."""


def tiny_config(name: str, **changes: Any) -> PretrainedConfig:
    """The configuration of a tiny model.

    Args:
        name: Family of `FAMILIES` or name of `VARIANTS`.
        changes: Settings that replace the tiny ones.
    """
    family, variant = VARIANTS.get(name, (name, {}))
    kind = CONFIG_MAPPING[family]
    defaults = kind().to_dict()
    small = {key: size for key, size in _SIZES.items() if defaults.get(key) is not None}
    for key, token in _DEFAULT_IDS.items():
        if isinstance(defaults.get(key), int) and defaults[key] >= VOCAB_SIZE:
            small[key] = token
    return kind(**{**small, **OVERRIDES.get(family, {}), **variant, **changes})


def tiny_model(
    name: str, *, seed: int = 0, dtype: torch.dtype | None = None, **changes: Any
) -> PreTrainedModel:
    """A tiny model with random weights, in evaluation mode; see `tiny_config`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(tiny_config(name, **changes))
    return (model if dtype is None else model.to(dtype)).train(False)
