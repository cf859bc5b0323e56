"""Model folders with tiny weights, as `linly export` leaves them, for the GGUF writer."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from linly.modeling.load_model import save_weights
from linly.tokenization.hugging_face.tokenizer_export import export_tokenizer
from linly.tokenization.tokenizer import Tokenizer
from tests.support.models import tiny_model
from tests.support.vocabularies import ENGLISH

IDS = torch.randint(3, 360, (2, 24), generator=torch.Generator().manual_seed(0))


def few_texts() -> Any:
    """Have a tokenizer's export, whose exactness other tests show, compared on a few texts only."""
    place = "linly.tokenization.hugging_face.tokenizer_export.torture_texts"
    return patch(place, lambda _: iter(ENGLISH))


def write_tiny(folder: Path, name: str, tokenizer: Tokenizer, **changes: Any) -> PreTrainedModel:
    """Write a tiny model with weights that BF16 and f16 hold exactly; see `tiny_model`.

    Norms and biases are not those of a new model, which are ones and zeros.
    """
    size = {"vocab_size": tokenizer.vocab_size, "max_position_embeddings": 256}
    special = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
    model = tiny_model(name, **{**size, **special, "pad_token_id": None, **changes})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_((parameter + noise * 0.05).bfloat16().half().float())
    folder.mkdir(parents=True)
    save_weights(model, folder)
    with few_texts():
        export_tokenizer(tokenizer, folder)
    return model


def write_reference(folder: Path, model: PreTrainedModel) -> None:
    """Write ids and a model's logits for the worker of llama.cpp."""
    with torch.no_grad():
        logits = model(IDS, use_cache=False).logits.float().contiguous()
    save_file({"ids": IDS, "logits": logits}, folder / "reference.safetensors")
