"""The record of a step: a line of metrics.jsonl, and the table's entry of each of its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter

from linly.records.measures import fill, largest, row_length
from linly.records.metrics import (
    Hidden,
    Line,
    MeasuredRecord,
    Metric,
    Within,
)

Count = Annotated[int, Field(ge=0, lt=1 << 62)]
Measure = float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord(MeasuredRecord):
    """A step of a run. A log of an earlier version may lack a metric, which then has its default.

    The file has the keys of the fields, in this order.

    Attributes:
        step: Number of the step, from 1.
        time: Seconds since 1970 at its end.
        tokens_seen: Tokens of all sources so far.
        lr: Learning rate.
        loss: Mean negative log-likelihood per supervised target of the global batch; like all
            measured values None for a step that a fork skipped.
        loss_by_source: Loss of each source of the step; None without targets.
        grad_norm: Gradient norm before clipping; null in the file if the step was skipped.
        tokens_per_second: Throughput, without evaluations and saves.
        data_wait_fraction: Fraction of the step spent waiting for rows.
        mfu: Model FLOPs utilization; None if the machine's peak is unknown.
        target_share_by_source: Planned share of the step's rows.
        realized_share_by_source: Share of the step's rows.
        rows_by_source: Rows so far.
        planned_rows_by_source: Planned rows up to the end of the step.
        drift_rows_by_source: Rows minus planned rows, at the step's row farthest from the plan.
        supervised_tokens_by_source: Supervised tokens so far.
        padding_by_source: Positions without a document so far.
        epoch_by_source: Epoch of the last row.
        skipped: Whether the guards refused its update, or a fork skipped it.
    """

    __pydantic_config__: ClassVar = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    step: Count
    time: Measure = None
    tokens_seen: Annotated[Count, Metric("tokens", tag="tokens_seen", shown=Within("tiles"))] = 0
    lr: Annotated[Measure, Metric("learning rate", tag="lr", shown=Within("lr"))] = None
    loss: Annotated[Measure, Metric("nats per token", tag="loss", shown=Within("loss"))] = None
    loss_by_source: Annotated[
        dict[str, Measure],
        Metric("nats per token", tag="loss/{}", shown=Within("loss"), alarm="loss_rise"),
    ] = field(default_factory=dict)
    grad_norm: Annotated[
        Measure,
        Metric("before clipping", tag="grad_norm", shown=Line("Gradient norm", is_compared=True)),
    ] = None
    tokens_per_second: Annotated[
        Measure,
        Metric(
            "tokens per second",
            tag="tokens_per_second",
            shown=Line("Throughput", is_compared=True),
        ),
    ] = None
    data_wait_fraction: Annotated[
        Measure,
        Metric(
            "fraction of a step",
            tag="data_wait_fraction",
            shown=Line("Waiting for data", tickformat=".1%"),
            alarm="data_wait",
        ),
    ] = None
    mfu: Annotated[
        Measure,
        Metric(
            "fraction of the machine's peak",
            tag="mfu",
            shown=Line("Model FLOPs utilization", tickformat=".0%"),
        ),
    ] = None
    target_share_by_source: Annotated[
        dict[str, float], Metric("share of rows", tag="share/{}/target", shown=Within("mixture"))
    ] = field(default_factory=dict)
    realized_share_by_source: Annotated[
        dict[str, float],
        Metric(
            "share of rows",
            tag="share/{}/realized",
            shown=Hidden("the page counts shares over many steps, from rows_by_source"),
        ),
    ] = field(default_factory=dict)
    rows_by_source: Annotated[
        dict[str, Count], Metric("rows", tag=None, shown=Within("since-start"), alarm="quarantine")
    ] = field(default_factory=dict)
    planned_rows_by_source: Annotated[
        dict[str, float], Metric("rows", tag=None, shown=Within("since-start"))
    ] = field(default_factory=dict)
    drift_rows_by_source: Annotated[
        dict[str, float],
        Metric("rows ahead of plan", tag="drift_rows/{}", shown=Within("drift"), alarm="drift"),
    ] = field(default_factory=dict)
    supervised_tokens_by_source: Annotated[
        dict[str, Count], Metric("tokens", tag=None, shown=Within("tokens"))
    ] = field(default_factory=dict)
    padding_by_source: Annotated[
        dict[str, Count], Metric("positions", tag=None, shown=Within("fill"))
    ] = field(default_factory=dict)
    epoch_by_source: Annotated[
        dict[str, float], Metric("epochs", tag=None, shown=Within("epochs"))
    ] = field(default_factory=dict)
    skipped: Annotated[bool, Metric("step", tag=None, shown=Within("header"))] = False

    DERIVED: ClassVar[Mapping[str, Metric]] = {
        "fill_by_source": Metric("fraction of a row", tag="fill/{}", shown=Within("fill")),
        "largest_drift_rows": Metric("rows", tag="drift_rows_largest", shown=Within("tiles")),
    }

    def to_json(self) -> dict[str, Any]:
        """Line of metrics.jsonl."""
        form: dict[str, Any] = STEP_FORM.dump_python(self)
        return form

    @property
    def fill_by_source(self) -> dict[str, float]:
        """Fraction of each source's positions so far that are not padding; only with rows."""
        length = row_length(self.tokens_seen, sum(self.rows_by_source.values()))
        return {
            source: float(fill(rows, self.padding_by_source.get(source, 0), row_length=length))
            for source, rows in self.rows_by_source.items()
            if rows
        }

    @property
    def largest_drift_rows(self) -> float | None:
        """Largest drift of any source in the step, ahead or behind; None without sources."""
        return largest(self.drift_rows_by_source)


STEP_FORM = TypeAdapter(StepRecord)
"""File form of a step."""
