"""A page in one file: plotly's script, the figures as JSON, styles, all inline.

The page's policy allows only the two scripts, by their hashes, and nothing from outside. So a
source named like a script tag is shown as text, in the page and in the charts.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from linly.errors import ConfigError
from linly.monitor.charts.figures import Chart
from linly.monitor.pages.rendering import asset, render, trusted


def check_page_file(path: Path) -> None:
    """Check that a page can be written to a file that the user named.

    Raises:
        ConfigError: If it is not an .html file in an existing folder.
    """
    if path.suffix != ".html":
        raise ConfigError(
            f"--plot {path}: found {path.suffix!r}, allowed: .html (a browser saves a chart as PNG)"
        )
    if not path.parent.is_dir():
        raise ConfigError(f"--plot {path}: folder {path.parent} does not exist: create it first")


def standalone_page(title: str, parts: Iterable[Markup], charts: Sequence[Chart]) -> str:
    """Compose the HTML of a page.

    Args:
        title: Title as plain text.
        parts: Parts of the page, including the cards of the charts.
        charts: Charts to draw into their cards.
    """
    plotly = _script_text(trusted(get_plotlyjs()))
    drawing = _script_text(asset("page.js"))
    values = {
        "title": title,
        "policy": trusted(_policy(plotly, drawing)),
        "style": asset("page.css"),
        "parts": parts,
        "figures": _json({chart.key: chart.figure for chart in charts}),
        "plotly": plotly,
        "drawing": drawing,
    }
    return render("standalone.html", values)


def _policy(*scripts: str) -> str:
    """Policy that allows only these scripts; plotly needs inline styles and data URLs."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    sources = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _script_text(script: Markup) -> Markup:
    """A bundled script, checked not to end its own element."""
    assert "</script" not in script.lower(), "a bundled script would end its element"
    return script


def _json(value: Any) -> Markup:
    """Encode JSON that cannot end its script element."""
    encoded = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    for character in "<>&\u2028\u2029":
        encoded = encoded.replace(character, f"\\u{ord(character):04x}")
    return trusted(encoded)
