"""Create and load models: safetensors only, local files only, no code from the model folder."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedModel as Model

from linly.errors import ConfigError
from linly.modeling.accelerator import choose_accelerator
from linly.modeling.stored.configuration import padding_id
from linly.modeling.stored.dtypes import restore_exact, usual_dtype
from linly.modeling.stored.stored_model import StoredModel, open_stored_model, read_weights
from linly.tokenization.hugging_face.tokenizer_export import TokenizerExport, export_tokenizer
from linly.tokenization.tokenizer import Tokenizer

SHARD_SIZE = "5GB"


@dataclass(frozen=True, slots=True)
class Size:
    """Shape of a Llama, except its vocabulary."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    feed_forward: int
    max_positions: int


SIZES = {
    "nano": Size(64, 2, 4, 4, 176, 2048),
    "tiny": Size(128, 4, 4, 4, 352, 2048),
    "small": Size(256, 6, 8, 8, 704, 2048),
    "medium": Size(512, 8, 8, 8, 1408, 2048),
    "125m": Size(768, 12, 12, 12, 2048, 2048),
    "1b": Size(2048, 22, 32, 4, 5632, 4096),
    "7b": Size(4096, 32, 32, 32, 11008, 4096),
    "13b": Size(5120, 40, 40, 40, 13824, 4096),
}
"""Sizes by name: small ones for tests and experiments, TinyLlama's 1b, LLaMA-2's 7b and 13b."""


def llama_config(size: str, tokenizer: Tokenizer) -> LlamaConfig:
    """Configuration of a Llama of a named size with one row per piece of the tokenizer.

    Raises:
        ConfigError: If there is no such size.
    """
    if size not in SIZES:
        raise ConfigError(f"model size: found {size!r}, allowed {', '.join(SIZES)}")
    shape = SIZES[size]
    return LlamaConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=shape.max_positions,
        rms_norm_eps=1e-5,
        bos_token_id=tokenizer.bos_id,
        eos_token_id=tokenizer.eos_id,
        pad_token_id=padding_id(tokenizer),
        tie_word_embeddings=False,
    )


def init_model(size: str, tokenizer: Tokenizer, *, seed: int = 0) -> LlamaForCausalLM:
    """Create a Llama with random fp32 weights; the same seed gives the same weights."""
    config = llama_config(size, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig.from_model_config(config)
    return model


def load_model(path: Path, *, dtype: torch.dtype | None = None) -> Model:
    """Load a causal language model from a folder of safetensors.

    The weights are mapped from their files and read when they are used: processes of one machine
    share them, and until they are written to they take no memory of their own. A `dtype` other than
    the stored one copies them. Without it, each weight has the exact value in its file, whatever
    dtype the configuration names.

    Pickled weights are refused, code that the folder names (`auto_map`) is never run, nothing is
    downloaded, and every weight must be present. The files decide whether the output layer is tied
    to the embedding (see `open_stored_model`).

    Args:
        path: The model folder.
        dtype: Dtype of the weights in memory; None keeps the stored ones.

    Raises:
        ConfigError: If `open_stored_model` refuses the folder.
    """
    stored = open_stored_model(path)
    if dtype is not None:
        return read_weights(path, stored.config, dtype=dtype)
    return load_exactly(stored)


def load_exactly(stored: StoredModel) -> Model:
    """Load the model of a folder with the exact values in its files; see `load_model`."""
    usual = usual_dtype(stored.tensors)
    model = read_weights(stored.path, stored.config, dtype=usual)
    if restore_exact(model, stored, loaded=usual):
        return model
    return read_weights(stored.path, stored.config, dtype=torch.float32)


def save_model(model: Model, tokenizer: Tokenizer, directory: Path) -> TokenizerExport:
    """Write a model folder: configuration, safetensors and the tokenizer in all its forms."""
    save_weights(model, directory)
    return export_tokenizer(tokenizer, directory)


def save_weights(model: Model, directory: Path, *, shard_size: str = SHARD_SIZE) -> None:
    """Write configuration and safetensors with the permissions that the umask allows.

    safetensors leaves its files with the mode of temporary files, readable only by their owner.

    Args:
        model: Model to write; a tied weight is written once.
        directory: Output folder.
        shard_size: Largest size of a file, such as "5GB"; a larger model is split, with an index.
    """
    choose_accelerator()
    try:
        model.save_pretrained(directory, max_shard_size=shard_size)
    except SafetensorError as error:  # only its text holds the system's error
        raise OSError(None, str(error), str(directory)) from error
    mode = stat.S_IMODE((directory / "config.json").stat().st_mode)
    for file in directory.glob("*.safetensors"):
        file.chmod(mode)
