"""A model that would fail or train in part is refused before its first step, in every family."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from linly.config.sections.training_section import TrainingSettings
from linly.errors import ConfigError
from linly.modeling.attention.separation import RowLayout
from linly.modeling.trainable import make_trainable
from linly.modeling.trial import try_model
from tests.support.models import FAMILIES, VARIANTS, tiny_model

CPU = torch.device("cpu")
IDS = torch.randint(3, 400, (2, 48), generator=torch.Generator().manual_seed(0))
BYPASSED = ("falcon_mamba", "jamba", "mamba")
"""Families that read the weight of `dt_proj` and do not call it."""
NOT_FOR_LORA = ("router", "o_a_proj", "out_proj")
"""Layers of some families that are refused by their names, before a model is tried."""


def with_lora(name: str) -> PreTrainedModel | None:
    """A model with LoRA on all its linear layers, or None if it has none."""
    model = tiny_model(name)
    output = model.get_output_embeddings()
    targets = {
        layer.rpartition(".")[2]
        for layer, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not output
    }
    lora = {"targets": sorted(targets - set(NOT_FOR_LORA)), "dropout": 0.0}
    if not lora["targets"]:
        return None
    training = TrainingSettings.model_validate({"trainable": {"lora": lora}})
    make_trainable(model, training.trainable, seed=0)
    return model


@pytest.mark.parametrize("name", (*FAMILIES, *VARIANTS))
def test_a_lora_target_that_gets_no_gradient_is_refused(name: str) -> None:
    try:
        model = with_lora(name)
    except ConfigError as error:
        assert "fused" in str(error)
        return
    if model is None:
        return
    refused = set()
    try:
        try_model("auto", model, CPU, RowLayout(48, "joined"))
    except ConfigError as error:
        refused = set(str(error).split(": ")[1].split(", "))
    model.train()(IDS, use_cache=False).logits.float().logsumexp(-1).mean().backward()
    layers = {layer: each for layer, each in model.named_modules() if hasattr(each, "lora_B")}
    trained = {
        layer.rpartition(".")[2]
        for layer, module in layers.items()
        if module.lora_B.default.weight.grad is not None
    }
    assert {layer.rpartition(".")[2] for layer in layers} - trained == refused
    assert name not in BYPASSED or refused == {"dt_proj"}


@pytest.mark.parametrize(("chunk", "length"), [(32, 32), (64, 256), (512, 512), (512, 1024)])
def test_xlstm_is_refused_where_its_chunks_mix_dtypes(chunk: int, length: int) -> None:
    model = tiny_model("xlstm", chunk_size=chunk).to(torch.bfloat16)
    with pytest.raises(RuntimeError, match="same dtype"), torch.no_grad():
        model.train()(IDS[:1, :1].expand(1, length), use_cache=False)
    with pytest.raises(ConfigError, match=r"model of type xlstm: its forward pass in .* failed"):
        try_model("auto", model, CPU, RowLayout(length, "single"))
