"""Hooks of MkDocs: pages that are made at build time, and what GitHub shows otherwise.

`README.md` is the front page, and the other files of `COPIED` are pages too. A link to a
file that is not a page leads to the repository if `repo_url` is set; otherwise its text remains.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from docs.hooks.command_reference import commands_page
from docs.hooks.key_reference import reference_page
from docs.hooks.notebook import PAGE, run_notebook

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
COPIED = {
    "README.md": "index.md",
    "README_zh.md": "zh.md",
    "CONTRIBUTING.md": "maintainers/contributing.md",
    "SECURITY.md": "maintainers/security.md",
    "CHANGELOG.md": "changelog.md",
}
"""File of the repository -> page with its text."""

PAGES = COPIED | {"docs/notebook.ipynb": PAGE}
"""File of the repository -> page that it becomes, where it has another name."""

GENERATED: dict[str, Callable[[], str]] = {
    "reference/recipe.md": lambda: reference_page("recipe"),
    "reference/curriculum.md": lambda: reference_page("curriculum"),
    "reference/corpus.md": lambda: reference_page("corpus"),
    "reference/commands.md": commands_page,
}
"""Page -> function that writes it."""

WITHOUT_MENU = {"index.md", "zh.md"}
"""Pages that are alone in their part of the navigation."""

_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")
_DIAGRAM = re.compile(r"^```mermaid\nflowchart BT\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FETCHED = re.compile(
    r"""<(?:script|link|img|iframe|source|video)\b[^>]*?(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)[^>]*"""
    r"""|url\(["']?((?:https?:)?//[^"')]+)"""
)
_PART = re.compile(r'^    (\w+)\["(.+)"\]$', re.MULTILINE)
_ARROW = re.compile(r"^    (\w+) --> (\w+)$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    from mkdocs.structure.files import File

    for name, page in COPIED.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for page, write in GENERATED.items():
        files.append(File.generated(config, page, content=write()))
    text, pictures = run_notebook()
    files.append(File.generated(config, PAGE, content=text))
    for name, content in pictures.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn diagrams into tables, and links between files into links between pages."""
    place = page.file.src_uri
    if place in WITHOUT_MENU:
        page.meta["hide"] = ["navigation"]
    text = _DIAGRAM.sub(lambda found: diagram_table(found[1]), markdown)
    parts = _FENCE.split(text)
    return "".join(
        part if part.startswith("```") else with_page_links(part, place, config.repo_url)
        for part in parts
    )


def on_post_build(config: MkDocsConfig) -> None:
    """Fail if a page would fetch anything from elsewhere."""
    from mkdocs.exceptions import PluginError

    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in (".html", ".css") and (found := fetched(path.read_text("utf-8"))):
            raise PluginError(f"{path}: fetches {', '.join(found)} from elsewhere")


def fetched(text: str) -> list[str]:
    """Return the addresses outside the site that a browser loads for a page or a style sheet."""
    return [
        found[1] or found[2]
        for found in _FETCHED.finditer(text)
        if 'rel="canonical"' not in found[0]
    ]


def with_page_links(text: str, place: str, repo_url: str | None) -> str:
    """Rewrite the relative links of a page.

    Args:
        text: Markdown without code blocks.
        place: Page that it is on, relative to docs/.
        repo_url: Address of the repository, for links to files that are not pages.
    """
    return _LINK.sub(lambda found: _link(found, place, repo_url), text)


def _link(found: re.Match[str], place: str, repo_url: str | None) -> str:
    image, shown, target = found.groups()
    path, hash_mark, fragment = target.partition("#")
    if not path or "://" in target:
        return f"{image}[{with_page_links(shown, place, repo_url)}]({target})"
    source = next((name for name, page in COPIED.items() if page == place), f"docs/{place}")
    file = os.path.normpath(PurePosixPath(source).parent / path)
    page = PAGES.get(file)
    if page is None and file.startswith("docs/"):
        page = file.removeprefix("docs/")
    if page is not None:
        relative = os.path.relpath(page, PurePosixPath(place).parent)
        return (
            f"{image}[{with_page_links(shown, place, repo_url)}]({relative}{hash_mark}{fragment})"
        )
    return f"[{shown}]({repo_url.rstrip('/')}/blob/main/{file})" if repo_url else shown


def diagram_table(diagram: str) -> str:
    """Write a diagram of imports as a table: drawing it would take a script from elsewhere."""
    names = dict(_PART.findall(diagram))
    imports: dict[str, list[str]] = {part: [] for part in names}
    for part, target in _ARROW.findall(diagram):
        imports[part].append(f"`{names[target]}`")
    rows = [f"| `{names[part]}` | {', '.join(found)} |" for part, found in imports.items()]
    return "\n".join(["| part | imports |", "|---|---|", *rows])
