"""Configuration of a model folder, refused if its model cannot be trained.

`stored_model.py` checks the weights themselves.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from linly.errors import ConfigError
from linly.modeling.stored.weight_files import read_json_object, stored_tensors, weight_files
from linly.storage.hub import MODEL_FORM
from linly.tokenization.tokenizer import Tokenizer

PLAIN_DTYPES = ("F64", "F32", "F16", "BF16")
"""Dtypes of weights that can be trained; weights of any other dtype are quantized."""

_QUANTIZED_IN_FORWARD = ("bitnet",)
"""Methods that quantize plain weights at every use, so the setting must be kept."""

_RARE_CHARACTER = "\U000f1234"
"""Private-use character: unknown to a vocabulary without byte fallback."""

_OTHER_SENSES = ("vision", "audio", "image", "speech", "video", "vq")


def check_model_folder(path: Path) -> dict[str, Any]:
    """Return the config.json of a model folder of safetensors.

    Raises:
        ConfigError: If the folder is not one, naming what is missing and what was found.
    """
    if not (path / "config.json").is_file():
        what = "no config.json in it" if path.is_dir() else "no such folder"
        raise ConfigError(f"model {path}: {what}; pass {MODEL_FORM}")
    weight_files(path)
    config = read_json_object(path / "config.json")
    if config.get("model_type") not in CONFIG_MAPPING:
        own = ": it has code of its own (auto_map), which is never run" * ("auto_map" in config)
        raise ConfigError(
            f"model {path}: the installed transformers does not know model_type "
            f"{config.get('model_type')!r} of config.json{own}; use a model of a known type"
        )
    return config


def read_config(folder: Path) -> PreTrainedConfig:
    """Configuration of a model folder, as read by transformers."""
    config: PreTrainedConfig = AutoConfig.from_pretrained(
        str(folder.resolve()), local_files_only=True, trust_remote_code=False
    )
    return config


def read_configuration(path: Path) -> PretrainedConfig:
    """Configuration of a model folder that can be trained.

    Raises:
        ConfigError: If its model is not a text decoder, its weights are quantized, or the folder
            makes transformers read weights from elsewhere.
    """
    file = check_model_folder(path)
    if (path / "adapter_config.json").is_file():
        raise ConfigError(
            f"model {path}: adapter_config.json makes it a LoRA adapter of another model; merge "
            f"the two first (peft: merge_and_unload), then save_pretrained"
        )
    if file.get("transformers_weights") is not None:
        raise ConfigError(
            f"model {path}: config.json names its weights by transformers_weights; name the file "
            f"model.safetensors and remove the key"
        )
    try:
        config = AutoConfig.from_pretrained(
            str(path.resolve()), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise ConfigError(f"model {path}: config.json cannot be read: {error}") from error
    assert isinstance(config, PretrainedConfig)
    _check_kind(path, config)
    _check_quantization(path, config)
    pad = getattr(config, "pad_token_id", None)
    if pad is not None and not -config.vocab_size <= pad < config.vocab_size:
        config.pad_token_id = None  # nn.Embedding refuses it, and nothing here needs it
    return config


def check_vocabulary(config: Any, tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer that has ids beyond a model's embedding.

    A smaller one is allowed: some models pad their vocabulary.

    Raises:
        ConfigError: If it has, with both sizes and the command that extends the model.
    """
    if tokenizer.vocab_size > config.vocab_size:
        model = getattr(config, "name_or_path", "") or "MODEL"
        raise ConfigError(
            f"the tokenizer has {tokenizer.vocab_size:,} pieces, but the embedding of the model "
            f"{'' if model == 'MODEL' else str(model) + ' '}has {config.vocab_size:,} rows; "
            f"extend it: linly model extend --model {model} --tokenizer TOKENIZER --output NEW"
        )


def padding_id(tokenizer: Tokenizer) -> int | None:
    """Padding token of the vocabulary; None if documents can hold it."""
    pad = tokenizer.pad_id
    return None if pad is None or is_in_documents(tokenizer, pad) else pad


def may_be_null(config: PretrainedConfig, key: str) -> bool:
    """Whether a configuration's class accepts null for a key."""
    try:
        setattr(copy.deepcopy(config), key, None)
    except Exception:  # each class checks values in its own way
        return False
    return True


def is_in_documents(tokenizer: Tokenizer, token: int) -> bool:
    """Whether a document can hold a token: text, a byte, BOS, EOS, or the unknown character.

    A negative id counts from the last row of the embedding, as torch does.
    """
    if token < 0 or token in (tokenizer.bos_id, tokenizer.eos_id):
        return True
    if token >= tokenizer.vocab_size:
        return False
    if tokenizer.is_text(token) or tokenizer.partial_ids()[token]:
        return True
    texts = (_RARE_CHARACTER, tokenizer.piece(token))  # an added token that is not special is text
    return any(token in tokenizer.encode(text) for text in texts)


def _check_kind(path: Path, config: PretrainedConfig) -> None:
    """Refuse a model that is not a plain causal language model."""
    kind = config.model_type
    senses = [name for name in config.sub_configs if name.startswith(_OTHER_SENSES)]
    text = config.get_text_config()
    if senses or text is not config:
        part = "" if text is config else f", of type {text.model_type}"
        raise ConfigError(
            f"model {path}: {kind} is multimodal ({', '.join(sorted(config.sub_configs))}), and "
            f"only text models can be trained; save its language model{part}, as a folder of "
            f"its own"
        )
    is_pair = getattr(config, "is_encoder_decoder", False)
    fills_gaps = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if is_pair or (fills_gaps and not getattr(config, "is_decoder", False)):
        how = "is an encoder-decoder" if is_pair else "attends in both directions"
        raise ConfigError(f"model {path}: {kind} {how}; use a causal language model")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ConfigError(
            f"model {path}: {kind} is not a causal language model of transformers "
            f"(AutoModelForCausalLM does not know it); use one that is"
        )


def _check_quantization(path: Path, config: PretrainedConfig) -> None:
    """Refuse quantized weights; ignore a quantization setting if the weights are plain."""
    setting = getattr(config, "quantization_config", None)
    if setting is None:
        return
    dtypes = {tensor.dtype for tensor in stored_tensors(path).values()} - set(PLAIN_DTYPES)
    method = setting.get("quant_method") if isinstance(setting, dict) else setting.quant_method
    if dtypes or method in _QUANTIZED_IN_FORWARD:
        stored = f", stored as {', '.join(sorted(dtypes))}" if dtypes else ""
        raise ConfigError(
            f"model {path}: its weights are quantized ({method or 'quantization_config'}{stored}) "
            f"and cannot be trained; use the model in BF16, or dequantize it first"
        )
    del config.quantization_config
