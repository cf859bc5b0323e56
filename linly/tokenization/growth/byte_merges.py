"""Appending characters to a byte-level BPE by merges behind all others.

Old merges have run out before the first new one applies, so a text's ids change only where a new
merge finds its two tokens side by side. The last merge of a character spells that character, and
UTF-8 lets its bytes stand for nothing else. A character that the base makes two tokens of
(most, in the vocabularies of Llama 3 and Qwen) needs this merge alone and is exact.

A character of three or four tokens needs helper pieces first, and no order of merges can keep a
helper to itself: it applies to every character with the same bytes there. Helpers are taken from
the left, so they reach only the 64 code points of the character's own neighbourhood, in the same
script (4,096 for the first helper of a character of four bytes). From the right they would reach
one code point in 64 of all scripts, English quotation marks among them. So a text keeps every id
unless it holds

- an added character,
- a character that is `changed`: it begins with a helper's bytes, which now are one token, or
- one that is `exposed`: it begins with a helper's bytes and ends with bytes that an old piece
  joins to what follows it, so that inside a text it may be cut where alone it is not.

All three sets are lists, and `verify` tries the first two on every code point of Unicode. With
`exact`, characters whose helpers reach others are left out instead.
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

CODE_POINTS = (*range(0xD800), *range(0xE000, 0x110000))
"""All of Unicode but the surrogates, which no text holds."""

_CONTINUATION = range(0x80, 0xC0)
_BATCH = 20_000


@dataclass(frozen=True, slots=True)
class Helper:
    """The beginning of characters, appended as a piece so that their merges can meet.

    Attributes:
        token: Its id.
        data: Its bytes.
        characters: The added characters that are made from it.
    """

    token: int
    data: bytes
    characters: str


@dataclass(frozen=True, slots=True)
class ByteLevelExtension:
    """An extended byte-level vocabulary and what it does to other text.

    Attributes:
        tokenizer: The new vocabulary.
        characters: What was added, in the order of their ids.
        helpers: In the order of their ids; an old piece with these bytes is not listed.
        left_out: Characters that `exact` does not allow.
        changed: Characters that were not added and have other ids now.
        exposed: Characters that were not added and may have other ids before certain others.
        num_code_points: On how many this was verified.
    """

    tokenizer: ByteLevelTokenizer
    characters: str
    helpers: tuple[Helper, ...]
    left_out: str
    changed: str
    exposed: str
    num_code_points: int

    def describe(self) -> dict[str, Any]:
        """All of it, for JSON."""
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

    Added tokens may lie behind the BPE's own ids; the new pieces come behind those too, and no
    id moves.

    Args:
        base: The vocabulary.
        characters: Each a single printable character that the base has no piece for. All of them
            may be there already: then nothing is done.
        exact: Leave out characters whose helpers reach characters that are not added.
        tried: Code points to verify on.

    Raises:
        ConfigError: A character cannot be added (the first are listed with reasons), or an id
            changed that should not have: the extension is not what it claims, and refused.
    """
    vocab: dict[str, int] = base.json["model"]["vocab"]
    known = {character for character in characters if to_letters(_utf8(character)) in vocab}
    if all_known(characters, known):
        return ByteLevelExtension(base, "", (), "", "", "", 0)
    chosen = list(characters)
    refuse_characters(chosen, known)
    _refuse_normalized(base, chosen)
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


def _refuse_normalized(base: ByteLevelTokenizer, characters: Sequence[str]) -> None:
    normalizer = base.hugging_face.normalizer
    if normalizer is None:
        return
    for character in characters:
        normal = normalizer.normalize_str(character)
        if normal != character:
            raise ConfigError(
                f"{character!r} (U+{ord(character):04X}) cannot be added: the vocabulary's "
                f"normalizer makes it {normal!r} before it is looked up"
            )


def _append(base: ByteLevelTokenizer, characters: Sequence[str]) -> ByteLevelTokenizer:
    """The vocabulary with the merges that build each character from the left."""
    model = base.json["model"]
    vocab: dict[str, int] = dict(model["vocab"])
    # The library numbers added tokens behind model.vocab by itself, so they would move; listed
    # there they keep their ids.
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
    """Every helper, and the characters that are not added whose ids it can change."""
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
    """Ends of characters that an old piece joins to what follows."""
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
    """All characters whose UTF-8 begins with these bytes and goes on."""
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
    """Encode code points, each by itself, and every special token as text, with both.

    A code point that the normalizer turns into others is judged by those.

    Returns:
        How many code points were tried.

    Raises:
        ConfigError: An added character is more than its own token, or the ids of another that is
            not in `changed` are not the same.
    """
    for name, token in base.json["model"]["vocab"].items():
        if grown.piece(token) != name:
            raise ConfigError(f"id {token} is {grown.piece(token)!r} now and was {name!r}")
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
                    f"{text!r} holds no character that was to change, but had ids {old.ids} and "
                    f"has {new.ids}: the vocabulary cannot be extended by merges"
                )
    return len(tried)


def _batches(code_points: Sequence[int]) -> Iterator[list[str]]:
    for start in range(0, len(code_points), _BATCH):
        yield [chr(code) for code in code_points[start : start + _BATCH]]
