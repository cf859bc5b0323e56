"""The table of metrics: unit, name for plotting programs, place on the page and alarm of each.

A metric is a field of a record: the field gives its key in the file and its type, a number or a
number per source, and the entry in its annotation everything else::

    grad_norm: Annotated[
        Measure, Metric("before clipping", tag="grad_norm", shown=Line("Gradient norm"))
    ] = None

A figure that is computed from a record and not stored is a property of the record, with its entry
in the record's `DERIVED`. `metrics_of` is the table of a record. Plotting programs get every tag,
and the page draws every `Line`, without further code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_type_hints

AlarmRule = Literal["drift", "loss_rise", "forgetting", "task_drop", "data_wait", "quarantine"]
"""Alarm rules, by the name of their threshold in `AlarmSettings`."""


@dataclass(frozen=True, slots=True)
class Line:
    """A chart of its own over tokens seen: one line, or one line per source.

    Attributes:
        title: Title of the chart.
        tickformat: Number format of the vertical axis, in d3's form.
        is_compared: Whether pages that compare runs show it too; of one number per step only.
    """

    title: str
    tickformat: str = ""
    is_compared: bool = False


@dataclass(frozen=True, slots=True)
class Within:
    """Part of a page that shows the metric together with others: key of a chart or page part."""

    part: str


@dataclass(frozen=True, slots=True)
class Hidden:
    """A metric that the page does not show, and the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Metric:
    """Entry of the table.

    Attributes:
        unit: Unit, as on the axis of a chart.
        tag: Key for TensorBoard and Weights & Biases, with `{}` for the source or language; None
            if it is not exported.
        shown: Place on the page.
        alarm: Alarm rule that watches it; None if none does.
    """

    unit: str
    tag: str | None
    shown: Line | Within | Hidden
    alarm: AlarmRule | None = None


class MeasuredRecord:
    """Base of the records with metrics."""

    __slots__ = ()
    DERIVED: ClassVar[Mapping[str, Metric]] = {}
    """Metrics that are properties of the record, by name."""
    TAG_PREFIX: ClassVar[str] = ""
    """Prefix of the tags of the record, and of the records in it."""


def metrics_of(record: type[MeasuredRecord]) -> Mapping[str, Metric]:
    """Metrics of a record by key, in the order of its fields; nested records are not included."""
    if record not in _tables:  # reading the annotations takes a millisecond
        _tables[record] = _read_table(record)
    return _tables[record]


_tables: dict[type[MeasuredRecord], Mapping[str, Metric]] = {}


def _read_table(record: type[MeasuredRecord]) -> Mapping[str, Metric]:
    hints = get_type_hints(record, include_extras=True)
    stored = {
        key: extra
        for key, hint in hints.items()
        for extra in getattr(hint, "__metadata__", ())
        if isinstance(extra, Metric)
    }
    return {**stored, **record.DERIVED}
