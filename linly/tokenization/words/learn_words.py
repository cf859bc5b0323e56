"""Learn words from texts and append them to a vocabulary, proved on the same texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from linly.errors import ConfigError
from linly.tokenization.hugging_face.torture import torture_texts
from linly.tokenization.tokenizer import Tokenizer
from linly.tokenization.words.script_runs import BETWEEN, RunFinder
from linly.tokenization.words.scripts import Script
from linly.tokenization.words.word_count import (
    MAX_COUNT,
    CountPoint,
    largest_worthwhile,
    measure_counts,
    split_texts,
    without_rare,
)
from linly.tokenization.words.word_expansion import check_expansion
from linly.tokenization.words.word_merges import WordMerge, learn_merges
from linly.tokenization.words.word_vocabulary import append_words, usable_words, why_no_words


@dataclass(frozen=True, slots=True)
class LearnedWords:
    """A vocabulary with learned words.

    Attributes:
        tokenizer: The new vocabulary.
        merges: The words, in the order of their ids.
        num_left_out: Merges that were learned and left out: no text would produce their token, or
            they are too rare.
        num_verified: Texts on which old ids were compared.
    """

    tokenizer: Tokenizer
    merges: tuple[WordMerge, ...]
    num_left_out: int
    num_verified: int


def learn_words(
    base: Tokenizer,
    script: Script,
    texts: Sequence[str],
    count: int,
    *,
    show_progress: bool = False,
) -> LearnedWords:
    """Append the `count` words of a script that byte-pair encoding finds first.

    Args:
        base: The vocabulary to extend.
        script: Characters that words are made of.
        texts: Texts to learn from.
        count: Number of words.
        show_progress: Whether to draw progress on a terminal.

    Raises:
        ConfigError: If the vocabulary cannot take words, the texts have too few, or an id of other
            text changed.
    """
    found, num_left_out = find_words(base, script, texts, count, show_progress=show_progress)
    if len(found) < count:
        raise ConfigError(
            f"count: found {count:,}, but the texts hold only {len(found):,} words that occur "
            f"twice; lower it or use more text"
        )
    return with_words(base, found, texts, num_left_out=num_left_out)


def learn_some_words(
    base: Tokenizer,
    script: Script,
    texts: Sequence[str],
    *,
    least_gain: float,
    min_seen: int,
    run_tokens: int,
    show_progress: bool = False,
) -> tuple[LearnedWords, tuple[CountPoint, ...]]:
    """Append as many words as the rule of `word_count` chooses.

    Args:
        base: The vocabulary to extend.
        script: Characters that words are made of.
        texts: Texts to learn from; a tenth of them measures the fertility instead.
        least_gain: Smallest fraction of tokens that a thousand words must save.
        min_seen: Smallest number of times that each word is expected in the run.
        run_tokens: Tokens of such texts in the run.
        show_progress: Whether to draw progress on a terminal.

    Returns:
        The words, and the fertility by count.

    Raises:
        ConfigError: If the vocabulary cannot take words, no word meets the rule, or an id of other
            text changed.
    """
    learned, measured = split_texts(texts)
    found, num_left_out = find_words(base, script, learned, MAX_COUNT, show_progress=show_progress)
    points = measure_counts(base, found, measured)
    worthwhile = found[: largest_worthwhile(points, least_gain)]
    fertility = min(point.tokens_per_character for point in points)
    run_characters = run_tokens / fertility
    least = min_seen * sum(map(len, texts)) / run_characters
    kept = without_rare(base, worthwhile, texts, max(1.0, least))
    if not kept:
        raise ConfigError(
            f"--count auto: no word saves enough: {least_gain:.1%} of the tokens per thousand "
            f"words, each seen {min_seen:,} times in {run_tokens:,} tokens; pass a count"
        )
    num_left_out += len(worthwhile) - len(kept)
    return with_words(base, kept, texts, num_left_out=num_left_out), points


def find_words(
    base: Tokenizer,
    script: Script,
    texts: Sequence[str],
    count: int,
    *,
    show_progress: bool = False,
) -> tuple[tuple[WordMerge, ...], int]:
    """At most `count` words in the order learned, and the number of merges left out of them.

    Raises:
        ConfigError: If the vocabulary cannot take words, or the texts have no run of the script.
    """
    reason = why_no_words(base)
    if reason is not None:
        raise ConfigError(f"words cannot be appended to this vocabulary: {reason}")
    runs = RunFinder(base, script).runs(texts)
    _check_runs(runs)
    asked = count
    while True:
        learned = learn_merges(runs, asked, show_progress=show_progress)
        usable = usable_words(base, learned)
        if len(usable) >= count or len(learned) < asked:
            chosen = usable[:count]
            place = len(learned) if len(usable) <= count else learned.index(chosen[-1]) + 1
            return chosen, place - len(chosen)
        asked += 2 * (count - len(usable)) + 16


def with_words(
    base: Tokenizer, merges: Sequence[WordMerge], texts: Sequence[str], *, num_left_out: int
) -> LearnedWords:
    """Append words, and compare the ids of texts and of hard strings."""
    made = append_words(base, merges)
    pieces = [made.tokenizer.readable(token) for token in range(made.tokenizer.vocab_size)]
    num_verified = check_expansion(
        base,
        made.tokenizer,
        [merge.ids for merge in made.merges],
        chain(torture_texts([piece for piece in pieces if piece]), texts),
    )
    return LearnedWords(made.tokenizer, made.merges, num_left_out, num_verified)


def _check_runs(runs: NDArray[np.int32]) -> None:
    if not np.any(runs != BETWEEN):
        raise ConfigError(
            "the texts have no two characters of the script side by side that the base vocabulary "
            "has tokens for; append its characters first: linly vocab characters, then "
            "linly vocab extend"
        )
