"""Shard patterns of a corpus file: paths below the data root, or URLs."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator

from linly.config.sections.languages import LANGUAGE, wrong_language
from linly.config.yaml.json_forms import ALLOWED, JsonSchema, mapping_of
from linly.config.yaml.quantities import Text
from linly.config.yaml.strict_model import found, problem
from linly.storage.urls import URL_FORM, is_url, url_problem

_PATTERN_FORM = "a path or glob below the data root, such as wiki/*.jsonl.zst"


def check_pattern(pattern: str) -> str:
    """Refuse a shard pattern that could leave the data root, or a URL that could lead anywhere."""
    if is_url(pattern):
        if text := url_problem(pattern):
            raise problem(f"{found(pattern, URL_FORM)}: {text}")
        return pattern
    pure = PurePosixPath(pattern)
    if "\0" in pattern or pure.is_absolute() or ".." in pure.parts:
        raise problem(found(pattern, f"{_PATTERN_FORM} (not absolute, without '..')"))
    return pattern


Pattern = Annotated[Text, AfterValidator(check_pattern)]


def parse_patterns(value: Any) -> tuple[str, ...] | dict[str, str]:
    """Parse a list of patterns, or for line-aligned files one pattern per language."""
    allowed = 'a list of patterns, or for line-aligned files {en: "*.en", zh: "*.zh"}'
    if isinstance(value, dict):
        for language, pattern in value.items():
            if not isinstance(language, str) or not LANGUAGE.fullmatch(language):
                raise problem(wrong_language(language), str(language))
            _parse_pattern(pattern, language)
        return dict(value)
    if isinstance(value, list | tuple):
        for index, pattern in enumerate(value):
            _parse_pattern(pattern, index)
        return tuple(value)
    raise problem(found(value, allowed))


def patterns_schema() -> JsonSchema:
    """Build the JSON schema of what `parse_patterns` reads."""
    pattern = {"type": "string", "minLength": 1}
    listed = {"type": "array", "items": pattern, "minItems": 1}
    by_language = mapping_of(pattern, keys={"pattern": f"^{LANGUAGE.pattern}$"})
    return {"anyOf": [listed, by_language], ALLOWED: "list of patterns, or one by language"}


def _parse_pattern(pattern: Any, *path: str | int) -> None:
    if not isinstance(pattern, str) or not pattern:
        raise problem(found(pattern, _PATTERN_FORM), *path)
    try:
        check_pattern(pattern)
    except ValueError as error:
        raise problem(error.context["text"], *path) from None  # type: ignore[attr-defined]
