"""Changes to a document before it becomes a model: overrides, inheritance, `${VARIABLES}`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linly.config.yaml.strict_model import describe
from linly.config.yaml.yaml import Located, Origin, key_text, parse_yaml, shown
from linly.errors import ConfigError
from linly.shipped import shipped_path

_VARIABLE = re.compile(r"(\$?)\$\{([^}]*)(\}?)")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Override:
    """One `key.path=value` of the command line."""

    path: tuple[str, ...]
    value: Located


def parse_override(text: str) -> Override:
    """Parse `training.lr=1e-4`: the value is YAML; paths are relative to the working directory.

    Raises:
        ConfigError: If the text does not have this form or the value is not plain YAML.
    """
    key, equals, value = text.partition("=")
    path = tuple(key.split("."))
    if not equals or not all(path) or any(part != part.strip() for part in path):
        raise ConfigError(f"override {text!r}: allowed: KEY=VALUE, such as training.lr=1e-4")
    if not value.strip():
        raise ConfigError(f"override {text!r}: found no value, allowed: a YAML value (or null)")
    origin = Origin(f"override {text}", None, Path.cwd())
    return Override(path, parse_yaml(value, origin))


def with_override(tree: Located, override: Override, *, depth: int = 0) -> Located:
    """Set one value of a document; missing mappings on its path are created.

    Args:
        tree: Document.
        override: Override to apply.
        depth: Number of leading parts of the override's path that lead to the document itself.
    """
    return _with_value(tree, override, depth)


def _with_value(tree: Located, override: Override, depth: int) -> Located:
    if depth == len(override.path):
        return override.value
    entries = tree.value
    if entries is None:
        entries = {}
    if not isinstance(entries, dict):
        whole = key_text(override.path[:depth])
        raise ConfigError(
            f"{override.value.origin}: {whole} is {describe(tree.plain())} ({tree.origin}), "
            f"allowed: a mapping there, or an override of all of it, {whole}=..."
        )
    key = override.path[depth]
    below = entries.get(key, Located({}, override.value.origin))
    return Located(entries | {key: _with_value(below, override, depth + 1)}, tree.origin)


def inherit(parent: Located, child: Located, *, sections: frozenset[str]) -> Located:
    """Merge the child's keys over the parent's; the named sections are merged key by key."""
    if not isinstance(parent.value, dict) or not isinstance(child.value, dict):
        return child
    joined = dict(parent.value)
    for key, value in child.value.items():
        inherited = joined.get(key)
        joined[key] = value
        if key in sections and inherited is not None:
            joined[key] = inherit(inherited, value, sections=frozenset())
    return Located(joined, child.origin)


def expand_variables(tree: Located, path: tuple[str | int, ...] = ()) -> Located:
    """Replace `${NAME}` in every text with the environment variable; `$${` is a literal `${`.

    Raises:
        ConfigError: If a variable is not set or empty.
    """

    def expand(below: Located, part: str | int) -> Located:
        return expand_variables(below, (*path, part))

    if isinstance(tree.value, dict):
        entries = {key: expand(value, key) for key, value in tree.value.items()}
        return Located(entries, tree.origin)
    if isinstance(tree.value, list):
        return Located([expand(v, i) for i, v in enumerate(tree.value)], tree.origin)
    if isinstance(tree.value, str):
        return Located(_VARIABLE.sub(_variable(tree, path), tree.value), tree.origin)
    return tree


def escape_variables(value: Any) -> Any:
    """Escape every text in plain data so that `expand_variables` returns it unchanged."""
    if isinstance(value, dict):
        return {key: escape_variables(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [escape_variables(inner) for inner in value]
    return value.replace("${", "$${") if isinstance(value, str) else value


def _variable(tree: Located, path: tuple[str | int, ...]) -> Callable[[re.Match[str]], str]:
    def replacement(match: re.Match[str]) -> str:
        escape, name, closing = match.groups()
        if escape:
            return match[0][1:]
        where = f"{tree.origin}: {key_text(path)}: "
        if not closing or not _VARIABLE_NAME.fullmatch(name):
            raise ConfigError(
                f"{where}found {match[0]!r}, allowed: ${{NAME}}; $${{ for a plain ${{"
            )
        value = os.environ.get(name, "")
        if not value:
            state = "is empty" if name in os.environ else "is not set"
            raise ConfigError(
                f"{where}found ${{{name}}}, but the environment variable {name} {state}: "
                f"export {name}=..., or pass {key_text(path)}=... on the command line"
            )
        return value

    return replacement


def relative_to_origin(tree: Located) -> Path:
    """Return the absolute path of a text that is relative to the file that names it."""
    assert isinstance(tree.value, str), shown(Path(str(tree.value)))
    return Path(os.path.abspath(tree.origin.folder / Path(tree.value).expanduser()))


def named_path(key: str, tree: Located) -> Path:
    """Return the path of a settings file or folder that a key names: `linly:NAME`, or relative.

    Raises:
        ConfigError: If it is `linly:NAME` and nothing of that name comes with linly.
    """
    try:
        shipped = shipped_path(str(tree.value))
    except ConfigError as error:
        raise ConfigError(f"{tree.origin}: {key}: {error}") from None
    return shipped or relative_to_origin(tree)
