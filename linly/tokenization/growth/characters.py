"""Character lists by a fixed rule, from standards in Python's codecs and Unicode.

The default list for Chinese is, in this order: the Chinese characters of GB2312 in code order
(level 1 by pronunciation, then level 2 by radical: the most frequent 3,755 first), punctuation
(GB2312's row of signs, the CJK Symbols and Punctuation block, full-width ASCII), and the
characters of Big5 level 1. Characters in the base vocabulary are left out, and the first `count` of
the rest are chosen: 8,076 of 8,308 for LLaMA.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from linly.errors import ConfigError
from linly.files import read_limited
from linly.tokenization.model_file import SPACE

DEFAULT_STANDARDS = ("gb2312", "punctuation", "big5")
PUBLISHED_COUNT = 8076
"""Number of characters that Linly added to LLaMA: the one count that may end inside Big5."""

FILE_SIZE_LIMIT_BYTES = 1 << 26

_HAN_FIRST, _HAN_LAST = "\u4e00", "\u9fff"


def _two_byte_rows(codec: str, lead: range, trail: range) -> Iterator[str]:
    """Characters of a two-byte code in code order, without unassigned positions."""
    for first in lead:
        for second in trail:
            try:
                character = bytes((first, second)).decode(codec)
            except UnicodeDecodeError:
                continue
            if len(character) == 1:
                yield character


def _gb2312() -> Iterator[str]:
    return _two_byte_rows("gb2312", range(0xB0, 0xF8), range(0xA1, 0xFF))


def _punctuation() -> Iterator[str]:
    yield from _two_byte_rows("gb2312", range(0xA1, 0xA2), range(0xA1, 0xFF))
    yield from map(chr, range(0x3000, 0x3040))
    yield from map(chr, range(0xFF01, 0xFF5F))


def _big5() -> Iterator[str]:
    level_1 = _two_byte_rows("big5", range(0xA4, 0xC7), range(0x40, 0xFF))
    return (c for c in level_1 if _HAN_FIRST <= c <= _HAN_LAST)


def _gbk() -> Iterator[str]:
    rows = _two_byte_rows("gbk", range(0x81, 0xFF), range(0x40, 0xFF))
    return (c for c in rows if _HAN_FIRST <= c <= _HAN_LAST)


def _jis() -> Iterator[str]:
    """Kana, the signs of JIS X 0208's first row, and its kanji of both levels."""
    for first, last in ((0xA4, 0xA6), (0xA1, 0xA2), (0xB0, 0xF5)):
        yield from _two_byte_rows("euc_jp", range(first, last), range(0xA1, 0xFF))


def _ksx1001() -> Iterator[str]:
    """The 2,350 syllables of KS X 1001, and its jamo."""
    yield from _two_byte_rows("euc_kr", range(0xB0, 0xC9), range(0xA1, 0xFF))
    yield from _two_byte_rows("euc_kr", range(0xA4, 0xA5), range(0xA1, 0xFF))


def _tis620() -> Iterator[str]:
    for code in range(0xA1, 0xFC):
        character = bytes((code,)).decode("tis_620", errors="ignore")
        if character:
            yield character


STANDARDS: dict[str, Callable[[], Iterator[str]]] = {
    "gb2312": _gb2312,
    "punctuation": _punctuation,
    "big5": _big5,
    "gbk": _gbk,
    "jis": _jis,
    "ksx1001": _ksx1001,
    "tis620": _tis620,
}
"""Standard -> its characters in order. gb2312, gbk and big5 (level 1) have only Chinese ones."""


def standard_characters(names: Sequence[str]) -> Iterator[str]:
    """Characters of several standards or character files, one after another.

    Raises:
        ConfigError: If a name is neither a standard nor a file.
    """
    for name in names:
        if name in STANDARDS:
            yield from STANDARDS[name]()
        elif Path(name).is_file():
            yield from read_characters(Path(name))
        else:
            raise ConfigError(
                f"standard: found {name!r}, allowed {', '.join(STANDARDS)} or a file with a "
                f"character on each line"
            )


def frequent_characters(texts: Iterable[str]) -> list[str]:
    """All characters of texts, the most frequent first (ties by code point)."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    return sorted(counts, key=lambda character: (-counts[character], character))


def by_frequency(names: Sequence[str], frequent: Iterable[str]) -> list[str]:
    """Characters of standards in the order of `frequent`; those not in it are last, by code."""
    allowed = dict.fromkeys(standard_characters(names))
    first = [character for character in frequent if character in allowed]
    return list(dict.fromkeys((*first, *allowed)))


def check_cut(names: Sequence[str], listed: Sequence[str], count: int | None) -> None:
    """Refuse a count that ends inside a standard, because its codes are no order of frequency.

    The first 3,000 characters of GB2312 are those pronounced a to x, without some of the most
    frequent. The characters of a file are in its author's order and may be cut anywhere.

    Args:
        names: The standards, in the order of the list.
        listed: All characters that could be added, in this order.
        count: Number of characters to keep; None for all.

    Raises:
        ConfigError: If the count ends inside a standard.
    """
    if count is None or count >= len(listed):
        return
    if (tuple(names), count) == (DEFAULT_STANDARDS, PUBLISHED_COUNT):
        return
    owners: dict[str, str] = {}
    for name in names:
        for character in standard_characters([name]):
            owners.setdefault(character, name)
    parts = [owners[character] for character in listed]
    cut = parts[count - 1]
    if cut not in STANDARDS or parts[count] != cut:
        return
    ends = [n for n in range(1, len(parts)) if parts[n] != parts[n - 1]] + [len(parts)]
    missing = " ".join(listed[count : count + 5])
    raise ConfigError(
        f"count: {count:,} ends inside {cut}, which is in the order of its codes and not of "
        f"frequency, so {missing} ... would be missing. Add --from-corpus NAME to take the most "
        f"frequent ones first, or pass a count at which a standard ends: "
        f"{', '.join(f'{n:,}' for n in ends)}"
    )


def choose_characters(
    candidates: Iterable[str], known: Iterable[str], *, count: int | None
) -> list[str]:
    """The first `count` candidates that the base lacks and a vocabulary can hold.

    Args:
        candidates: Characters in order of preference; repetitions are skipped.
        known: Pieces of the base vocabulary.
        count: Number of characters to choose; None for all.

    Raises:
        ConfigError: If there are fewer.
    """
    left_out = set(known)
    chosen: list[str] = []
    for character in candidates:
        if len(chosen) == count:
            break
        if character not in left_out and why_not_a_piece(character) is None:
            left_out.add(character)
            chosen.append(character)
    if count is not None and len(chosen) < count:
        raise ConfigError(
            f"count: found {count:,}, but the standards hold only {len(chosen):,} characters that "
            f"the base lacks; lower it or add a standard"
        )
    return chosen


def why_not_a_piece(character: str) -> str | None:
    """Reason why a string cannot be added as a character piece; None if it can."""
    if len(character) != 1:
        return f"{len(character)} characters, expected one"
    if character == SPACE:
        return "it represents a space inside pieces"
    category = unicodedata.category(character)
    if category[0] in "CZ":
        name = {"Cs": "a lone surrogate", "Cn": "an unassigned code point"}.get(
            category, "a control, format or space character"
        )
        return f"U+{ord(character):04X} is {name}"
    return None


def read_characters(path: Path) -> list[str]:
    """Read a character file: UTF-8, one per line; `#` comments and blank lines are skipped.

    Raises:
        ConfigError: If a line is not a character that can be added, or repeats an earlier line;
            with the line and the reason.
    """
    try:
        text = read_limited(path, limit_bytes=FILE_SIZE_LIMIT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        character = line.strip("\r\t ")
        if not character or (len(character) > 1 and character.startswith("#")):
            continue
        reason = why_not_a_piece(character)
        if reason is None and character in lines:
            reason = f"line {lines[character]} has it already"
        if reason is not None:
            raise ConfigError(f"{path}:{number}: {character[:20]!r} cannot be added: {reason}")
        lines[character] = number
    return list(lines)
