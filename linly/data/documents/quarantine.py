"""Counts bad records and stops a source that has too many of them."""

from __future__ import annotations

from collections.abc import Sequence

from linly.data.types import BadRecord
from linly.errors import DataError

GRACE_RECORDS = 1000
"""Minimum number of records before the rule applies: a fraction of a few has no meaning."""

NUM_REASONS = 3
"""Number of reasons shown in the error."""


class BadRecordRule:
    """Stops a source if more than `max_bad_fraction` of its records are bad.

    The counts come from the source's cursor, so a resume neither loses nor repeats records.
    """

    def __init__(self, source: str, max_bad_fraction: float) -> None:
        """Start counting for a source."""
        self._source = source
        self._max_bad_fraction = max_bad_fraction
        self._first: list[BadRecord] = []

    def saw_bad(self, record: BadRecord) -> None:
        """Store the first reasons for the error message."""
        if len(self._first) < NUM_REASONS:
            self._first.append(record)

    def check(self, *, num_records: int, num_bad: int) -> None:
        """Compare the current counts with the rule.

        Raises:
            DataError: If there are too many; names the source, the counts and the first reasons.
        """
        if num_records < GRACE_RECORDS or num_bad <= self._max_bad_fraction * num_records:
            return
        raise DataError(
            f"source {self._source!r}: {num_bad} of {num_records} records are bad, more than "
            f"max_bad_fraction {self._max_bad_fraction:.2%}; raise max_bad_fraction in the corpus "
            f"file to continue without them, or correct the data and start a new run. The first "
            f"ones:{reasons_of(self._first)}"
        )


def reasons_of(records: Sequence[BadRecord]) -> str:
    """Places and reasons of the first records, each on a line of its own."""
    return "".join(
        f"\n  {bad.shard}, record {bad.record}: {bad.reason}" for bad in records[:NUM_REASONS]
    )
