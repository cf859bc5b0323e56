"""Counting bad records, and the point at which there are too many of them to go on."""

from __future__ import annotations

from linly.data.types import BadRecord
from linly.errors import DataError

GRACE_RECORDS = 1000
"""Records a source reads before the rule applies: a fraction of a few records says nothing."""

NUM_REASONS = 3
"""Reasons that the error shows."""


class BadRecordRule:
    """Stops a source when more than `max_bad_fraction` of its records are bad.

    The counts are those of the source's cursor, so a resume neither forgets nor counts twice.
    """

    def __init__(self, source: str, max_bad_fraction: float) -> None:
        """Watch a source."""
        self._source = source
        self._max_bad_fraction = max_bad_fraction
        self._first: list[BadRecord] = []

    def saw_bad(self, record: BadRecord) -> None:
        """Remember the first reasons for the error's text."""
        if len(self._first) < NUM_REASONS:
            self._first.append(record)

    def check(self, *, num_records: int, num_bad: int) -> None:
        """Compare the counts so far with the rule.

        Raises:
            DataError: There are too many; names the source, the counts and the first reasons.
        """
        if num_records < GRACE_RECORDS or num_bad <= self._max_bad_fraction * num_records:
            return
        reasons = "".join(
            f"\n  {bad.shard}, record {bad.record}: {bad.reason}" for bad in self._first
        )
        raise DataError(
            f"source {self._source!r}: {num_bad} of {num_records} records are bad, more than "
            f"max_bad_fraction {self._max_bad_fraction:.2%}; raise max_bad_fraction in the corpus "
            f"file to go on without them, or mend the data and start another run. The first "
            f"ones:{reasons}"
        )
