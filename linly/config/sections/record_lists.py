"""`exclude_records` of a corpus file: lists of records that are left out (`linly corpora scan`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from linly.config.yaml.json_forms import JsonSchema, either
from linly.config.yaml.overrides import relative_to_origin
from linly.config.yaml.quantities import Text
from linly.config.yaml.strict_model import (
    OnResume,
    Settings,
    check_name,
    describe,
    error_at,
    found,
    problem,
)
from linly.config.yaml.yaml import Located
from linly.errors import LinlyError
from linly.files import sha256_file

KEY = "exclude_records"
ALLOWED_FORMS = "path of a record list, a list of such paths, or a mapping of names to paths"


class RecordListFile(Settings):
    """A list of records that a corpus leaves out.

    Attributes:
        path: Parquet file, relative to the file that names it.
        sha256: Hash of the file; a run fills it in at its first start.
    """

    path: Annotated[Path, OnResume.FREE]
    sha256: Annotated[Text | None, Field(pattern="^[0-9a-f]{64}$"), OnResume.REFUSED] = None


RecordLists = dict[str, RecordListFile]


def with_short_forms(schema: JsonSchema) -> JsonSchema:
    """Add the forms that name only paths to the schema of `exclude_records`."""
    path = {"type": "string", "minLength": 1}
    schema = schema | {"additionalProperties": {"anyOf": [path, schema["additionalProperties"]]}}
    paths = {"type": "array", "items": path, "minItems": 1}
    return either(schema, path, paths, allowed=ALLOWED_FORMS)


def with_list_paths(tree: Located) -> Located:
    """Write `exclude_records` of a corpus file out as name -> {path}, with absolute paths.

    A list is named by its file's stem unless a mapping names it.

    Raises:
        ConfigError: If it has another form, or two lists have one name.
    """
    node = tree.get(KEY)
    if node is None or node.value is None:
        return tree
    assert isinstance(tree.value, dict)
    if isinstance(node.value, Mapping):
        named = dict(node.value)
    else:
        items = node.value if isinstance(node.value, list) else [node]
        if not items or not all(isinstance(item.value, str) for item in items):
            raise error_at(tree, (KEY,), found(node.plain(), ALLOWED_FORMS))
        named = {}
        for item in items:
            name = Path(str(item.value)).stem
            if name in named:
                text = f"found two lists named {name!r}; name them: {{NAME: PATH, ...}}"
                raise error_at(tree, (KEY,), text)
            named[name] = item
    lists = {name: _entry(one) for name, one in named.items()}
    return Located(tree.value | {KEY: Located(lists, node.origin)}, tree.origin)


def _entry(node: Located) -> Located:
    """An entry with an absolute path; any other form is left to the model, which refuses it."""
    if isinstance(node.value, str) and node.value:
        return Located({"path": _absolute(node)}, node.origin)
    path = node.get("path") if isinstance(node.value, dict) else None
    if path is not None and isinstance(path.value, str) and path.value:
        assert isinstance(node.value, dict)
        return Located(node.value | {"path": _absolute(path)}, node.origin)
    return node


def _absolute(node: Located) -> Located:
    return Located(str(relative_to_origin(node)), node.origin)


def check_list_names(lists: RecordLists) -> None:
    """Refuse a name that could not be part of a key (a validator's check)."""
    for name in lists:
        try:
            check_name(name)
        except ValueError:
            text = found(name, "letters, digits, '_' and '-'; name the list: {NAME: PATH}")
            raise problem(text, KEY) from None


def with_hashes(lists: RecordLists, tree: Located) -> RecordLists:
    """Fill in the hashes that are missing, from the files; reading a list compares them.

    Args:
        lists: Lists of a corpus.
        tree: Its corpus file, for the place in an error.

    Raises:
        ConfigError: If a file cannot be read.
    """
    return {
        name: entry if entry.sha256 is not None else _hashed(entry, tree)
        for name, entry in lists.items()
    }


def _hashed(entry: RecordListFile, tree: Located) -> RecordListFile:
    try:
        sha256 = sha256_file(entry.path)
    except (OSError, LinlyError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        text = f"found {describe(str(entry.path))}, allowed: an existing record list ({reason})"
        raise error_at(tree, (KEY,), text) from error
    return entry.model_copy(update={"sha256": sha256})
