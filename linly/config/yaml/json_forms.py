"""JSON schemas of file forms: what pydantic cannot know of a short form, and sentences for keys."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

JsonSchema = dict[str, Any]

ALLOWED = "x-allowed"
"""Key of a schema: its values in words, for readers."""

ON_RESUME = "x-on-resume"
"""Key of a schema: whether a run may resume with another value, as in `OnResume`."""

_SECTION = re.compile(r"^Attributes:\n((?:    .*\n|\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+): ((?:.+\n?)(?:(?:     +.*|)\n?)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class JsonForm:
    """Annotation of a type: the JSON schema of its file forms, in place of pydantic's.

    Attributes:
        build: Function that builds the schema, called only when one is requested.
    """

    build: Callable[[], JsonSchema]

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchema:
        """Replace pydantic's schema."""
        return self.build()


def read_docstring(owner: type) -> tuple[str, dict[str, str]]:
    """Return a class's first paragraph, and the texts of its `Attributes:` section by name.

    Attributes that it inherits have their texts in the class that declares them.
    """
    sentences: dict[str, str] = {}
    for declared in reversed(owner.__mro__):
        text = inspect.cleandoc(vars(declared).get("__doc__") or "") + "\n"
        section = _SECTION.search(text)
        entries = _ENTRY.findall(section[1]) if section else []
        sentences |= {name: _on_one_line(entry) for name, entry in entries}
    return _on_one_line(text.partition("\n\n")[0]), sentences


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def mapping_of(values: JsonSchema, *, keys: JsonSchema | None = None) -> JsonSchema:
    """Build the schema of a mapping with any keys, at least one."""
    form: JsonSchema = {"type": "object", "minProperties": 1, "additionalProperties": values}
    return form if keys is None else form | {"propertyNames": keys}


def either(schema: JsonSchema, *forms: JsonSchema, allowed: str) -> JsonSchema:
    """Add other forms to the schema of a key, and say in words what is allowed."""
    about_key = {key: schema[key] for key in ("description", ON_RESUME) if key in schema}
    return {"anyOf": [*forms, schema], ALLOWED: allowed} | about_key


def without_required(schema: JsonSchema) -> JsonSchema:
    """Return a mapping's schema that requires no key, since another file may have it."""
    if "anyOf" in schema:
        return schema | {"anyOf": [without_required(form) for form in schema["anyOf"]]}
    return {key: value for key, value in schema.items() if key != "required"}
