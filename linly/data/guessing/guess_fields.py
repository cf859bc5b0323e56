"""Guesses the meaning of records: their kind, the fields with their texts, and the language.

Names that public datasets use come first; the rest is guessed from the script and the length of the
texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from linly.config.fields import BESIDE, write_path
from linly.config.sections.languages import LANGUAGE, UNKNOWN_LANGUAGE
from linly.data.documents.turn_lists import turns_of
from linly.data.guessing import known_names
from linly.data.guessing.guess_language import (
    guess_language,
    language_of,
    language_shares,
    script_language,
)
from linly.data.guessing.known_names import plain_name
from linly.errors import DataError

NUM_RECORDS = 200

Path = tuple[str, ...]
"""Names on the path to a field."""

_MARKS = (
    ("[|Human|]", "[|AI|]"),
    ("\n\nHuman:", "\n\nAssistant:"),
    ("### Human:", "### Assistant:"),
    ("<|user|>", "<|assistant|>"),
)
_MAX_SIDES_RATIO = 6
_CLEAR_SHARE = 0.9
"""Smallest share of the language of each side, if neither names nor scripts tell them apart."""

_LETTER = re.compile(r"[^\W\d_]")
_SPACE = re.compile(r"\s")
_ADDRESS = re.compile(r"\s*(https?://\S+|[0-9a-fA-F-]{16,}|\S+\.(txt|html?|jsonl?|md|pdf))\s*")
_MAX_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Meaning:
    """Meaning of records.

    Attributes:
        kind: Kind of a corpus.
        language: Language of the texts, `?` if it is not clear; None for pairs, whose fields name
            it.
        fields: Role -> path or form.
    """

    kind: str
    language: str | None
    fields: Mapping[str, str]


def guess_fields(records: Sequence[Mapping[str, Any]]) -> Meaning:
    """Guess kind, fields and language from records.

    Raises:
        DataError: If no field contains text.
    """
    for guess in (_conversation, _pairs, _instruction, _text):
        if found := guess(records):
            return found
    names = ", ".join(typical(records)) or "none"
    raise DataError(f"no field of the records contains text; their fields: {names}")


def typical(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return all fields of some records, each with the first value that is not empty."""
    found: dict[str, Any] = {}
    for record in records:
        for name, value in record.items():
            if name not in found or found[name] in (None, "", [], {}):
                found[name] = value
    return found


def _conversation(records: Sequence[Mapping[str, Any]]) -> Meaning | None:
    first = typical(records)
    asked = _asked(records, first)
    for name in sorted(first, key=lambda name: plain_name(name) not in known_names.MESSAGES):
        turns = turns_of(first[name])
        found = _turn_fields(turns, write_path([name])) if turns else None
        if turns and found is not None:
            said = (str(turn.get(found.content) or "") for turn in turns)
            fields = found.fields | _beside(first)
            return Meaning("conversation", guess_language(said), fields)
        if turns and not asked and _alternate(records, name):
            texts = (text for record in records for text in turns_of(record.get(name)) or ())
            fields = {"messages": write_path([name])} | _beside(first)
            return Meaning("conversation", guess_language(texts), fields)
        if isinstance(first[name], str):
            for user, assistant in _MARKS:
                if user in first[name] and assistant in first[name]:
                    path = write_path([name])
                    fields_of_text = {"text": path, "user_mark": user, "assistant_mark": assistant}
                    language = guess_language(_texts(records, (name,)))
                    return Meaning("conversation", language, fields_of_text)
    return None


def _beside(first: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a record that belong to its conversation: a system text, tools."""
    return {
        role: f"{present[0]}?"
        for role, names in BESIDE.items()
        if (present := [name for name in names if first.get(name)])
    }


class _Turns(NamedTuple):
    """Fields of a list of turns, and the name of the field with the assistant's text."""

    fields: dict[str, str]
    content: str


def _turn_fields(turns: Sequence[Any], path: str) -> _Turns | None:
    """Return the fields of a list of turns at a path, None if it is not a chat."""
    if not all(isinstance(turn, dict) for turn in turns):
        return None
    names = {name for turn in turns for name in turn}
    for roles, known in (
        (("role", "content"), known_names.TURN_KEYS),
        (("user", "assistant"), known_names.PAIR_KEYS),
    ):
        for pair in known:
            if set(pair) <= names:
                fields = {role: write_path([name]) for role, name in zip(roles, pair, strict=True)}
                return _Turns({"messages": path, **fields}, pair[1])
    return None


def _alternate(records: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Check whether a field contains alternating texts of user and assistant, the user's first."""
    lists = [turns for record in records if (turns := turns_of(record.get(name)))]
    if plain_name(name) not in known_names.MESSAGES or not lists:
        return False
    are_texts = all(isinstance(text, str) for turns in lists for text in turns)
    return are_texts and 2 * sum(len(turns) % 2 == 0 for turns in lists) > len(lists)


def _pairs(records: Sequence[Mapping[str, Any]]) -> Meaning | None:
    first = typical(records)
    prefix: Path = ()
    names: Mapping[str, Any] = first
    for name in first:
        if plain_name(name) == "translation" and isinstance(first[name], dict):
            prefix, names = (name,), first[name]
    fields = {
        language: (*prefix, name)
        for name in names
        for language in known_names.LANGUAGES
        if known_names.names_language(name, language) and any(_texts(records, (*prefix, name)))
    }
    if prefix and len(names) == 2 and all(map(LANGUAGE.fullmatch, names)):
        fields = {name: (*prefix, name) for name in names}
    asked = _asked(records, first)
    if len(fields) != 2 and (asked is None or (asked[0][0], asked[1][0]) in known_names.SIDES):
        fields = _sides(records, [(*prefix, name) for name in names])
    if len(fields) != 2:
        return None
    written = {role: write_path(path) for role, path in sorted(fields.items(), reverse=True)}
    return Meaning("parallel", None, written)


def _sides(records: Sequence[Mapping[str, Any]], paths: Sequence[Path]) -> dict[str, Path]:
    """Return language -> path of two fields whose text lengths match those of translations."""
    of_names = {plain_name(path[-1]): path for path in paths}
    known = next((pair for pair in known_names.SIDES if set(pair) <= set(of_names)), None)
    sides = [of_names[name] for name in known] if known else list(paths)
    if len(sides) > 2:
        sides = [path for path in paths if not known_names.is_about(path[-1])]
    sizes = sorted(sum(map(len, _texts(records, path))) for path in sides)
    if len(sizes) != 2 or not 0 < sizes[1] <= _MAX_SIDES_RATIO * sizes[0]:
        return {}
    found = {path: language_shares(_texts(records, path)) for path in sides}
    scripts = {script_language("".join(_texts(records, path))) for path in sides}
    is_clear = all(max(shares.values(), default=0.0) >= _CLEAR_SHARE for shares in found.values())
    if not known and len(scripts) == 1 and not is_clear:
        return {}
    return {language_of(shares): path for path, shares in found.items()}


def _is_prose(records: Sequence[Mapping[str, Any]], path: Path) -> bool:
    texts = list(_texts(records, path))
    return (
        not known_names.is_about(path[-1])
        and any(map(_LETTER.search, texts))
        and not all(map(_ADDRESS.fullmatch, texts))
    )


def _asked(
    records: Sequence[Mapping[str, Any]], first: Mapping[str, Any]
) -> tuple[Path, Path] | None:
    """Return the paths of the question and its answer."""
    of_names = {plain_name(name): name for name in first} | {name.lower(): name for name in first}
    for asked, answer in known_names.ASKED:
        if asked in of_names and answer in of_names:
            question, reply = (of_names[asked],), _answer(first, of_names[answer])
            if any(_texts(records, question)) and any(_texts(records, reply)):
                return question, reply
    return None


def _answer(first: Mapping[str, Any], name: str) -> Path:
    """Return the path of a question's first answer."""
    path: Path = (name,)
    value = first[name]
    if isinstance(value, dict):
        inner = next((key for key in ("text", "answer", "value", "content") if key in value), None)
        if inner is not None:
            path, value = (*path, inner), value[inner]
    if isinstance(value, list) and value:
        path, value = (*path, "0"), value[0]
        if isinstance(value, dict):
            inner = next((key for key in ("text", "answer", "value") if key in value), None)
            path = path if inner is None else (*path, inner)
    return path


def _instruction(records: Sequence[Mapping[str, Any]]) -> Meaning | None:
    first = typical(records)
    found = _asked(records, first)
    if found is None:
        return None
    question, reply = found
    of_names = {plain_name(name): name for name in first}
    taken = {question[0], reply[0]}
    asked = write_path(question)
    system = [of_names[name] for name in known_names.SYSTEM if name in of_names]
    if system and any(_texts(records, (system[0],))):
        asked = f"{{{write_path([system[0]])}?}}\n\n{{{asked}}}"
    fields = {"instruction": asked}
    given = [of_names[name] for name in known_names.GIVEN if name in of_names]
    given = [name for name in given if name not in taken and type(first[name]) is str]
    if given:
        fields["input"] = f"{write_path([given[0]])}?"
    fields["output"] = write_path(reply)
    if isinstance(first.get(known_names.CHOICES), list):
        fields["choices"] = f"{known_names.CHOICES}?"
    language = guess_language(_texts(records, reply))
    if language == UNKNOWN_LANGUAGE:  # short answers, such as letters
        language = guess_language(chain(_texts(records, question), _texts(records, reply)))
    return Meaning("instruction", language, fields)


def _text(records: Sequence[Mapping[str, Any]]) -> Meaning | None:
    first = typical(records)
    paths = list(_text_paths(first))
    known = [
        path
        for name in known_names.TEXTS
        for path in paths
        if plain_name(path[-1]) == name and any(map(str.strip, _texts(records, path)))
    ]
    prose = [path for path in paths if _is_prose(records, path)] or paths
    sizes = {path: sum(map(len, _texts(records, path))) for path in prose}
    longest = max(sizes, key=lambda path: sizes[path], default=None)
    path = min(known, key=len) if known else longest
    if path is None or not sizes:
        return None
    title = next(
        (
            name
            for known_title in known_names.TITLES
            for name in first
            if plain_name(name) == known_title and (name,) != path and type(first[name]) is str
        ),
        None,
    )
    field, language = write_path(path), guess_language(_texts(records, path))
    if title is not None and not _begins_with(records, path, title):
        field = f"{{{write_path([title])}?}}\n\n{{{field}}}"
    return Meaning("text", language, {"text": field})


def _text_paths(value: object, path: Path = ()) -> Iterator[Path]:
    """Yield the paths of all texts inside a value, through lists and objects."""
    if isinstance(value, str) and path:
        yield path
    elif isinstance(value, list) and value:
        filled = [element for element in value if element]
        yield from _text_paths(filled[0] if filled else None, path)
    elif isinstance(value, dict) and len(path) < _MAX_DEPTH:
        for name, inner in value.items():
            yield from _text_paths(inner, (*path, name))


def _begins_with(records: Sequence[Mapping[str, Any]], path: Path, title: str) -> bool:
    pairs = [(next(_texts([r], path), ""), str(r[title])) for r in records if r.get(title)]
    return 2 * sum(text.startswith(begin) for text, begin in pairs) > len(pairs)


def _texts(records: Sequence[Mapping[str, Any]], path: Path) -> Iterator[str]:
    """Yield the texts at a path, including every element of a list on the path."""
    for record in records:
        values: list[Any] = [record]
        for name in path:
            if name == "0" and values and isinstance(values[0], list):
                values = [value[0] for value in values if value]
            else:
                values = [w for v in values for w in (v if isinstance(v, list) else [v])]
                values = [v.get(name) for v in values if isinstance(v, Mapping)]
        values = [w for v in values for w in (v if isinstance(v, list) else [v])]
        yield from (value for value in values if isinstance(value, str) and value)
