"""Merges learned on cut runs are those of byte-pair encoding on whole runs."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from linly.tokenization.words import word_merges
from linly.tokenization.words.script_runs import BETWEEN
from linly.tokenization.words.word_merges import learn_merges

RUNS = st.lists(st.lists(st.integers(3, 9), min_size=2, max_size=12), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(RUNS, st.integers(1, 12), st.integers(2, 6))
def test_cutting_between_rare_pairs_changes_no_merge(
    runs: list[list[int]], count: int, least: int
) -> None:
    ids = np.array([token for run in runs for token in (BETWEEN, *run)], np.int32)
    pairs, counts = word_merges._pair_counts(ids)
    cut = word_merges._cut(ids, pairs[counts >= least])
    found = word_merges._train(cut, count, least, show_progress=False)
    assert found == word_merges._train(ids, count, least, show_progress=False)
    assert len(cut) <= 2 * len(ids)


def test_fewer_merges_than_asked_for_are_all_that_occur_twice() -> None:
    ids = np.array([BETWEEN, 5, 6, 7, BETWEEN, 5, 6, 8], np.int32)
    assert [merge.ids for merge in learn_merges(ids, 9)] == [(5, 6)]
    assert learn_merges(np.array([BETWEEN], np.int32), 9) == []
