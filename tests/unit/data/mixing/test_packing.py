"""linly.data.mixing.packing: no token is lost, labels are right."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from linly.data.cursor import DocumentPosition, SourceCursor
from linly.data.mixing.packing import EncodedSpan, PackedRow, make_row, pack_best_fit
from linly.data.types import IGNORE_LABEL, EncodedDocument
from linly.records.span import Span


def document(record: int, length: int, *, prompt: int = 1) -> EncodedDocument:
    """Tokens 1000 * record + position; no loss on the first `prompt`."""
    supervised = np.arange(length) >= prompt
    ids = (1000 * record + np.arange(length)).astype(np.int32)
    return EncodedDocument("shard", record, ids, supervised)


@given(st.lists(st.integers(1, 70), max_size=40), st.integers(4, 32))
@settings(max_examples=200, deadline=None)
def test_best_fit_loses_no_token_and_cuts_only_documents_longer_than_a_row(
    lengths: list[int], sequence_length: int
) -> None:
    documents = [document(record, length) for record, length in enumerate(lengths)]
    rows = pack_best_fit(documents, sequence_length)
    assert all(0 < sum(map(len, row)) <= sequence_length for row in rows)
    packed = [span for row in rows for span in row]
    for record, length in enumerate(lengths):
        spans = sorted((s.start, s.end) for s in packed if s.document.record == record)
        edges = [*range(0, length, sequence_length), length]
        assert spans == list(pairwise(edges))


def test_best_fit_takes_the_fullest_row_that_fits() -> None:
    lengths = [7, 5, 3, 2, 3]
    rows = pack_best_fit([document(r, length) for r, length in enumerate(lengths)], 10)
    assert sorted([s.document.record for s in row] for row in rows) == [[0, 2], [1, 3, 4]]


def test_best_fit_of_nothing_is_no_row() -> None:
    assert pack_best_fit([], 8) == []


def test_labels_are_absent_at_document_starts_masked_prompts_and_padding() -> None:
    spans = [
        EncodedSpan(document(1, 4), 2, 4),
        EncodedSpan(document(2, 3), 0, 3),
        EncodedSpan(document(3, 5, prompt=3), 0, 5),
    ]
    packed = PackedRow(2, spans, DocumentPosition(), ())
    row = make_row(packed, SourceCursor(), source="wiki", sequence_length=12, padding_id=9)
    none = IGNORE_LABEL
    assert row.ids.tolist() == [1002, 1003, 2000, 2001, 2002, *range(3000, 3005), 9, 9]
    assert row.labels.tolist() == [
        *(none, 1003),  # goes on from the row before: nothing here predicts its first token
        *(none, 2001, 2002),
        *(none, none, none, 3003, 3004),
        *(none, none),
    ]
    assert row.starts.tolist() == [0, 2, 5]
    assert row.starts.dtype == row.ids.dtype == row.labels.dtype == np.int32
    assert row.spans[0] == Span("shard", 1, 2, 4)
    assert (row.num_padding, row.num_supervised, row.epoch) == (2, 5, 2)
