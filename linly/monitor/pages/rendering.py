"""Templates of the pages, in which every value is escaped.

A source named like a script tag is shown as text. Only `Markup` is inserted as it is: the output of
a template, and the bundled scripts and styles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("linly.monitor"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, values: Mapping[str, Any]) -> Markup:
    """Render a template of a whole page."""
    return trusted(_environment().get_template(template).render(values))


def part(name: str) -> Callable[..., Markup]:
    """The macro of parts.html with this name."""
    macro: Callable[..., Markup] = getattr(_environment().get_template("parts.html").module, name)
    return macro


def asset(name: str) -> Markup:
    """Read a bundled script or style sheet of the pages."""
    return trusted((resources.files("linly.monitor") / "assets" / name).read_text(encoding="utf-8"))


def trusted(html: str) -> Markup:
    """HTML that is inserted as it is; never call it with a name or text of a run."""
    return Markup(html)  # noqa: S704 (the only place; its callers pass what linly or dash made)
