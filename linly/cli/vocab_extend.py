"""Output of `linly vocab extend`, for either kind of vocabulary."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from linly.errors import ConfigError
from linly.files import publish
from linly.modeling.stored.folder import new_folder
from linly.tokenization.byte_level import ByteLevelTokenizer
from linly.tokenization.growth.byte_merges import ByteLevelExtension, extend_byte_level
from linly.tokenization.growth.extend import add_pad_piece, extend_vocabulary
from linly.tokenization.growth.reachable import dead_characters
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer

_MAX_SHOWN = 20


def extend_file(
    old: SentencePieceTokenizer,
    characters: Sequence[str],
    output: Path,
    *,
    pad: bool,
    as_json: bool,
) -> None:
    """Extend a sentencepiece model and write the file."""
    characters, dead = _without_dead(old, characters)
    new = SentencePieceTokenizer(extend_vocabulary(old, characters), origin=str(output))
    if pad:
        new = SentencePieceTokenizer(add_pad_piece(new), origin=str(output))
    publish(output, new.model_bytes)
    if as_json:
        added = range(old.vocab_size, new.vocab_size)
        pieces = [{"id": token, "piece": new.piece(token)} for token in added]
        _print_json({"vocab_size": new.vocab_size, "pieces": pieces, "unreachable": dead})
        return
    print(f"{old.vocab_size:,} -> {new.vocab_size:,} pieces: {output}")
    _show_dead(dead)


def extend_folder(
    old: ByteLevelTokenizer,
    base: Path,
    characters: Sequence[str],
    output: Path,
    *,
    exact: bool,
    as_json: bool,
) -> None:
    """Extend a byte-level vocabulary and write its folder."""
    characters, dead = _without_dead(old, characters)
    done = extend_byte_level(old, characters, exact=exact)
    write_folder(done.tokenizer, base, output)
    if as_json:
        _print_json({**done.describe(), "unreachable": dead})
    else:
        _show(old, done, output)
        _show_dead(dead)


def write_folder(tokenizer: ByteLevelTokenizer, base: Path, output: Path) -> None:
    """Write a byte-level vocabulary into a new folder, with the license files of its base."""
    with new_folder(output) as folder:
        tokenizer.write(folder)
        source = base if base.is_dir() else base.parent
        for kept in sorted((*source.glob("LICENSE*"), *source.glob("NOTICE*"))):
            if kept.is_file():
                shutil.copyfile(kept, folder / kept.name)


def _without_dead(base: Tokenizer, characters: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Split characters into those that some text produces, and the others with the reason.

    Raises:
        ConfigError: If no text produces any of them.
    """
    known = set(map(base.readable, range(base.vocab_size)))
    new = [character for character in characters if character not in known]
    dead = dead_characters(base, new)
    kept = [character for character in characters if character not in dead]
    if dead and not kept:
        first, reason = next(iter(dead.items()))
        raise ConfigError(
            f"no text produces any of the {len(dead):,} characters; the first is {first!r}: "
            f"{reason}. Choose characters that the vocabulary's normalizer keeps, or another "
            f"vocabulary"
        )
    return kept, dead


def _show_dead(dead: Mapping[str, str]) -> None:
    if not dead:
        return
    print(f"left out, since no text produces them: {len(dead):,}")
    for character, reason in list(dead.items())[:_MAX_SHOWN]:
        print(f"  {_some(character)} (U+{ord(character):04X}): {reason}")
    if len(dead) > _MAX_SHOWN:
        print(f"  and {len(dead) - _MAX_SHOWN:,} more (--json)")


def _show(old: ByteLevelTokenizer, done: ByteLevelExtension, output: Path) -> None:
    print(
        f"{old.vocab_size:,} -> {done.tokenizer.vocab_size:,} pieces ({len(done.characters):,} "
        f"characters, {len(done.helpers):,} helper pieces): {output}"
    )
    if not done.characters and not done.left_out:
        print("the base has all of these characters: nothing changes")
        return
    for helper in done.helpers[:_MAX_SHOWN]:
        print(
            f"  helper {helper.token}: bytes {helper.data.hex(' ')}, for {len(helper.characters)} "
            f"characters: {_some(helper.characters)}"
        )
    if len(done.helpers) > _MAX_SHOWN:
        print(f"  and {len(done.helpers) - _MAX_SHOWN:,} more (--json)")
    if done.left_out:
        print(
            f"left out, since their helpers affect other characters: {len(done.left_out):,}: "
            f"{_some(done.left_out)}"
        )
    print(f"tried on all {done.num_code_points:,} code points: old ids are unchanged")
    if not done.changed and not done.exposed:
        print("every text without an added character keeps its ids")
        return
    print("every text without an added character and without one of these keeps its ids:")
    print(
        f"  {len(done.changed):,} characters that share a helper's bytes and have other ids now: "
        f"{_some(done.changed)}"
    )
    if done.exposed:
        print(
            f"  {len(done.exposed):,} characters whose ids may change before a character that an "
            f"old piece joins to their last bytes: {_some(done.exposed)}"
        )
    print("(--json lists all; --exact leaves out the characters that cause it)")


def _some(characters: str) -> str:
    shown = characters[:_MAX_SHOWN]
    printable = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in shown)
    return printable + (" ..." if len(characters) > _MAX_SHOWN else "")


def _print_json(value: dict[str, Any]) -> None:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
