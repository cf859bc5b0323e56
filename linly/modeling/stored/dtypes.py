"""Dtype of each tensor of a model: as stored in its files, and as transformers keeps it in memory.

A file may hold several dtypes, and its configuration may name another one: the file decides. In
memory, some weights of a BF16 model stay fp32 (routers, their biases, some norms), because the
model's code computes with them in fp32.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from linly.modeling.stored.empty_model import empty_model
from linly.modeling.stored.stored_model import StoredModel
from linly.modeling.stored.weight_files import StoredTensor, weight_path

FLOATING = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""Dtypes of weights by their names in safetensors files."""


def usual_dtype(tensors: Mapping[str, StoredTensor]) -> torch.dtype:
    """Dtype of most values in a model folder; fp32 if that is fp64."""
    counts: Counter[str] = Counter()
    for tensor in tensors.values():
        if tensor.dtype in FLOATING:
            counts[tensor.dtype] += tensor.num_values
    dtype = FLOATING[counts.most_common(1)[0][0]] if counts else torch.float32
    return torch.float32 if dtype == torch.float64 else dtype


def restore_exact(model: PreTrainedModel, stored: StoredModel, *, loaded: torch.dtype) -> bool:
    """Restore the stored weights that loading in one dtype has rounded.

    They are mapped from their files, as all weights are.

    Args:
        model: Model as loaded; changed in place.
        stored: Its folder.
        loaded: Dtype that it was loaded in.

    Returns:
        Whether all weights are exact now. A weight that is stored in another form than the model
        holds it in, such as one tensor per expert, cannot be restored.
    """
    own = model.state_dict(keep_vars=True)
    is_exact = True
    for name, tensor in stored.tensors.items():
        dtype = FLOATING.get(tensor.dtype)
        if dtype is None or torch.promote_types(dtype, loaded) == loaded or name not in stored.keys:
            continue
        target = own[stored.keys[name]]
        if tuple(target.shape) != tensor.shape:
            is_exact = False
        else:
            with safe_open(weight_path(stored.path, tensor.file), framework="pt") as file:
                target.data = file.get_tensor(name)
    return is_exact


def kept_dtypes(config: Any, dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Dtype of each parameter and buffer of a model that transformers loads in a dtype.

    Args:
        config: The model's configuration.
        dtype: Dtype to load in; some modules stay fp32.
    """
    empty = empty_model(config, dtype)
    plan = empty._get_dtype_plan(dtype)
    patterns = {re.compile(name.replace("*", ".*")): kept for name, kept in plan.items()}
    return {
        name: next((kept for pattern, kept in patterns.items() if pattern.search(name)), held.dtype)
        for name, held in [*empty.named_parameters(), *empty.named_buffers()]
    }


def persistent_buffers(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Buffers that a model folder stores along with the parameters, by name."""
    stored = model.state_dict(keep_vars=True)
    return {name: buffer for name, buffer in model.named_buffers() if name in stored}


def cast_buffers(model: PreTrainedModel, dtypes: Mapping[str, torch.dtype]) -> None:
    """Cast all buffers to the dtypes that `kept_dtypes` returns, in place."""
    for name, buffer in model.named_buffers():
        buffer.data = buffer.data.to(dtypes[name])
