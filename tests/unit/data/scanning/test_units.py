"""linly.data.scanning.units: texts that differ in case, punctuation or form have equal units."""

from __future__ import annotations

import numpy as np
import pytest

from linly.data.scanning.units import ngrams_of, units_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello, World! Don't.", "ＨＥＬＬＯ　world—don’t"),
        ("下列说法，正确的是（　）。", "下列说法正确的是"),
        ("zero\u200bwidth", "zerowidth"),
        ("A. 42 %", "a 42"),
        ("ﬁne", "fine"),
    ],
)
def test_form_and_punctuation_make_no_difference(one: str, other: str) -> None:
    assert units_of([one]).hashes.tolist() == units_of([other]).hashes.tolist()


def test_words_and_single_characters_are_units() -> None:
    units = units_of(["中文abc12 x", "", "ไทย かな"])
    assert units.singles.tolist() == [True, True, False, False, *[True] * 5]
    assert units.texts.tolist() == [0, 0, 0, 0, 2, 2, 2, 2, 2]
    assert len(set(units.hashes.tolist())) == len(units.hashes)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 13, 16])
def test_ngrams_are_equal_where_their_units_are(length: int) -> None:
    words = [f"w{index % 7}" for index in range(40)]
    text = " ".join(words)
    ngrams = ngrams_of(units_of([text, "other words " + text]), length)
    plain = [" ".join(words[i : i + length]) for i in range(len(words) - length + 1)]
    hashes = ngrams.hashes[ngrams.texts == 0].tolist()
    assert len(hashes) == len(plain)
    assert len(set(hashes)) == len(set(plain)) == len(set(zip(plain, hashes, strict=True)))
    assert ngrams.hashes[ngrams.texts == 1].tolist()[2:] == hashes


def test_no_ngram_spans_two_texts() -> None:
    apart = ngrams_of(units_of(["a b c", "d e f"]), 4)
    assert len(apart.hashes) == 0
    assert ngrams_of(units_of([]), 2).hashes.dtype == np.uint64
