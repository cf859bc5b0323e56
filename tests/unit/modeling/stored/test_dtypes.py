"""The files decide the value of a weight, whatever the configuration or the other weights are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from linly.modeling.load_model import load_model
from linly.modeling.stored.dtypes import kept_dtypes
from linly.modeling.stored.weight_files import WEIGHTS
from tests.support.models import tiny_model

KEEPS_FP32 = ("deepseek_v4", "ernie4_5_moe", "flint", "hunyuan_v1_moe", "hy_v4", "olmo_hybrid")


def stored(folder: Path, name: str, dtype: torch.dtype, *, others: str = "nothing") -> Path:
    """A model folder whose configuration says BF16: in `dtype`, tensors named `others` in fp32."""
    model = tiny_model(name)
    model.save_pretrained(folder)
    weights = load_file(folder / WEIGHTS)
    cast = {n: w if others in n else w.to(dtype) for n, w in weights.items()}
    save_file(cast, folder / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("others", ["nothing", "norm", "experts"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3_moe", "deepseek_v3"])
def test_every_weight_has_the_value_of_its_file(
    tmp_path: Path, name: str, dtype: torch.dtype, others: str
) -> None:
    folder = stored(tmp_path, name, dtype, others=others)
    found = load_model(folder).state_dict()
    exact = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    for key, tensor in exact.items():
        assert torch.equal(found[key].float(), tensor), key


@pytest.mark.parametrize("name", [*KEEPS_FP32, "llama", "xglm", "minimax"])
def test_kept_dtypes_are_those_that_transformers_loads(tmp_path: Path, name: str) -> None:
    stored(tmp_path, name, torch.float32)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    held = {n: t.dtype for n, t in [*model.named_parameters(), *model.named_buffers()]}
    kept = kept_dtypes(model.config, torch.bfloat16)
    assert {n: kept[n] for n in held} == held
    weights = {held[n] for n, _ in model.named_parameters()}
    assert (torch.float32 in weights) == (name in KEEPS_FP32)
