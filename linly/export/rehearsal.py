"""Trial export before training, of everything except the weights."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoConfig, PretrainedConfig
from transformers.core_model_loading import revert_weight_conversion

from linly.errors import ConfigError, LinlyError
from linly.export.model_export import write_configuration
from linly.modeling.stored.dtypes import kept_dtypes
from linly.modeling.stored.empty_model import empty_model
from linly.tokenization.byte_level import ByteLevelTokenizer
from linly.tokenization.hugging_face.tokenizer_export import export_tokenizer
from linly.tokenization.tokenizer import Tokenizer


def try_export(model: Path, config: PretrainedConfig, tokenizer: Tokenizer) -> tuple[str, ...]:
    """Write an export's configuration, generation settings and tokenizer to a temporary folder.

    Args:
        model: Folder of the model to train.
        config: Its configuration, after the checks of its files.
        tokenizer: Its tokenizer.

    Returns:
        Differences between an export and the model's own files, one line each.

    Raises:
        ConfigError: If a part cannot be written, or would be read back differently.
    """
    try:
        return _try(model, config, tokenizer)
    except LinlyError:
        raise
    except Exception as error:
        raise ConfigError(
            f"model {model}: a model trained from it could not be exported: {error}; correct its "
            f"files first"
        ) from error


def _try(model: Path, config: PretrainedConfig, tokenizer: Tokenizer) -> tuple[str, ...]:
    empty = empty_model(config, torch.bfloat16)
    kept_dtypes(config, torch.bfloat16)
    revert_weight_conversion(empty, empty.state_dict())
    with TemporaryDirectory() as name:
        folder = Path(name)
        notes = write_configuration(model, empty, folder, torch.bfloat16)
        read = AutoConfig.from_pretrained(name, local_files_only=True, trust_remote_code=False)
        if type(read) is not type(config) or read.vocab_size != config.vocab_size:
            raise ConfigError(
                f"model {model}: its exported configuration does not load as the same"
            )
        exported = export_tokenizer(tokenizer, folder, source=model)
    if exported.exact:
        return notes
    if isinstance(tokenizer, ByteLevelTokenizer):
        raise ConfigError(
            f"model {model}: its tokenizer cannot be exported: {exported.reason}; correct "
            f"tokenizer.json and tokenizer_config.json so that both give the same ids"
        )
    return (*notes, f"an export will hold no tokenizer.json: {exported.reason}")
