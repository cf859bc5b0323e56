"""linly.data.documents.quarantine: too many bad records stop a source."""

from __future__ import annotations

import pytest

from linly.data.documents.quarantine import BadRecordRule
from linly.data.types import BadRecord
from linly.errors import DataError


def test_a_fraction_of_few_records_says_nothing() -> None:
    BadRecordRule("wiki", 0.01).check(num_records=999, num_bad=999)


def test_the_fraction_itself_is_allowed_and_one_more_is_not() -> None:
    rule = BadRecordRule("wiki", 0.01)
    rule.check(num_records=1000, num_bad=10)
    with pytest.raises(DataError):
        rule.check(num_records=1000, num_bad=11)


def test_the_error_names_source_counts_limit_and_first_reasons() -> None:
    rule = BadRecordRule("wiki", 0.01)
    for record in range(5):
        rule.saw_bad(BadRecord("wiki", "s.jsonl", record, f"reason {record}"))
    with pytest.raises(DataError) as caught:
        rule.check(num_records=2000, num_bad=50)
    text = str(caught.value)
    assert "source 'wiki': 50 of 2000 records are bad, more than max_bad_fraction 1.00%" in text
    assert "s.jsonl, record 0: reason 0" in text
    assert "record 2" in text
    assert "record 3" not in text
