"""The record of an evaluation: a line of evaluations.jsonl, with the entries of its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import orjson
from pydantic import ConfigDict, Field, TypeAdapter

from linly.records.metrics import Hidden, MeasuredRecord, Metric, Within
from linly.records.step_record import Count, Measure
from linly.records.task_record import TaskEvaluation

_STRICT = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEvaluation(MeasuredRecord):
    """Held-out documents of one source at one step.

    Attributes:
        language: Language of the corpus, such as "zh".
        kind: text | parallel | instruction | conversation.
        documents: Number of documents.
        loss: Mean negative log-likelihood per supervised target, in nats.
        bits_per_byte: Their total in bits, per UTF-8 byte of the supervised text.
        tokens: Number of supervised targets.
        size_bytes: UTF-8 bytes of the supervised text (`bytes` in the file).
    """

    __pydantic_config__: ClassVar = _STRICT

    language: str = ""
    kind: str = "text"
    documents: Count = 0
    loss: Annotated[
        Measure,
        Metric(
            "nats per token",
            tag="held_out_loss/{}",
            shown=Hidden("bits per byte compares sources and vocabularies"),
        ),
    ] = None
    bits_per_byte: Annotated[
        Measure,
        Metric(
            "bits per byte",
            tag="bits_per_byte/{}",
            shown=Within("before-after"),
            alarm="forgetting",
        ),
    ] = None
    tokens: Count = 0
    size_bytes: Annotated[Count, Field(alias="bytes")] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageEvaluation(MeasuredRecord):
    """Held-out text of one language (`before_after.results_by_language`).

    Attributes:
        bits_per_byte: Bits per UTF-8 byte of the supervised text.
        change: Change since step 0, such as 0.1 for a rise by 10%; None without a value at step 0.
            A rise in the language that the base model knows is forgetting.
    """

    __pydantic_config__: ClassVar = _STRICT

    bits_per_byte: Annotated[
        Measure, Metric("bits per byte", tag="language/{}/bits_per_byte", shown=Within("languages"))
    ] = None
    change: Annotated[
        Measure, Metric("change since step 0", tag="language/{}/change", shown=Within("tiles"))
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPieceStatistics(MeasuredRecord):
    """Use and embedding norms of the vocabulary's new pieces.

    Attributes:
        num_pieces: Number of new pieces.
        num_seen: Number of new pieces in the tokens so far.
        share_of_tokens: Their share of these tokens; None before the first.
        norm: Mean norm of their rows of the input embedding.
        norm_of_others: Mean norm of all other rows.
    """

    __pydantic_config__: ClassVar = _STRICT

    num_pieces: Annotated[
        Count, Metric("pieces", tag="new_pieces/num_pieces", shown=Within("new-pieces"))
    ] = 0
    num_seen: Annotated[
        Count, Metric("pieces", tag="new_pieces/num_seen", shown=Within("new-pieces"))
    ] = 0
    share_of_tokens: Annotated[
        Measure, Metric("part", tag="new_pieces/share_of_tokens", shown=Within("new-pieces"))
    ] = None
    norm: Annotated[
        Measure, Metric("mean norm of a row", tag="new_pieces/norm", shown=Within("norms"))
    ] = None
    norm_of_others: Annotated[
        Measure,
        Metric("mean norm of a row", tag="new_pieces/norm_of_others", shown=Within("norms")),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageEvaluation(MeasuredRecord):
    """Evaluation of averaged weights (`training.average`), beside that of the last weights.

    Attributes:
        samples: Number of samples of the weights in the mean.
        first_step: Step of the first sample.
        last_step: Step of the last sample.
        sources: Results by source, of sources with held-out documents.
        languages: Results by language; changes are relative to the original model.
    """

    __pydantic_config__: ClassVar = _STRICT
    TAG_PREFIX: ClassVar[str] = "average/"

    samples: Annotated[Count, Metric("samples", tag=None, shown=Within("languages"))] = 0
    first_step: Count = 0
    last_step: Count = 0
    sources: dict[str, SourceEvaluation] = field(default_factory=dict)
    languages: dict[str, LanguageEvaluation] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """`averaged weights of steps 200-400`."""
        return f"averaged weights of steps {self.first_step}-{self.last_step}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord(MeasuredRecord):
    """Evaluation of all sources' held-out documents at one step; step 0 is the original model.

    Attributes:
        step: Number of steps before the evaluation.
        time: Seconds since 1970 at its end.
        tokens_seen: Tokens of all sources so far.
        sources: Results by source, of sources with held-out documents.
        languages: Results by language.
        loss_at_fixed_shares: Loss of all sources at the final shares of the first curriculum; None
            without held-out documents.
        loss_at_current_shares: Loss of all sources at the planned shares of this step.
        new_pieces: Statistics of the vocabulary's new pieces; None if it has none.
        average: Evaluation of the averaged weights; None if there are none yet.
        tasks: Results by task, of an evaluation that includes the tasks.
        weight_drift: Norm of the weights' change since the model folder, relative to their norm
            there, by part: `all`, `embedding`, `layer-0` and so on, `head`, `other`.
    """

    __pydantic_config__: ClassVar = _STRICT

    step: Count
    time: Measure = None
    tokens_seen: Annotated[Count, Metric("tokens", tag="tokens_seen", shown=Within("tiles"))] = 0
    sources: dict[str, SourceEvaluation] = field(default_factory=dict)
    languages: dict[str, LanguageEvaluation] = field(default_factory=dict)
    loss_at_fixed_shares: Annotated[
        Measure,
        Metric("nats per token", tag="held_out_loss_at_fixed_shares", shown=Within("together")),
    ] = None
    loss_at_current_shares: Annotated[
        Measure, Metric("nats per token", tag=None, shown=Within("together"))
    ] = None
    new_pieces: NewPieceStatistics | None = None
    average: AverageEvaluation | None = None
    tasks: dict[str, TaskEvaluation] = field(default_factory=dict)
    weight_drift: Annotated[
        dict[str, Measure],
        Metric("relative distance", tag="weight_drift/{}", shown=Within("weight-drift")),
    ] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Line of evaluations.jsonl."""
        form: dict[str, Any] = EVALUATION_FORM.dump_python(self, by_alias=True)
        return form


EVALUATION_FORM = TypeAdapter(EvaluationRecord)
"""File form of an evaluation."""

_AVERAGE = TypeAdapter(AverageEvaluation)
_SOURCES = TypeAdapter(dict[str, SourceEvaluation])


def sources_form(sources: Mapping[str, SourceEvaluation]) -> dict[str, Any]:
    """Results by source as a JSON object, for a checkpoint's state."""
    form: dict[str, Any] = _SOURCES.dump_python(dict(sources), by_alias=True)
    return form


def parse_sources(form: Mapping[str, Any]) -> dict[str, SourceEvaluation]:
    """Results by source from a checkpoint's state, which was checked before."""
    return _SOURCES.validate_json(orjson.dumps(form))


def average_form(average: AverageEvaluation | None) -> dict[str, Any] | None:
    """Evaluation of averaged weights as a JSON object, for a checkpoint's state."""
    return None if average is None else _AVERAGE.dump_python(average, by_alias=True)


def parse_average(state: Mapping[str, Any]) -> AverageEvaluation | None:
    """Evaluation of averaged weights from a checkpoint's state; None if it has none."""
    form = state.get("latest_average")
    return None if form is None else _AVERAGE.validate_json(orjson.dumps(form))
