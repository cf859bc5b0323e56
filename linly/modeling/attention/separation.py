"""Separation of the documents that share a row, tested on the model itself.

    way        how a model learns where documents begin
    positions  `position_ids` that restart; transformers limits the mask to documents
    bounds     the bounds of documents, for the varlen backend (attention.py)
    mask       masks limited by linly, for models that do not pass positions (document_masks.py)

The way that works for a model is measured, not looked up: documents go through the model together
and alone. The result must be the same whatever comes before a document in its row, whatever is in
the other rows of the batch, and however long those are: some rotary embeddings scale by the longest
position of a batch. A model for which no way works (state spaces, recurrences) is refused.

For each way, the probe is three forward passes over 64 tokens, one over 16 and, if they agree, one
in training mode over 256 tokens, or more if the chunks of a recurrence are longer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import transformers
from transformers import PretrainedConfig, PreTrainedModel

from linly.config.recipe import Recipe
from linly.errors import ConfigError
from linly.modeling.attention.attention import (
    backends_to_try,
    document_bounds,
    set_attention,
    usual_backend,
)
from linly.modeling.attention.document_masks import (
    masks_limited_to_documents,
    recorded_masks,
    sees_whole_row,
)

Way = Literal["positions", "bounds", "mask"]
_PROBE_TOKENS, _LONG_ROW_TOKENS = 16, 256
_CHUNK_KEYS = ("chunk_size", "mamba_chunk_size")
"""Names of the positions that a recurrence computes at once."""


class _Tolerance(NamedTuple):
    """Relative differences due to rounding: for equal shapes; for other shapes or backends."""

    same: float
    close: float


_FP32, _FEWER_BITS = _Tolerance(1e-5, 1e-3), _Tolerance(1e-3, 5e-2)


@dataclass(frozen=True, slots=True)
class RowLayout:
    """Contents of a training row.

    Attributes:
        length: Positions of a row.
        documents: `apart`, several that must not see each other; `single`, one and padding;
            `joined`, several that see each other (`data.attention: full`).
    """

    length: int = 2048
    documents: Literal["apart", "single", "joined"] = "apart"


def row_layout(recipe: Recipe) -> RowLayout:
    """Layout of the rows of a recipe."""
    length = recipe.data.sequence_length
    if recipe.data.attention == "full":
        return RowLayout(length, "joined")
    packings = {corpus.packing for corpus in recipe.corpora.values()}
    return RowLayout(length, "single" if packings == {"one-document"} else "apart")


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention backend of a model and its way to keep documents apart.

    Attributes:
        backend: Name of the backend, see attention.py.
        way: Way to keep the documents of a row apart.
        note: Reason why it is not the fastest backend, if so.
    """

    backend: str
    way: Way
    note: str | None = None

    def __str__(self) -> str:
        """The backend, and the reason if it is not the fastest."""
        return f"{self.backend} ({self.note})" if self.note else self.backend


def forward_rows(
    module: Any,
    way: Way,
    ids: torch.Tensor,
    position_ids: torch.Tensor,
    bounds: torch.Tensor | None = None,
) -> Any:
    """Run a model, or its decoder, on rows whose documents begin where positions restart.

    Args:
        module: A causal language model or its decoder.
        way: Way to keep documents apart.
        ids: int64 [rows, positions].
        position_ids: int64 [rows, positions], from 0 at each document.
        bounds: int32 [documents + 1], `document_bounds`, for the way of this name.
    """
    arguments: dict[str, Any] = {}
    if way == "bounds":
        arguments["cu_seq_lens_q"] = bounds
    if way == "mask":
        # Models without `position_ids` (ALiBi) count positions over the padding mask: here the
        # count gives each document's own. Nothing reads it as a padding mask in this context.
        arguments["attention_mask"] = torch.diff(
            position_ids, prepend=torch.full_like(position_ids[:, :1], -1)
        )
    with masks_limited_to_documents(position_ids) if way == "mask" else nullcontext():
        return module(input_ids=ids, position_ids=position_ids, use_cache=False, **arguments)


def choose_attention(
    asked: str, model: PreTrainedModel, device: torch.device, layout: RowLayout
) -> Attention:
    """Choose the backend for `training.attention_backend`, and the way, for a layout of rows.

    The choice is the fastest backend that gives a document the same result as the model's usual
    backend gives it alone. The model is left with this backend.

    Raises:
        ConfigError: If there is none, or the requested backend is not available.
    """
    usual = usual_backend(model)
    note = None
    for backend in backends_to_try(asked, model, device):
        obstacles = []
        for way in _ways(backend):
            obstacle = find_obstacle(model, backend, way, usual, layout)
            if obstacle is None:
                set_attention(model, backend)
                return Attention(backend, way, note)
            obstacles.append(obstacle)
        note = f"not {backend}: {obstacles[0].text}"
    if backend != usual:
        raise ConfigError(
            f"training.attention_backend: found {backend}, which does not compute this model's "
            f"attention: {obstacles[0].text}; set auto"
        )
    kind = model.config.model_type
    raise ConfigError(f"model of type {kind}: {obstacles[0].text}. {obstacles[0].cure}")


def way_of_evaluation(model: PreTrainedModel, length: int) -> Way | None:
    """Way in which the model's usual backend keeps documents of a row apart; None if it does not.

    Args:
        model: Model on its device, with its usual backend.
        length: Positions of a row.
    """
    usual, layout = usual_backend(model), RowLayout(length, "apart")
    for way in _ways(usual):
        if find_obstacle(model, usual, way, usual, layout) is None:
            return way
    return None


def _ways(backend: str) -> tuple[Way, ...]:
    return ("bounds",) if backend == "varlen" else ("positions", "mask")


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Reason why documents are not kept apart, and the cure."""

    text: str
    cure: str


_CURE = (
    "Set `data.packing: one-document` (a document a row, padded), or `data.attention: full` "
    "(documents of a row see each other)"
)
_CURE_OF_SCALING = (
    "Set data.sequence_length to the length that it was made for, or `data.attention: full`, with "
    "which all rows are equally long"
)
_CURE_OF_FAILURE = (
    f"The installed transformers ({transformers.__version__}) cannot train it this way"
)


@torch.no_grad()
def find_obstacle(
    model: PreTrainedModel, backend: str, way: Way, usual: str, layout: RowLayout
) -> Obstacle | None:
    """Compare documents computed together with a document computed alone.

    Args:
        model: Model on its device. It is left with the usual backend.
        backend: Backend for the documents together.
        way: Way to keep them apart.
        usual: Backend for the document alone.
        layout: Contents of a row.

    Returns:
        The difference and its cure, or None.
    """
    was_training = model.training
    model.train(False)
    try:
        return _compare(_Probe(model, layout), backend, way)
    except torch.OutOfMemoryError:
        raise
    except ConfigError as error:
        return Obstacle(str(error), _CURE)
    except Exception as error:  # models raise anything on arguments that they do not know
        reason = str(error).splitlines() or [""]
        text = f"its forward pass in {model.dtype} failed: {type(error).__name__}: {reason[0]}"
        return Obstacle(text, _CURE_OF_FAILURE)
    finally:
        set_attention(model, usual)
        model.train(was_training)


class _Span(NamedTuple):
    """A probe document: its tokens and its first position."""

    ids: torch.Tensor
    first: int


class _Probe:
    """Rows of a layout around one document, and the model's logits for it."""

    def __init__(self, model: PreTrainedModel, layout: RowLayout) -> None:
        """Draw the documents, the same ones for a given vocabulary and length."""
        self.model, self.layout = model, layout
        self._size = min(_PROBE_TOKENS, layout.length // 2)
        self._embedding: torch.Tensor = model.get_input_embeddings().weight  # type: ignore[assignment]
        vocabulary = len(self._embedding)
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(vocabulary, (3, self._size), generator=generator)
        self._target = _Span(ids[0], 0)
        self.near, self.other = _Span(ids[1], 0), _Span(ids[2], 0)
        self.far = _Span(ids[2], layout.length - self._size)
        length = _long_row(layout.length, model.config)
        self._long = _Span(torch.randint(vocabulary, (length,), generator=generator), 0)

    def alone(self) -> torch.Tensor:
        """Logits of the document in a row of its own."""
        return self._logits("positions", [[self._target]])[0]

    def together(self, way: Way, companion: _Span) -> list[torch.Tensor]:
        """Logits of the document before or beside a companion, and after it in rows of both."""
        size = self._size
        if self.layout.documents == "joined":
            return [self._logits(way, [[self._target]])[0]]
        if self.layout.documents == "single":
            return [self._logits(way, [[companion], [self._target]])[1]]
        logits = self._logits(way, [[companion, self._target], [self._target, companion]])
        return [logits[1, :size], logits[0, size:]]

    def train(self, way: Way) -> None:
        """Run the model in training mode on a row that is longer than the chunks of recurrences.

        Some models compute differently in training mode, and a backend may lack attention dropout.
        """
        self.model.train()
        self._logits(way, [[self._long]])

    def _logits(self, way: Way, rows: list[list[_Span]]) -> torch.Tensor:
        ids = torch.stack([torch.cat([span.ids for span in row]) for row in rows])
        positions = torch.stack(
            [torch.cat([torch.arange(len(s.ids)) + s.first for s in row]) for row in rows]
        )
        moved = [
            each.to(self._embedding.device) for each in (ids, positions, document_bounds(positions))
        ]
        logits: torch.Tensor = forward_rows(self.model, way, *moved).logits
        return logits.float()


def _long_row(length: int, config: PretrainedConfig) -> int:
    """Length of a row that has at least one whole chunk and the same rest as a training row."""
    chunk = max(getattr(config, key, None) or 1 for key in _CHUNK_KEYS)
    beyond = max(length - _LONG_ROW_TOKENS, 0)
    return min(length, _LONG_ROW_TOKENS) if chunk == 1 else length - beyond // chunk * chunk


def _compare(probe: _Probe, backend: str, way: Way) -> Obstacle | None:
    model, layout = probe.model, probe.layout
    limits = _FP32 if model.dtype == torch.float32 else _FEWER_BITS
    with recorded_masks() as masks:
        alone = probe.alone()
    if backend == "varlen" and not (
        masks and all(sees_whole_row(mask, layout.length, alone.device) for mask in masks)
    ):
        return Obstacle("its attention has windows, chunks or masks of its own", _CURE)
    set_attention(model, backend)
    base = probe.together(way, probe.near)
    if layout.documents != "joined":
        changed, distant = (probe.together(way, span) for span in (probe.other, probe.far))
        # Nothing before the document changed in its first place: that difference is rounding.
        noise = 8 * _difference(base[0], changed[0])
        same = min(max(limits.same, noise), limits.close)
        if (seen := _largest(base, changed)) > same:
            return Obstacle(
                f"documents of a row see each other (another one changes logits by {seen:.1%})",
                _CURE,
            )
        if (seen := _largest(base, distant)) > same:
            return Obstacle(
                f"a document's logits change by {seen:.1%} with the length of others in its batch: "
                "its rotary positions scale with the longest",
                _CURE_OF_SCALING,
            )
    if (seen := max(_difference(alone, each) for each in base)) > limits.close:
        return Obstacle(
            f"a document's logits differ by {seen:.1%} from those of the document alone", _CURE
        )
    probe.train(way)
    return None


def _largest(left: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> float:
    return max(_difference(a, b) for a, b in zip(left, right, strict=True))


def _difference(left: torch.Tensor, right: torch.Tensor) -> float:
    """Norm of the difference relative to the norm; infinite where either is not finite."""
    relative = float((left - right).norm() / left.norm())
    return relative if math.isfinite(relative) else math.inf
