"""DeepSpeed's configuration: built from the recipe, with settings of the user's JSON file.

`training.deepspeed: FILE.json` may set keys that change neither the numbers nor the checkpoints:
bucket sizes, the overlap of communication and computation, DeepSpeed's logging. Keys that the
recipe decides are refused with both values. Keys that linly was not tested with are refused too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from linly.config.sections.data_section import DataSettings
from linly.config.sections.training_section import MAX_BUFFER, TrainingSettings
from linly.config.yaml.overrides import relative_to_origin
from linly.config.yaml.strict_model import describe, error_at, found, unknown
from linly.config.yaml.yaml import Located, Origin, shown
from linly.errors import ConfigError
from linly.files import read_limited

LIMIT_BYTES = 1 << 20
_ZERO = "zero_optimization"
_AUTO = "auto"


def _is_size(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 1 <= value <= MAX_BUFFER and value == int(value)


def _is_even_size(value: Any) -> bool:
    return _is_size(value) and value % 2 == 0


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    f"a whole number from 1 to {MAX_BUFFER:,}": _is_size,
    f"an even number from 2 to {MAX_BUFFER:,}": _is_even_size,
    "true or false": _is_switch,
    "a list of names": _is_names,
}
_SIZE, _EVEN_SIZE, _SWITCH, _NAMES = _KINDS
TAKEN = {
    f"{_ZERO}.reduce_bucket_size": _SIZE,
    f"{_ZERO}.allgather_bucket_size": _EVEN_SIZE,
    f"{_ZERO}.allgather_partitions": _SWITCH,
    f"{_ZERO}.overlap_comm": _SWITCH,
    f"{_ZERO}.reduce_scatter": _SWITCH,
    f"{_ZERO}.contiguous_gradients": _SWITCH,
    "steps_per_print": _SIZE,
    "wall_clock_breakdown": _SWITCH,
    "dump_state": _SWITCH,
    "comms_logger.enabled": _SWITCH,
    "comms_logger.verbose": _SWITCH,
    "comms_logger.prof_all": _SWITCH,
    "comms_logger.debug": _SWITCH,
    "comms_logger.prof_ops": _NAMES,
}
"""Keys that a user's configuration may set, and their allowed values."""

LOGGING = ("steps_per_print", "wall_clock_breakdown", "dump_state", "comms_logger.enabled")
"""Keys of `TAKEN` that make DeepSpeed print."""

_ABSENT = {
    "fp16.enabled": False,
    "amp.enabled": False,
    f"{_ZERO}.offload_optimizer.device": "none",
    f"{_ZERO}.offload_param.device": "none",
    f"{_ZERO}.cpu_offload": False,
    f"{_ZERO}.round_robin_gradients": False,
}
"""Keys that the built configuration leaves out, and DeepSpeed's value for each.

With round-robin gradients, DeepSpeed 0.19 was seen to mix up the master weights of parameters.
"""

_IDLE = ("fp16.", "amp.")
"""Sections that have no effect unless enabled."""

_DECIDED_BY = {
    "train_batch_size": "data.global_batch",
    "train_micro_batch_size_per_gpu": "training.micro_batch",
    "gradient_accumulation_steps": "data.global_batch, training.micro_batch and the world size",
    "gradient_clipping": "training.clip",
    "optimizer": "training.optimizer, lr, betas, eps and weight_decay",
    "zero_allow_untested_optimizer": "training.optimizer",
    "scheduler": "training.schedule, warmup and final_lr",
    f"{_ZERO}.reduce_bucket_size": "training.reduce_bucket_size",
    f"{_ZERO}.allgather_bucket_size": "training.allgather_bucket_size",
}


def deepspeed_config(
    training: TrainingSettings, *, accumulation: int, world_size: int, has_gpu: bool
) -> dict[str, Any]:
    """Build DeepSpeed's configuration from the recipe's settings and the user's own.

    Args:
        training: Training settings of the recipe.
        accumulation: Micro-batches of a step on each rank.
        world_size: Number of ranks.
        has_gpu: Whether ranks have GPUs, where communication overlaps with computation.

    Raises:
        ConfigError: If the user's settings conflict with the recipe, or include a key that linly
            does not accept; lists every such key, with both values.
    """
    made: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": training.micro_batch,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": training.clip,
        "bf16": {"enabled": True, "check_grad_overflow": True},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        _ZERO: {
            "stage": 2,
            "contiguous_gradients": True,
            "overlap_comm": has_gpu,
            "reduce_scatter": True,
            "reduce_bucket_size": training.reduce_bucket_size,
            "allgather_bucket_size": training.allgather_bucket_size,
        },
        "steps_per_print": None,
        "zero_allow_untested_optimizer": True,
    }
    train_batch_size = training.micro_batch * accumulation * world_size
    decided = dict(_flat(made)) | _ABSENT | {"train_batch_size": train_batch_size}
    own = _without_idle(dict(_flat(training.deepspeed or {})))
    problems = [text for key, value in own.items() if (text := _problem(key, value, decided))]
    if problems:
        lines = "\n".join(f"  {text}" for text in problems)
        raise ConfigError(f"training.deepspeed: settings that this run cannot use:\n{lines}")
    for key, value in own.items():
        if key in TAKEN:
            _set(made, key, int(value) if TAKEN[key] in (_SIZE, _EVEN_SIZE) else value)
    return made


def settings_deepspeed_config(
    training: TrainingSettings, data: DataSettings, *, world_size: int, has_gpu: bool
) -> dict[str, Any]:
    """Build DeepSpeed's configuration of a run that trains on `world_size` ranks.

    Raises:
        ConfigError: If `deepspeed_config` refuses a setting.
    """
    accumulation = data.global_batch // (world_size * training.micro_batch)
    return deepspeed_config(
        training, accumulation=accumulation, world_size=world_size, has_gpu=has_gpu
    )


def wants_log(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration makes DeepSpeed print."""
    flat = dict(_flat(config))
    return any(flat.get(key) for key in LOGGING)


def with_own_deepspeed(tree: Located) -> Located:
    """Replace the file name in `training.deepspeed` with the content of that JSON file.

    Raises:
        ConfigError: If the file does not exist, or is not a JSON object.
    """
    node = tree.get("training", "deepspeed")
    if node is None or not isinstance(node.value, str):
        return tree
    path = relative_to_origin(node)
    if not path.is_file():
        text = found(node.value, f"an existing JSON file; {shown(path)} does not exist")
        raise error_at(tree, ("training", "deepspeed"), text)
    content = _located(_read_json(path), Origin(shown(path), None, path.parent))
    training = tree.get("training")
    assert training is not None and isinstance(training.value, dict)
    assert isinstance(tree.value, dict)
    section = Located(training.value | {"deepspeed": content}, training.origin)
    return Located(tree.value | {"training": section}, tree.origin)


def _read_json(path: Path) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the key {twice!r} occurs twice")
        return entries

    def refuse(constant: str) -> None:
        raise ValueError(f"found {constant}")

    data = read_limited(path, limit_bytes=LIMIT_BYTES)
    try:
        content = json.loads(data, object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{shown(path)}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{shown(path)}: {found(content, 'a JSON object')}")
    return content


def _located(value: Any, origin: Origin) -> Located:
    if isinstance(value, dict):
        return Located({key: _located(child, origin) for key, child in value.items()}, origin)
    if isinstance(value, list):
        return Located([_located(child, origin) for child in value], origin)
    return Located(value, origin)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Iterate over values by dotted key."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _without_idle(own: dict[str, Any]) -> dict[str, Any]:
    """Remove values left to the recipe (`auto`), and sections that are not enabled."""
    idle = [section for section in _IDLE if own.get(f"{section}enabled", False) in (False, _AUTO)]
    return {
        key: value
        for key, value in own.items()
        if value != _AUTO and not any(key.startswith(section) for section in idle)
    }


def _problem(key: str, value: Any, decided: Mapping[str, Any]) -> str | None:
    """Return why a value is refused; None if it is accepted or equals the decided value."""
    if key in decided and decided[key] == value:
        return None
    by = next((by for name, by in _DECIDED_BY.items() if f"{key}.".startswith(f"{name}.")), None)
    if key in TAKEN:
        if not _KINDS[TAKEN[key]](value):
            return f"{key}: {found(value, TAKEN[key])}"
        if by is None or decided[key] == _default(by):
            return None
    why = f" ({by})" if by else ""
    if key in decided:
        return f"{key}: found {describe(value)}, the recipe decides {describe(decided[key])}{why}"
    if by:
        return f"{key}: found {describe(value)}, the recipe decides{why}"
    return unknown("key", key, TAKEN)


def _default(key: str) -> Any:
    """Return the default of a `training` setting."""
    return TrainingSettings.model_fields[key.removeprefix("training.")].default


def _set(config: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    for section in sections:
        config = config.setdefault(section, {})
    config[name] = value
