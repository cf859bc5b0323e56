"""Append characters to a byte-level BPE by merges after all others.

All old merges apply before the first new one, so a text's ids change only where a new merge finds
its two tokens side by side. The last merge of a character spells that character, and in UTF-8 its
bytes cannot mean anything else. A character of two tokens in the base (most characters, in the
vocabularies of Llama 3 and Qwen) needs only this merge and is exact.

A character of three or four tokens first needs helper pieces. No order of merges can restrict a
helper to one character: it applies to every character with the same bytes. Helpers are built from
the left, so they affect only the 64 neighbouring code points, in the same script (4,096 for the
first helper of a character of four bytes). From the right they would affect one code point in 64 of
all scripts, English quotation marks among them. So a text keeps every id unless it holds

- an added character,
- a character that is `changed`: it begins with a helper's bytes, which now are one token, or
- one that is `exposed`: it begins with a helper's bytes and ends with bytes that an old piece
  joins to the following ones, so that it may be split inside a text even if it is not split alone.

All three sets are lists, and `verify` tests the first two on every code point of Unicode. With
`exact`, characters whose helpers affect others are left out instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from linly.errors import ConfigError
from linly.tokenization.byte_level import (
    TOKENIZER_JSON,
    ByteLevelTokenizer,
    is_whole,
    to_letters,
)
from linly.tokenization.growth.extend import all_known, refuse_characters
from linly.tokenization.growth.reachable import dead_characters

CODE_POINTS = (*range(0xD800), *range(0xE000, 0x110000))
"""All code points of Unicode except the surrogates, which valid text does not hold."""

_CONTINUATION = range(0x80, 0xC0)
_BATCH = 20_000


@dataclass(frozen=True, slots=True)
class Helper:
    """First bytes of characters, appended as a piece so that their last merge can apply.

    Attributes:
        token: Its id.
        data: Its bytes.
        characters: Added characters that are built from it.
    """

    token: int
    data: bytes
    characters: str


@dataclass(frozen=True, slots=True)
class ByteLevelExtension:
    """An extended byte-level vocabulary and its effects on other text.

    Attributes:
        tokenizer: The new vocabulary.
        characters: Added characters, in the order of their ids.
        helpers: New helper pieces, in the order of their ids.
        left_out: Characters that `exact` does not allow.
        changed: Characters that were not added but whose ids changed.
        exposed: Characters that were not added but whose ids may change before certain others.
        num_code_points: Number of code points on which this was verified.
    """

    tokenizer: ByteLevelTokenizer
    characters: str
    helpers: tuple[Helper, ...]
    left_out: str
    changed: str
    exposed: str
    num_code_points: int

    def describe(self) -> dict[str, Any]:
        """All attributes as data for JSON."""
        new = self.tokenizer
        return {
            "vocab_size": new.vocab_size,
            "characters": [
                {"id": new.split(to_letters(character.encode()))[0], "character": character}
                for character in self.characters
            ],
            "helpers": [
                {
                    "id": helper.token,
                    "bytes": helper.data.hex(" "),
                    "piece": new.piece(helper.token),
                    "characters": helper.characters,
                }
                for helper in self.helpers
            ],
            "left_out": self.left_out,
            "changed": self.changed,
            "exposed": self.exposed,
            "verified_code_points": self.num_code_points,
        }


def extend_byte_level(
    base: ByteLevelTokenizer,
    characters: Sequence[str],
    *,
    exact: bool = False,
    tried: Sequence[int] = CODE_POINTS,
) -> ByteLevelExtension:
    """Append characters and the helper pieces they need; ids from `base.vocab_size` on.

    The new pieces come after added tokens too, whose ids may be above the BPE's own. No id moves.

    Args:
        base: The vocabulary.
        characters: Single printable characters without a piece in the base. If the base has all
            of them, it is returned unchanged.
        exact: Whether to leave out characters whose helpers affect characters that are not added.
        tried: Code points to verify on.

    Raises:
        ConfigError: If a character cannot be added (the first ones are listed with reasons), or an
            id changed that should not have.
    """
    vocab: dict[str, int] = base.json["model"]["vocab"]
    known = {character for character in characters if to_letters(_utf8(character)) in vocab}
    if all_known(characters, known):
        return ByteLevelExtension(base, "", (), "", "", "", 0)
    chosen = list(characters)
    refuse_characters(chosen, known)
    _refuse_dead(base, chosen)
    left_out: list[str] = []
    while True:
        grown = _append(base, chosen)
        reached = _reached(base, grown, chosen)
        bad = {c for helper, others in reached.items() if others for c in helper.characters}
        if not exact or not bad:
            break
        left_out += [character for character in chosen if character in bad]
        chosen = [character for character in chosen if character not in bad]
    others = sorted({character for found in reached.values() for character in found})
    changed = [c for c in others if _alone(base, c) != _alone(grown, c)]
    exposed = [c for c in others if _alone(base, c) == _alone(grown, c)]
    return ByteLevelExtension(
        tokenizer=grown,
        characters="".join(chosen),
        helpers=tuple(helper for helper in reached if helper.token >= base.vocab_size),
        left_out="".join(left_out),
        changed="".join(changed),
        exposed="".join(exposed),
        num_code_points=verify(base, grown, chosen, changed, tried),
    )


def _utf8(character: str) -> bytes:
    return character.encode("utf-8", "surrogatepass")


def _alone(tokenizer: ByteLevelTokenizer, character: str) -> list[int]:
    return tokenizer.split(to_letters(character.encode()))


def _refuse_dead(base: ByteLevelTokenizer, characters: Sequence[str]) -> None:
    for character, reason in dead_characters(base, characters).items():
        raise ConfigError(
            f"{character!r} (U+{ord(character):04X}) cannot be added: {reason} before the look-up"
        )


def _append(base: ByteLevelTokenizer, characters: Sequence[str]) -> ByteLevelTokenizer:
    """Append the merges that build each character from the left."""
    model = base.json["model"]
    vocab: dict[str, int] = dict(model["vocab"])
    # The library numbers added tokens after model.vocab by itself, so they would move. Listed in
    # model.vocab they keep their ids.
    for added in base.json.get("added_tokens") or ():
        vocab.setdefault(added["content"], added["id"])
    next_id = base.vocab_size
    pairs: dict[tuple[str, str], None] = {}
    for character in characters:
        parts = [base.piece(token) for token in _alone(base, character)]
        whole = parts[0]
        for part in parts[1:]:
            pairs[whole, part] = None
            whole += part
            if whole not in vocab:
                vocab[whole] = next_id
                next_id += 1
    merges = list(model["merges"])
    as_text = bool(merges) and isinstance(merges[0], str)
    merges += [" ".join(pair) if as_text else list(pair) for pair in pairs]
    value = {**base.json, "model": {**model, "vocab": vocab, "merges": merges}}
    bundle = orjson.dumps({**base.files, TOKENIZER_JSON: value})
    return ByteLevelTokenizer(bundle, origin="extended vocabulary")


def _reached(
    base: ByteLevelTokenizer, grown: ByteLevelTokenizer, characters: Sequence[str]
) -> dict[Helper, list[str]]:
    """Helpers, each with the characters that are not added but whose ids it can change."""
    made_from: dict[bytes, list[str]] = {}
    for character in characters:
        first, *others = _alone(base, character)
        data = base.bytes_of(first)
        for token in others[:-1]:
            data += base.bytes_of(token)
            made_from.setdefault(data, []).append(character)
    added, tails = set(characters), _tails(base)
    reached: dict[Helper, list[str]] = {}
    for data, needed_by in made_from.items():
        token = grown.json["model"]["vocab"][to_letters(data)]
        reached[Helper(token, data, "".join(needed_by))] = [
            other
            for other in _beginning_with(data)
            if other not in added
            and (
                _alone(base, other) != _alone(grown, other)
                or any(other.encode()[len(data) :].endswith(tail) for tail in tails)
            )
        ]
    return dict(sorted(reached.items(), key=lambda item: item[0].token))


def _tails(base: ByteLevelTokenizer) -> set[bytes]:
    """Last bytes of characters that an old piece joins to the following bytes."""
    found = set()
    for token in range(base.vocab_size):
        if not base.is_text(token):
            continue
        data = base.bytes_of(token)
        length = next((i for i, byte in enumerate(data) if byte not in _CONTINUATION), len(data))
        if 0 < length < len(data):
            found.add(data[:length])
    return found


def _beginning_with(data: bytes) -> Iterator[str]:
    """All characters whose UTF-8 begins with these bytes and is longer."""
    missing = {0xE: 3, 0xF: 4}[data[0] >> 4] - len(data)
    for number in range(64**missing):
        rest = bytes(0x80 | (number >> (6 * place)) & 0x3F for place in reversed(range(missing)))
        if is_whole(data + rest):
            yield (data + rest).decode()


def verify(
    base: ByteLevelTokenizer,
    grown: ByteLevelTokenizer,
    characters: Sequence[str],
    changed: Sequence[str],
    tried: Sequence[int],
) -> int:
    """Compare both vocabularies on code points, each alone, and on added tokens as text.

    A code point that the normalizer changes counts as the characters it is changed to.

    Returns:
        Number of code points tried.

    Raises:
        ConfigError: If an added character is not one token, or the ids of another one changed that
            is not in `changed`.
    """
    for name, token in base.json["model"]["vocab"].items():
        if grown.piece(token) != name:
            raise ConfigError(f"id {token} changed from {name!r} to {grown.piece(token)!r}")
    for character in characters:
        if grown.readable(_alone(grown, character)[0]) != character:
            raise ConfigError(f"{character!r} is not one token after the extension")
    normalizer = base.hugging_face.normalizer
    touched = {*characters, *changed}
    specials = [added["content"] for added in base.json.get("added_tokens") or ()]
    for texts in (*_batches(tried), specials):
        before = base.hugging_face.encode_batch_fast(texts, add_special_tokens=False)
        after = grown.hugging_face.encode_batch_fast(texts, add_special_tokens=False)
        for text, old, new in zip(texts, before, after, strict=True):
            if old.ids == new.ids:
                continue
            normal = text if normalizer is None else normalizer.normalize_str(text)
            if touched.isdisjoint(normal):
                raise ConfigError(
                    f"the ids of {text!r} should not change, but changed from {old.ids} to "
                    f"{new.ids}: the vocabulary cannot be extended by merges"
                )
    return len(tried)


def _batches(code_points: Sequence[int]) -> Iterator[list[str]]:
    for start in range(0, len(code_points), _BATCH):
        yield [chr(code) for code in code_points[start : start + _BATCH]]
