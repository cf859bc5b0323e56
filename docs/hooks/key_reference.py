"""Reference pages of the keys of recipe, curriculum and corpus files, from their JSON schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from linly.cli.schema import FileKind, file_schema
from linly.config.yaml.json_forms import ALLOWED, ON_RESUME, JsonSchema

_OWN_PAGES = {"curriculum": "curriculum.md", "corpora": "corpus.md"}
"""Keys of a recipe that hold another kind of file, and its page."""

_INTRODUCTIONS: dict[FileKind, str] = {
    "recipe": "A recipe joins a curriculum and corpora with a model, an optimizer and their "
    "settings. `run`, `curriculum`, `corpora` and `data_root` are required, here or in the recipe "
    "that it extends. Any key can also be set on the command line: `training.lr=1e-4`.",
    "curriculum": "A curriculum says how the shares of sources change over a run, and nothing "
    "else. One curriculum serves any model.",
    "corpus": "A corpus file says where shards are, what a record looks like, and how documents "
    "are made of it. Its name is the file's stem.",
}
_COLUMNS = """\
The column *resume* says whether a run may resume with another value: it is *free* to change, the
change is *recorded* in `decisions.jsonl`, or it is *refused*, since it would be another run. A
default of *none* is written `null`, or `[]` for a list. Editors complete and check these keys with
the JSON schema that [`linly schema`](commands.md#schema) prints.
"""
_PLURAL = re.compile(r"number|text|path|percentage|mapping")
_NO_BOUND = 1_000_000_000
_MAX_DEFAULT_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a file.

    Attributes:
        path: Names on the way to it; `NAME` stands for any name, `[]` for any item of a list.
        allowed: Allowed values, in words.
        default: Default as it is written, or an empty text.
        on_resume: Whether a run may resume with another value, or an empty text.
        sentence: Description, or an empty text.
    """

    path: tuple[str, ...]
    allowed: str
    default: str
    on_resume: str
    sentence: str


def all_keys(kind: FileKind) -> Iterator[Key]:
    """Iterate over the keys of a kind of file, those of a mapping after those beside it."""
    schema = file_schema(kind)
    return _keys(without_references(schema, schema.get("$defs", {})), (), "")


def _keys(schema: JsonSchema, path: tuple[str, ...], on_resume: str) -> Iterator[Key]:
    inner: list[tuple[JsonSchema, tuple[str, ...], str]] = []
    required = schema.get("required", ())
    for name, form in schema["properties"].items():
        policy = form.get(ON_RESUME, on_resume)
        default = _default(form) if "default" in form else "required" * (name in required)
        here = (*path, name)
        yield Key(here, allowed(form), default, policy, form.get("description", ""))
        if path or name not in _OWN_PAGES:
            inner += [(found, where, policy) for found, where in _mappings(form, here)]
    for found, where, policy in inner:
        yield from _keys(found, where, policy)


def without_references(schema: Any, definitions: JsonSchema) -> Any:
    """Return a schema with its definitions in the places that refer to them."""
    if isinstance(schema, list):
        return [without_references(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: without_references(one, definitions) for key, one in schema.items()}
    reference = found.pop("$ref", None)
    if reference is None:
        return found
    definition = definitions[reference.removeprefix("#/$defs/")]
    return without_references(definition, definitions) | found


def _mappings(
    form: JsonSchema, path: tuple[str, ...]
) -> Iterator[tuple[JsonSchema, tuple[str, ...]]]:
    """Iterate over the mappings with fixed keys in a value; those of one place are joined."""
    forms = [form, *form.get("anyOf", ())]
    fixed = [one for one in forms if "properties" in one]
    if fixed:
        yield _joined(fixed), path
    for one in forms:
        if isinstance(one.get("additionalProperties"), dict):
            yield from _mappings(one["additionalProperties"], (*path, "NAME"))
        if isinstance(one.get("items"), dict):
            yield from _mappings(one["items"], (*path, "[]"))


def _joined(forms: list[JsonSchema]) -> JsonSchema:
    """Join mappings that differ in a few keys: the kinds of curve."""
    properties: dict[str, Any] = {}
    for form in forms:
        for name, value in form["properties"].items():
            if "const" in value:
                known = properties.get(name, {"enum": []})["enum"]
                properties[name] = {"enum": [*known, value["const"]]} | {
                    key: text for key, text in value.items() if key != "const"
                }
            else:
                properties.setdefault(name, value)
    required = set.intersection(*(set(form.get("required", ())) for form in forms))
    return {"properties": properties, "required": sorted(required)}


def allowed(form: JsonSchema) -> str:
    """Describe the values that a schema allows, null aside."""
    if ALLOWED in form:
        return str(form[ALLOWED])
    if "enum" in form:
        return ", ".join(f"`{json.dumps(value).strip(chr(34))}`" for value in form["enum"])
    if "anyOf" in form:
        given = [one for one in form["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(map(allowed, given)))
    kind = str(form.get("type"))
    if kind in ("integer", "number"):
        return {"integer": "whole number", "number": "number"}[kind] + _bounds(form)
    if kind == "array":
        item = allowed(form.get("items") or form["prefixItems"][0])
        plural = item if "," in item else _PLURAL.sub(lambda word: f"{word[0]}s", item, count=1)
        return f"list of {plural}"
    words = {"boolean": "`true`, `false`", "object": "mapping"}
    return words.get(kind, "path" if form.get("format") == "path" else "text")


def _bounds(form: JsonSchema) -> str:
    """Describe the bounds of a number: ` from 8 to 1,048,576`; large ones are left out."""
    low, above = form.get("minimum"), form.get("exclusiveMinimum")
    high = form.get("maximum")
    most = "" if high is None or high >= _NO_BOUND else _number(high)
    if above is not None:
        return f" above {_number(above)}" + (f", up to {most}" if most else "")
    if low is None:
        return f" up to {most}" if most else ""
    return f" from {_number(low)}" + (f" to {most}" if most else " on")


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _default(form: JsonSchema) -> str:
    default = form["default"]
    if default is None or default == []:
        return "none"
    text = default if isinstance(default, str) else json.dumps(default)
    if len(text) > _MAX_DEFAULT_CHARACTERS:
        return f"{len(default)} of them"
    return f"`{text}`"


def reference_page(kind: FileKind) -> str:
    """Write the page of a kind of file: a table for each of its mappings."""
    lines = [f"# {kind.capitalize()} keys", "", _INTRODUCTIONS[kind], "", _COLUMNS]
    keys = list(all_keys(kind))
    sections = {key.path[:-1] for key in keys}
    section: tuple[str, ...] | None = None
    for key in keys:
        if key.path[:-1] != section:
            section = key.path[:-1]
            if section:
                lines += ["", f"## `{dotted(section)}` {{ #{anchor(section)} }}"]
            lines += ["", "| key | meaning | values | default | resume |", "|---|---|---|---|---|"]
        lines.append(_row(key, has_section=key.path in sections))
    return "\n".join(lines) + "\n"


def _row(key: Key, *, has_section: bool) -> str:
    name, sentence = key.path[-1], key.sentence
    link = f"[`{name}`](#{anchor(key.path)})"
    if not has_section:
        link += f"{{ #{anchor(key.path)} }}"
    if len(key.path) == 1 and name in _OWN_PAGES:
        sentence += f" [Its keys]({_OWN_PAGES[name]})."
    cells = [link, sentence, key.allowed, key.default, key.on_resume]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def dotted(path: tuple[str, ...]) -> str:
    """Write a key path as in errors: `where[].field`."""
    return ".".join(path).replace(".[]", "[]")


def anchor(path: tuple[str, ...]) -> str:
    """Name the place of a key on its page."""
    return "-".join(path).replace("[]", "item").lower()
