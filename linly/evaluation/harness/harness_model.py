"""lm-evaluation-harness's model class around a loaded model and an exact tokenizer."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedModel

from linly.errors import ConfigError
from linly.modeling.positions import num_positions
from linly.tokenization.hugging_face.tokenizer_export import export_tokenizer
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer

_NO_LIMIT = 1 << 30


def harness_model(
    model: PreTrainedModel, tokenizer: Tokenizer, folder: Path, *, batch_size: int
) -> Any:
    """Wrap a model as lm-eval's `HFLM`.

    Args:
        model: The model on its device, in evaluation mode.
        tokenizer: Its tokenizer.
        folder: Folder with the tokenizer's files.
        batch_size: Prompts per forward pass.

    Raises:
        ConfigError: If lm-eval is not installed, or the vocabulary has no exact `tokenizer.json`.
    """
    try:
        from lm_eval.models.huggingface import HFLM
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"exams are measured by lm-evaluation-harness, and {error.name} is not installed: "
            f"pip install 'linly[eval]'"
        ) from error
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # its notices do not apply here
    positions = num_positions(model.config)
    return HFLM(
        pretrained=model,
        tokenizer=exact_tokenizer(tokenizer, folder),
        batch_size=batch_size,
        max_length=_NO_LIMIT if positions is None else positions,
    )


def exact_tokenizer(tokenizer: Tokenizer, folder: Path) -> Any:
    """The tokenizer as plain transformers loads it from an export.

    Args:
        tokenizer: Tokenizer of the model.
        folder: Folder with its files.

    Raises:
        ConfigError: If transformers would produce other ids than the vocabulary itself.
    """
    if not isinstance(tokenizer, SentencePieceTokenizer):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, add_bos_token=True)
    with tempfile.TemporaryDirectory() as temporary:
        exported = export_tokenizer(tokenizer, Path(temporary))
        if not exported.exact:
            raise ConfigError(
                f"{folder}: its vocabulary has no exact tokenizer.json ({exported.reason}), so the "
                f"harness would ask with other ids than the model was trained on"
            )
        return AutoTokenizer.from_pretrained(temporary, local_files_only=True)


def check_ids(text: str, ids: list[int], tokenizer: Tokenizer, place: str) -> bool:
    """Check that the harness's ids of a prompt are those of the vocabulary itself.

    Args:
        text: A prompt.
        ids: Its ids from the harness.
        tokenizer: Tokenizer of the model.
        place: File and line of its question.

    Returns:
        Whether the ids begin with BOS.

    Raises:
        ConfigError: If they differ.
    """
    own = tokenizer.encode(text).tolist()
    has_bos = ids[:1] == [tokenizer.bos_id]
    if ids[has_bos:] != own:
        first = next(
            (n for n, (a, b) in enumerate(zip(ids[has_bos:], own, strict=False)) if a != b),
            min(len(ids) - has_bos, len(own)),
        )
        raise ConfigError(
            f"the prompt of {place}: tokenizer.json produces other ids than the vocabulary, from "
            f"token {first} on, so scores would not be those of the trained model; write "
            f"tokenizer.json again with linly export or linly model extend"
        )
    return has_bos
