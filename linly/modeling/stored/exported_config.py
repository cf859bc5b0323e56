"""config.json and generation_config.json of a folder that linly writes trained weights into.

The keys and values of the base's config.json are kept, except those that no longer apply to the new
files. If transformers 5 wrote it, the names and values that transformers 4 reads are added.
Otherwise transformers 4 would silently use its class's defaults for them, such as RoPE's base and
scaling. An addition is made only if the installed transformers reads the same with it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

_NO_LONGER = frozenset(
    {
        *(
            "quantization_config",
            "compression_config",
            "quantization",
        ),  # they are not quantized
        *("auto_map", "custom_pipelines"),  # the code is not shipped
        *("_name_or_path", "name_or_path", "_commit_hash", "transformers_weights"),
        *("_attn_implementation", "_attn_implementation_internal", "_attn_implementation_autoset"),
        *("attn_implementation", "_flash_attn_2_enabled"),
        *("_experts_implementation", "_experts_implementation_internal", "experts_implementation"),
    }
)
"""Keys that describe the base's files or the process that wrote them."""

_SPECIAL_FLOAT = "__float__"
_FULL, _SLIDING = "full_attention", "sliding_attention"
_NEOX = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
_ROPE_NAMES = {"gpt_neox": _NEOX, "gpt_neox_japanese": _NEOX}
"""Names in transformers 4 that differ from the usual `rope_theta` and `partial_rotary_factor`."""

_THETA_BY_LAYER_TYPE = {
    "gemma3_text": {_FULL: "rope_theta", _SLIDING: "rope_local_base_freq"},
    "gemma3n_text": {_FULL: "rope_theta", _SLIDING: "rope_local_base_freq"},
    "modernbert-decoder": {_FULL: "global_rope_theta", _SLIDING: "local_rope_theta"},
    "olmo3": {_FULL: "rope_theta", _SLIDING: "rope_theta"},
}
_LONG_ROPE_BY_TYPE = ("phi3", "phimoe")
"""Families whose `rope_scaling` names its kind `type` and allows no other key."""

_FORMER_NAMES = {
    "gpt2": {"n_positions": "n_ctx"},  # llama.cpp reads it
    "qwen3_moe": {"num_local_experts": "num_experts"},
}
_FORMER_VALUES = {
    "granitemoehybrid": {
        "layer_types": {"linear_attention": "mamba", "full_attention": "attention"}
    }
}
"""Lists whose values transformers 5 renamed; it reads both names."""

_MODES = ("do_sample", "num_beams", "use_cache", "return_dict_in_generate")


def exported_config(
    base: Mapping[str, Any], config: PreTrainedConfig, *, architecture: str, dtype: torch.dtype
) -> dict[str, Any]:
    """Content of config.json for weights that linly wrote.

    Args:
        base: config.json of the model that was trained.
        config: Configuration that transformers parsed from it.
        architecture: Class of the model.
        dtype: Dtype of the weights.
    """
    if CONFIG_MAPPING[base["model_type"]] is not type(config):  # the text part of several
        base = config.to_dict()
    kept = {key: _plain(value) for key, value in base.items() if key not in _NO_LONGER}
    name = str(dtype).removeprefix("torch.")
    kept |= {"architectures": [architecture], "dtype": name, "torch_dtype": name}
    tied = getattr(config, "tie_word_embeddings", None)
    if (_read(type(config), kept) or {}).get("tie_word_embeddings") != tied:
        kept["tie_word_embeddings"] = tied
    return _with_former_names(kept, type(config))


def _plain(value: Any) -> Any:
    """Convert transformers 5's form of numbers like infinity to plain numbers."""
    if isinstance(value, Mapping):
        if value.keys() == {_SPECIAL_FLOAT}:
            return float(value[_SPECIAL_FLOAT])
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _with_former_names(config: dict[str, Any], kind: type[PreTrainedConfig]) -> dict[str, Any]:
    """Add the names and values that transformers 4 reads to a configuration of transformers 5."""
    for former in (_former_rope(config), _former_names(config)):
        both = former | config
        if _read(kind, config, without=former) == _read(kind, both, without=former):
            config = both
    replaced = config | _former_values(config)
    return replaced if _read(kind, config) == _read(kind, replaced) else config


def _former_names(config: Mapping[str, Any]) -> dict[str, Any]:
    names = _FORMER_NAMES.get(config["model_type"], {})
    return {old: config[new] for new, old in names.items() if new in config}


def _former_values(config: Mapping[str, Any]) -> dict[str, Any]:
    tables = _FORMER_VALUES.get(config["model_type"], {})
    return {
        key: [table.get(value, value) for value in config[key]]
        for key, table in tables.items()
        if isinstance(config.get(key), list)
    }


def _former_rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """RoPE under the names of transformers 4; empty without RoPE or such names."""
    family, rope = config["model_type"], config.get("rope_parameters")
    if not isinstance(rope, Mapping):
        return {}
    if family in _THETA_BY_LAYER_TYPE:
        thetas = _THETA_BY_LAYER_TYPE[family]
        parts = {kind: rope.get(kind) or {} for kind in thetas}
        former = {name: parts[kind].get("rope_theta") for kind, name in reversed(thetas.items())}
        return {**former, "rope_scaling": _former_scaling(family, parts[_FULL])}
    names = {"rope_theta": "rope_theta", "partial_rotary_factor": "partial_rotary_factor"}
    names |= _ROPE_NAMES.get(family, {})
    former = {old: rope[new] for new, old in names.items() if rope.get(new) is not None}
    return {**former, "rope_scaling": _former_scaling(family, rope)}


def _former_scaling(family: str, rope: Mapping[str, Any]) -> dict[str, Any] | None:
    own = {"rope_theta", "partial_rotary_factor", "rope_type", "type"}
    rest = {key: value for key, value in rope.items() if key not in own}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if family in _LONG_ROPE_BY_TYPE:
        if family == "phi3":
            rest.pop("original_max_position_embeddings", None)
        return {"type": kind, **rest}
    return {"rope_type": kind, **rest}


def _read(
    kind: type[PreTrainedConfig], config: Mapping[str, Any], *, without: Iterable[str] = ()
) -> dict[str, Any] | None:
    """Configuration as the installed transformers reads it; None if it refuses it."""
    try:
        read = kind.from_dict(copy.deepcopy(dict(config))).to_dict()
    except Exception:  # each family checks its values in its own way
        return None
    rope = read.get("rope_parameters")
    if isinstance(rope, dict) and "rope_type" in rope:
        rope.pop("type", None)
    return {key: value for key, value in read.items() if key not in without}


def exported_generation(base: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Content of generation_config.json that transformers can save again without an error.

    If sampling is set without `do_sample`, as in Llama-2's file, `do_sample` is set too. Settings
    that transformers still refuses are left out.

    Args:
        base: generation_config.json of the model that was trained.

    Returns:
        The settings, and the names of those that were set or left out.
    """
    sampling = {**base, "do_sample": True}
    if base.get("do_sample") is None and not _is_sound(base) and _is_sound(sampling):
        return sampling, ("do_sample",)
    sound: dict[str, Any] = {}
    for key in sorted(base, key=lambda key: key not in _MODES):
        if _is_sound({**sound, key: base[key]}):
            sound[key] = base[key]
    left_out = tuple(key for key in base if key not in sound)
    return {key: sound[key] for key in base if key in sound}, left_out


def _is_sound(settings: Mapping[str, Any]) -> bool:
    try:
        GenerationConfig.from_dict(copy.deepcopy(dict(settings))).validate(strict=True)
    except (ValueError, TypeError, AttributeError, KeyError):
        return False
    return True
