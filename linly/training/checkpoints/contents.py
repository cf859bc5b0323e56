"""Checks of the contents of a checkpoint's files, beyond size and hash in the manifest.

A file that matches its hash may still be invalid, if it was edited by hand or written by a faulty
program. Such a file counts as corrupt before a run loads anything from it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from linly.errors import LinlyError
from linly.files import open_regular, read_limited
from linly.training.checkpoints.checkpoint_files import BUFFER, STATE
from linly.training.checkpoints.state_form import state_problem
from linly.training.engine.optimizers import optimizer_kinds
from linly.training.engine.randomness import check_random_states
from linly.training.engine.weight_average import AVERAGE_KEYS

STATE_LIMIT_BYTES = 256 << 20
_RANDOM_LIMIT_BYTES = 1 << 24


def content_problem(path: Path, parameters: Collection[str], *, step: int) -> str | None:
    """Problem with the contents of a checkpoint's file; None if they are valid.

    Args:
        path: Path of a state.json, or of a rank's tensors or random states.
        parameters: Names of the parameters that the file holds by the manifest.
        step: Step of the checkpoint.
    """
    try:
        if path.name == STATE:
            return state_problem(read_limited(path, limit_bytes=STATE_LIMIT_BYTES), step=step)
        open_regular(path).close()
        if path.name.startswith("random-"):
            return _random_problem(path)
        return _tensors_problem(path, parameters)
    except SafetensorError as error:
        return f"not a safetensors file ({error})"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    except LinlyError as error:
        return str(error)


def _tensors_problem(path: Path, parameters: Collection[str]) -> str | None:
    """Check the header only: each parameter must have the same fp32 tensors, of one shape.

    These are an optimizer's, and averages of the weights if there are any.
    """
    with safe_open(path, framework="pt") as file:
        keys = [key for key in file.keys() if not key.startswith(BUFFER)]  # noqa: SIM118
        found = {key: file.get_slice(key) for key in keys}
        averages = [key for key in AVERAGE_KEYS if any(name.startswith(f"{key}.") for name in keys)]
        state_keys = min(
            ((*kind.state_keys, *averages) for kind in optimizer_kinds()),
            key=lambda keys: len(found.keys() ^ _tensor_names(keys, parameters)),
        )
        wanted = _tensor_names(state_keys, parameters)
        if found.keys() != wanted:
            other = sorted(found.keys() ^ wanted)
            return f"its tensors are not those of the manifest: {', '.join(other[:3])}"
        for name in parameters:
            forms = [found[f"{key}.{name}"] for key in state_keys]
            dtypes = {form.get_dtype() for form in forms}
            if dtypes != {"F32"}:
                return f"{name}: found {', '.join(sorted(dtypes))}, expected F32"
            shapes = {tuple(form.get_shape()) for form in forms}
            if len(shapes) > 1:
                return f"{name}: weight and moments have different shapes: {sorted(shapes)}"
    return None


def _tensor_names(state_keys: Sequence[str], parameters: Collection[str]) -> set[str]:
    return {f"{key}.{name}" for key in state_keys for name in parameters}


def _random_problem(path: Path) -> str | None:
    if path.stat().st_size > _RANDOM_LIMIT_BYTES:
        return f"has {path.stat().st_size:,} bytes, random states have a few thousand"
    with safe_open(path, framework="pt") as file:
        states: dict[str, torch.Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    try:
        check_random_states(states)
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        return f"not the random states of a process: {error}"
    return None
