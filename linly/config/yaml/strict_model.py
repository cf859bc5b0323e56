"""Base of the frozen models at the YAML edge, and how their errors become `file:line` texts."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError

from linly.config.yaml.json_forms import ON_RESUME, JsonSchema, read_docstring
from linly.config.yaml.yaml import Located, key_text
from linly.errors import ConfigError

_MAX_SHOWN_CHARACTERS = 80
_MAX_ERRORS = 8
_NAME = re.compile(r"\w[\w-]{0,63}")

ModelT = TypeVar("ModelT", bound="Model")


class Model(BaseModel):
    """A frozen model whose unknown keys are refused with the nearest valid name."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            check_keys(value, cls.file_keys(), shown=cls.shown_keys())
            return cls.from_file_form(value)
        return value

    @classmethod
    def file_keys(cls) -> tuple[str, ...]:
        """Keys that a file may have."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())

    @classmethod
    def shown_keys(cls) -> tuple[str, ...]:
        """Keys that an error lists."""
        return cls.file_keys()

    @classmethod
    def from_file_form(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Turn the short forms that a file may use into the model's fields."""
        return value

    @classmethod
    def file_schema(cls, schema: JsonSchema) -> JsonSchema:
        """Add to a JSON schema of the fields the short forms that `from_file_form` spells out."""
        return schema

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchema:
        """Describe the file form: every key with its sentence and its default as written."""
        schema: JsonSchema = handler.resolve_ref_schema(handler(core_schema))
        schema["description"], sentences = read_docstring(cls)
        defaults: dict[str, Any] = {}
        if not inspect.isabstract(cls):
            defaults = cls.model_construct().model_dump(mode="json", by_alias=True)
        for name, field in cls.model_fields.items():
            key = schema["properties"][field.alias or name]
            for made in ("title", "default"):
                key.pop(made, None)
            if name in sentences:
                key["description"] = sentences[name]
            default = defaults.get(field.alias or name)
            if not field.is_required() and not isinstance(default, dict):
                key["default"] = default
            policy = next((entry for entry in field.metadata if isinstance(entry, OnResume)), None)
            if policy is not None:
                key[ON_RESUME] = policy.value
        return cls.file_schema(schema)

    def file_form(self) -> dict[str, Any]:
        """Return the form that a file has: plain data that reads back equal."""
        return self.model_dump(mode="json", by_alias=True)

    def short_form(self) -> dict[str, Any]:
        """Return the file form without the keys that are at their defaults."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


class OnResume(Enum):
    """Whether a run may resume with another value of a setting; in the field's annotation."""

    FREE = "free"
    """It does not affect the result, and may change without a record."""
    RECORDED = "recorded"
    """The change is written to decisions.jsonl."""
    REFUSED = "refused"
    """Another value would make the run a different one."""


class Settings(Model):
    """A model whose fields each say whether a resume may change them.

    A field is annotated with an `OnResume`, or it holds other Settings, or a dict of them by name.
    """

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a class with a field that says nothing.

        Raises:
            TypeError: If there is one.
        """
        super().__pydantic_init_subclass__(**kwargs)
        for name in cls.model_fields:
            if cls.policy(name) is None and cls.inner(name) is None:
                raise TypeError(
                    f"{cls.__name__}.{name}: does not say whether a resume may change it: write "
                    f"Annotated[..., OnResume.REFUSED], RECORDED or FREE"
                )

    @classmethod
    def policy(cls, name: str) -> OnResume | None:
        """Policy of a whole field; None if the Settings that it holds have their own."""
        metadata = cls.model_fields[name].metadata
        return next((entry for entry in metadata if isinstance(entry, OnResume)), None)

    @classmethod
    def inner(cls, name: str) -> type[Settings] | None:
        """Settings that a field holds, also by name in a dict; None if it holds others."""
        annotation = cls.model_fields[name].annotation
        held = get_args(annotation)[1] if get_origin(annotation) is dict else annotation
        return held if isinstance(held, type) and issubclass(held, Settings) else None


def problem(text: str, *path: str | int, also: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """Build an error for a validator to raise.

    Args:
        text: Text of the error: the value found and the values allowed.
        path: Key path of the error, below the value being validated.
        also: Key path of a second place, from the document's root; its file:line replaces `{also}`
            in the text.
    """
    return PydanticCustomError("linly", "{text}", {"text": text, "path": path, "also": also})


def first_problem(error: ValidationError) -> PydanticCustomError:
    """Build an error, for a validator to raise, of the first one of another validation."""
    details = error.errors(include_url=False)[0]
    path, text, also = _parts(details)
    return problem(text, *path, also=also)


def found(value: Any, allowed: str) -> str:
    """Return `found X, allowed: Y`."""
    return f"found {describe(value)}, allowed: {allowed}"


def describe(value: Any) -> str:
    """Return a value as it is written in YAML, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    text = repr(value) if isinstance(value, str | int | float) else f"'{value}'"
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else text[: _MAX_SHOWN_CHARACTERS - 3] + "..."


def suggestion(name: str, names: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` if a valid name is similar, else an empty text."""
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f", did you mean {near[0]!r}?" if near else ""


def unknown(what: str, name: str, names: Iterable[str]) -> str:
    """Return the error text for an unknown name: the most similar name, then all names."""
    known = sorted(names)
    near = suggestion(name, known)
    listed = ", ".join(known) if known else "none"
    return f"unknown {what} {name!r}{near or ','} allowed: {listed}"


def check_keys(
    value: Mapping[str, Any], names: tuple[str, ...], *, shown: tuple[str, ...] = ()
) -> None:
    """Refuse keys that are not among the names (a validator's check); list the `shown` ones."""
    for key in value:
        if key not in names:
            raise problem(unknown("key", str(key), shown or names), str(key))


def check_name(name: Any, *path: str | int) -> None:
    """Refuse a name that could not be part of a file's name (a validator's check)."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        allowed = "a name of letters, digits, '_' and '-', at most 64 characters"
        raise problem(found(name, allowed), *path)


def validate(
    model: type[ModelT],
    tree: Located,
    *,
    prefix: tuple[str | int, ...] = (),
    name: str,
    made: Mapping[str, Any] | None = None,
) -> ModelT:
    """Build a model from a document.

    Args:
        model: Class of the model.
        tree: Document, or a part of it.
        prefix: Key path of `tree`, for messages.
        name: Value of the model's `name` if the document does not set it.
        made: Values built already, which replace those of the document.

    Raises:
        ConfigError: If the document is invalid; one line per error: file:line, key, the value
            found, the values allowed.
    """
    plain = tree.plain()
    if not isinstance(plain, dict):
        raise error_at(tree, (), found(plain, "a mapping of keys to values"), prefix=prefix)
    plain.setdefault("name", name)
    plain |= made or {}
    try:
        return model.model_validate(plain)
    except ValidationError as error:
        raise config_error(error, tree, prefix) from None


def config_error(
    error: ValidationError, tree: Located, prefix: tuple[str | int, ...] = ()
) -> ConfigError:
    """Build one error of all errors of a validation, one per line."""
    lines = [_line(details, tree, prefix) for details in error.errors(include_url=False)]
    if len(lines) > _MAX_ERRORS:
        lines[_MAX_ERRORS:] = [f"and {len(lines) - _MAX_ERRORS} more errors"]
    return ConfigError("\n".join(lines))


def error_at(
    tree: Located, path: tuple[str | int, ...], text: str, *, prefix: tuple[str | int, ...] = ()
) -> ConfigError:
    """Build a ConfigError for a key of a document: `file:line: key: text`."""
    key, origin = key_text((*prefix, *path)), tree.nearest(path).origin
    if origin.line is None and origin.source.partition("=")[0].endswith(key):
        key = ""  # the override's text names its key already
    return ConfigError(f"{origin}: {key}: {text}" if key else f"{origin}: {text}")


def _line(details: ErrorDetails, tree: Located, prefix: tuple[str | int, ...]) -> str:
    path, text, also = _parts(details)
    if also:
        text = text.replace("{also}", str(tree.nearest(also).origin))
    return str(error_at(tree, path, text, prefix=prefix))


def _parts(details: ErrorDetails) -> tuple[tuple[str | int, ...], str, tuple[str | int, ...]]:
    """Return the key path of an error, its text, and the key path of its second place."""
    context: Mapping[str, Any] = details.get("ctx", {})
    path = tuple(details["loc"])
    if details["type"] == "linly":
        return path + tuple(context["path"]), str(context["text"]), tuple(context["also"])
    return path, _pydantic_text(details, context), ()


def _pydantic_text(details: ErrorDetails, context: Mapping[str, Any]) -> str:
    """Return our text for one of pydantic's own errors."""
    kind, value = details["type"], details["input"]
    if kind == "missing" and isinstance(details["loc"][-1], int):
        return "missing, one more item is required"
    if kind == "missing":
        return "missing, this key is required"
    if kind == "literal_error":
        allowed = str(context["expected"]).replace(" or ", ", ")
        names = re.findall(r"'([^']*)'", allowed)
        near = suggestion(value, names) if isinstance(value, str) else ""
        return f"found {describe(value)}{near or ','} allowed: {', '.join(names)}"
    return found(value, _allowed(kind, context) or details["msg"])


def _allowed(kind: str, context: Mapping[str, Any]) -> str | None:
    bounds = {
        "greater_than": "more than {gt}",
        "greater_than_equal": "{ge} or more",
        "less_than": "less than {lt}",
        "less_than_equal": "{le} or less",
        "too_short": "at least {min_length} items",
        "too_long": "at most {max_length} items",
        "string_too_short": "at least {min_length} characters",
    }
    if kind in bounds:
        return bounds[kind].format_map(context)
    types = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "string": "text",
        "path": "a path",
        "tuple": "a list",
        "list": "a list",
        "dict": "a mapping",
        "model": "a mapping of keys to values",
        "finite": "a finite number",
    }
    return types.get(kind.split("_")[0])
