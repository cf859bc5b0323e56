"""A model's completion of a prompt, for evaluations and for `linly generate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from transformers import GenerationConfig, PreTrainedModel
from transformers.generation.streamers import BaseStreamer

from linly.errors import ConfigError
from linly.tokenization.tokenizer import Tokenizer


def prompt_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of a prompt, tokenized as the beginning of a document."""
    return [tokenizer.bos_id, *tokenizer.encode(text).tolist()]


def complete(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    ids: Sequence[int],
    settings: dict[str, Any],
    *,
    end_id: int | None = None,
    streamer: BaseStreamer | None = None,
) -> str:
    """The text that a model writes after a prompt, up to the end of the document or turn.

    Args:
        model: Model in evaluation mode, on any device.
        tokenizer: Its tokenizer.
        ids: Tokens of the prompt.
        settings: Settings of transformers' GenerationConfig, such as `max_new_tokens`.
        end_id: Token that ends a turn, besides EOS.
        streamer: Receiver of the tokens as they are generated.

    Raises:
        ConfigError: If transformers cannot generate with this model.
    """
    prompt = torch.tensor([list(ids)], device=model.device)
    ends = [tokenizer.eos_id, *([] if end_id is None else [end_id])]
    special: dict[str, Any] = {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": ends,
        "pad_token_id": tokenizer.eos_id,
    }
    if padding := list(range(tokenizer.vocab_size, model.config.vocab_size)):
        special["suppress_tokens"] = padding  # rows of the embedding without a token
    try:
        output = model.generate(  # type: ignore[operator]
            prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=GenerationConfig.from_dict({**settings, **special}),
            streamer=streamer,
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # models raise anything on an unsupported setting
        reason = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"transformers {transformers.__version__} cannot generate with this model of type "
            f"{model.config.model_type}: {type(error).__name__}: {reason}; to train it without "
            "completions, set `evaluation.prompts: []`"
        ) from error
    new = output[0, len(ids) :].tolist()
    return tokenizer.decode([token for token in new if token not in ends])
