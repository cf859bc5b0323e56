"""Making and loading models: safetensors only, local files only, no code of the model folder."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedModel as Model
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from linly.errors import ConfigError
from linly.files import inside, read_limited, sha256_file
from linly.modeling.accelerator import choose_accelerator
from linly.tokenization.export import TokenizerExport, export_tokenizer
from linly.tokenization.tokenizer import Tokenizer

CONFIG_SIZE_LIMIT_BYTES = 1 << 24
SHARD_SIZE = "5GB"
_HASHING_THREADS = 4
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Size:
    """The shape of a Llama; everything but the vocabulary."""

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
"""Five for tests, demos and experiments; 1b has TinyLlama's shape, 7b and 13b LLaMA-2's."""


def llama_config(size: str, tokenizer: Tokenizer) -> LlamaConfig:
    """The configuration of a Llama of a named size with one row per piece of the tokenizer.

    Raises:
        ConfigError: There is no such size.
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
        pad_token_id=tokenizer.pad_id,
        tie_word_embeddings=False,
    )


def init_model(size: str, tokenizer: Tokenizer, *, seed: int = 0) -> LlamaForCausalLM:
    """A new Llama with random fp32 weights; the same seed gives the same weights."""
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
    the stored one makes a copy of them.

    Pickled weights are refused, code that the folder names (`auto_map`) is never run, nothing is
    fetched from a network, and every weight must be there.

    Args:
        path: The model folder.
        dtype: Of the weights in memory; None keeps the one they are stored in.

    Raises:
        ConfigError: The folder is none of a model, holds pickles only, or lacks weights.
    """
    check_model_folder(path)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(path.resolve()),
            dtype="auto" if dtype is None else dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        raise ConfigError(f"model {path}: cannot be loaded: {error}") from error
    model, info = loaded
    for kind in ("missing_keys", "mismatched_keys"):
        if info[kind]:
            names = ", ".join(sorted(map(str, info[kind]))[:5])
            raise ConfigError(f"model {path}: {len(info[kind])} {kind.replace('_', ' ')}: {names}")
    assert isinstance(model, Model)
    return model


def check_model_folder(path: Path) -> dict[str, Any]:
    """Refuse a folder that is no model folder of safetensors; returns its config.json.

    Raises:
        ConfigError: What is missing, and what is there instead.
    """
    if not (path / "config.json").is_file():
        what = "no config.json in it" if path.is_dir() else "no such folder"
        raise ConfigError(f"model {path}: {what}; give a model folder (see `linly model init`)")
    weight_files(path)
    config = read_json_object(path / "config.json")
    if config.get("model_type") not in CONFIG_MAPPING:
        own = ": it brings code of its own (auto_map), which is never run" * ("auto_map" in config)
        raise ConfigError(
            f"model {path}: model_type {config.get('model_type')!r} in config.json is none that "
            f"the installed transformers knows{own}; give a model of a known type"
        )
    return config


def weight_files(path: Path) -> dict[str, list[str]]:
    """The safetensors files of a model folder and the tensors that its index says are in each.

    Returns:
        File name -> tensor names; a folder with a single file has it alone, with no names.

    Raises:
        ConfigError: There are no safetensors, or the index leads out of the folder.
    """
    if (path / WEIGHTS_INDEX).is_file():
        weight_map = read_json_object(path / WEIGHTS_INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ConfigError(f"model {path}: {WEIGHTS_INDEX} has no weight_map")
        files: dict[str, list[str]] = {}
        for tensor, file in weight_map.items():
            if not isinstance(file, str) or not file.endswith(".safetensors"):
                raise ConfigError(
                    f"model {path}: {WEIGHTS_INDEX} puts {tensor} in {file!r}, which is no "
                    f"safetensors file"
                )
            files.setdefault(file, []).append(tensor)
        for file in files:
            if not inside(path, file).is_file():
                raise ConfigError(f"model {path}: {file} is missing, {WEIGHTS_INDEX} names it")
        return files
    if (path / WEIGHTS).is_file():
        return {WEIGHTS: []}
    pickles = sorted(p.name for p in path.iterdir() if p.suffix in (".bin", ".pt", ".pth"))
    if pickles:
        raise ConfigError(
            f"model {path}: found {', '.join(pickles[:3])} and no {WEIGHTS}; pickled weights can "
            f"run code and are not loaded: convert them to safetensors where they come from"
        )
    raise ConfigError(f"model {path}: no {WEIGHTS} in it")


def hash_weights(path: Path) -> dict[str, str]:
    """SHA-256 of each file of a model folder's weights, by name; as fast as it can be read.

    Raises:
        ConfigError: There are no safetensors, or the index leads out of the folder.
    """
    names = sorted(weight_files(path))
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        hashes = pool.map(lambda name: sha256_file(inside(path, name)), names)
        return dict(zip(names, hashes, strict=True))


def check_vocabulary(config: Any, tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer that has ids beyond a model's embedding.

    A smaller one is allowed: some models pad their vocabulary.

    Raises:
        ConfigError: With both sizes and the command that extends the model.
    """
    if tokenizer.vocab_size > config.vocab_size:
        model = getattr(config, "name_or_path", "") or "MODEL"
        raise ConfigError(
            f"the tokenizer has {tokenizer.vocab_size:,} pieces, but the embedding of the model "
            f"{'' if model == 'MODEL' else str(model) + ' '}has {config.vocab_size:,} rows; "
            f"extend it: linly model extend --model {model} --tokenizer TOKENIZER --output NEW"
        )


def save_model(model: Model, tokenizer: Tokenizer, directory: Path) -> TokenizerExport:
    """Write a model folder: configuration, safetensors and the tokenizer in all its forms."""
    save_weights(model, directory)
    return export_tokenizer(tokenizer, directory)


def save_weights(model: Model, directory: Path, *, shard_size: str = SHARD_SIZE) -> None:
    """Write configuration and safetensors, readable by whom the umask allows.

    safetensors leaves its files with the mode of temporary ones, for their owner alone.

    Args:
        model: A tied weight is written once.
        directory: Where to.
        shard_size: A larger model is cut into files of this size and an index, such as "5GB".
    """
    choose_accelerator()
    model.save_pretrained(directory, max_shard_size=shard_size)
    mode = stat.S_IMODE((directory / "config.json").stat().st_mode)
    for file in directory.glob("*.safetensors"):
        file.chmod(mode)


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON file that must hold an object.

    Raises:
        ConfigError: It holds something else.
    """
    try:
        value = orjson.loads(read_limited(path, limit_bytes=CONFIG_SIZE_LIMIT_BYTES))
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value
