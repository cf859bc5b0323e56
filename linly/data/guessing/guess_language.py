"""Guesses the language of texts: by a script that one language uses, else by py3langid."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from linly.config.sections.languages import UNKNOWN_LANGUAGE

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

MIN_SHARE = 0.5
"""Smallest share of a language among the texts that it is guessed at."""

_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7a3]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
    ("zh", re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")),
)
_MIN_SCRIPT_SHARE = 0.15
_LETTER = re.compile(r"[^\W\d_]")
_NUM_PIECES = 25
_TEXT_LIMIT = 500
_PIECE_SIZE = 300
"""Shorter texts are joined: a few words are not enough to tell their language."""

_NO_LANGUAGE = "zxx"
"""Code of ISO 639 for content without language, such as formulas."""


def guess_language(texts: Iterable[str]) -> str:
    """Return the language of most texts, `?` if it is not clear."""
    return language_of(language_shares(texts))


def language_of(shares: Mapping[str, float]) -> str:
    """Return the language with the largest share, `?` if that is small."""
    language = next(iter(shares), UNKNOWN_LANGUAGE)
    return language if shares.get(language, 0.0) >= MIN_SHARE else UNKNOWN_LANGUAGE


def language_shares(texts: Iterable[str]) -> dict[str, float]:
    """Return the languages of the first texts with their shares, the largest first.

    The shares are probabilities, averaged over the texts: those of a language that resembles
    another one, and of little text, are small.
    """
    totals: Counter[str] = Counter()
    for piece in islice(_pieces(texts), _NUM_PIECES):
        totals.update(_probabilities(piece))
    total = sum(totals.values())
    return {language: share / total for language, share in totals.most_common()} if total else {}


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    """Yield the beginnings of texts, short ones joined."""
    piece = ""
    for text in texts:
        piece += f"{text[:_TEXT_LIMIT]}\n"
        if len(piece) >= _PIECE_SIZE:
            yield piece
            piece = ""
    if piece:
        yield piece


def script_language(text: str) -> str | None:
    """Return the language whose own script a text uses; None for scripts of several languages."""
    num_letters = len(_LETTER.findall(text))
    for language, letters in _SCRIPTS:
        if num_letters and len(letters.findall(text)) / num_letters > _MIN_SCRIPT_SHARE:
            return language
    return None


def _probabilities(text: str) -> dict[str, float]:
    if (language := script_language(text)) is not None:
        return {language: 1.0}
    if _LETTER.search(text) is None:
        return {}
    return {
        language: probability
        for language, probability in _identifier().rank(text)
        if language != _NO_LANGUAGE
    }


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
