"""Generation from a model folder or straight from a run's checkpoint."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from linly.config.chat_format import read_chat_format
from linly.data.documents.chat_template import TEXT_ALONE, ChatTemplate
from linly.data.documents.encoding import encode_segments
from linly.data.documents.templates import alpaca, alpaca_no_input, linly
from linly.data.reading.records import Texts, UnusableRecord
from linly.errors import ConfigError
from linly.export.model_export import assemble
from linly.export.run_checkpoints import open_checkpoints, parse_run
from linly.modeling.completion import complete, prompt_ids
from linly.modeling.load_model import load_model
from linly.modeling.positions import num_positions
from linly.modeling.stored.dtypes import cast_buffers, kept_dtypes, usual_dtype
from linly.modeling.stored.weight_files import stored_tensors
from linly.runs.runs import RunFolder
from linly.storage.hub import HubModel, fetch_model, model_place
from linly.tokenization.continuation import special_id
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer

TEMPLATES = {"alpaca": alpaca, "alpaca-no-input": alpaca_no_input, "linly": linly}


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling settings.

    Attributes:
        temperature: Sampling temperature; 0 is greedy decoding, without top_k and top_p.
        top_k: Number of most likely tokens to sample from; 0 for all.
        top_p: Cumulative probability of the most likely tokens to sample from.
        repetition_penalty: Penalty for repeated tokens; 1 for none.
    """

    max_new_tokens: int = 256
    temperature: float = 1.0
    top_k: int = 10
    top_p: float = 0.85
    repetition_penalty: float = 1.15
    seed: int = 0


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A model ready to generate.

    Attributes:
        model: The model, in evaluation mode.
        tokenizer: Its tokenizer.
        folder: Folder with the tokenizer's files.
        run: Run folder that it is a checkpoint of; None for a model folder or a hub model.
        steps: Steps of the run's checkpoints, several for a mean.
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    folder: Path
    run: Path | None = None
    steps: tuple[int, ...] = ()


def open_model(text: str, *, dtype: torch.dtype | None = None) -> OpenModel:
    """Load a model folder, a hub model, a run's newest complete checkpoint, or a mean of several.

    Args:
        text: Folder or hub id of a model, or `RUN`, `RUN@200`, `RUN@200,400`.
        dtype: Dtype of the weights; None for the stored one, for a run BF16.

    Raises:
        LinlyError: If it is none of these, or is damaged.
    """
    place = model_place(text, Path(text.partition("@")[0]))
    folder, steps = (fetch_model(place), ()) if isinstance(place, HubModel) else parse_run(text)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run_path: Path | None = None
    if (folder / "checkpoints").is_dir():
        run_path = folder
        checkpoints = open_checkpoints(RunFolder.open(folder), steps)
        steps = tuple(checkpoint.manifest.step for checkpoint in checkpoints)
        dtype = dtype or torch.bfloat16
        model = assemble(checkpoints, dtype)
        cast_buffers(model, kept_dtypes(model.config, dtype))
        folder = folder / "model"
    else:
        model = load_model(folder, dtype=dtype or usual_dtype(stored_tensors(folder)))
    model = model.to(device).train(False)  # type: ignore[arg-type]
    return OpenModel(model, load_tokenizer(folder), folder, run_path, steps)


def generate_texts(
    opened: OpenModel, prompts: Sequence[str], *, template: str, sampling: Sampling
) -> Iterator[str]:
    """Completion of each prompt, up to the end of the document or turn.

    Raises:
        ConfigError: If there is no such template, or a prompt is too long.
    """
    model, tokenizer = opened.model, opened.tokenizer
    chat = ChatPrompts(opened) if template == "chat" else None
    for prompt in prompts:
        if chat is None:
            ids, end_id = prompt_ids(tokenizer, apply_template(template, prompt)), None
        else:
            ids, end_id = chat.ids((("user", prompt),))
        check_length(model, ids, sampling)
        torch.manual_seed(sampling.seed)
        yield complete(model, tokenizer, ids, settings_of(sampling), end_id=end_id)


def check_length(model: PreTrainedModel, ids: Sequence[int], sampling: Sampling) -> None:
    """Check that a prompt and its completion fit the model's positions.

    Raises:
        ConfigError: If they do not.
    """
    limit = num_positions(model.config)
    if limit is not None and len(ids) + sampling.max_new_tokens > limit:
        raise ConfigError(
            f"a prompt of {len(ids):,} tokens and {sampling.max_new_tokens:,} new ones are more "
            f"than the model's {limit:,} positions: shorten it, or lower --max-new-tokens"
        )


class ChatPrompts:
    """Tokenizes turns of a conversation in the model's chat template, as in training."""

    def __init__(self, opened: OpenModel) -> None:
        """Read the template.

        Raises:
            ConfigError: If the model has none, or one that cannot be used.
        """
        self._tokenizer = opened.tokenizer
        today = datetime.date.today().isoformat()  # what transformers gives a template
        self._template = ChatTemplate(read_chat_format(opened.folder), date=today)

    def ids(self, turns: Texts) -> tuple[list[int], int | None]:
        """Tokens up to the start of the answer, and the token that ends the answer.

        Args:
            turns: Turns as (role, text) pairs; the last one is the user's.

        Raises:
            ConfigError: If the template refuses the turns.
        """
        try:
            segments = self._template.segments((*turns, ("assistant", "x")), TEXT_ALONE)
        except UnusableRecord as error:
            raise ConfigError(f"the turn {turns[-1][1][:60]!r}: {error}") from error
        # Some templates write earlier turns differently, as documents before the last one.
        first = max((n + 1 for n, one in enumerate(segments) if one.form == "next"), default=0)
        answer = max(n for n, segment in enumerate(segments) if segment.supervised)
        parts = encode_segments(self._tokenizer, segments[first:answer])
        ids = [self._tokenizer.bos_id, *(token for part in parts for token in part.tolist())]
        closing = [segment for segment in segments[answer + 1 :] if segment.form == "special"]
        return ids, special_id(self._tokenizer, closing[0].text) if closing else None


def apply_template(template: str, prompt: str) -> str:
    """The prompt, formatted as in the training documents of the template.

    Raises:
        ConfigError: If there is no such template.
    """
    if template == "text":
        return prompt
    if template not in TEMPLATES:
        names = ", ".join(("text", *TEMPLATES, "chat"))
        raise ConfigError(f"--template: found {template!r}, allowed: {names}")
    roles = (("instruction", prompt), ("input", ""), ("output", ""))
    return TEMPLATES[template](roles, 0)[0].text


def settings_of(sampling: Sampling) -> dict[str, Any]:
    """Generation settings for transformers."""
    common = {
        "max_new_tokens": sampling.max_new_tokens,
        "repetition_penalty": sampling.repetition_penalty,
    }
    if sampling.temperature == 0:
        return {**common, "do_sample": False}
    return {
        **common,
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
    }
