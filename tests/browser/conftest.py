"""A headless Chromium of the system, without network; tests are skipped where there is none."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Visit:
    """A page, and what it said and asked for since it was opened."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def draw_all(self) -> None:
        """Scroll to the end and back, as a reader does, until every chart is as it should be."""
        self.page.wait_for_selector("html[data-ready]")
        for element in self.page.query_selector_all(".plot"):
            element.scroll_into_view_if_needed()
            self.until(f"!document.getElementById({element.get_attribute('id')!r}).dataset.stale")
        self.until(
            "document.querySelectorAll('.plot').length"
            " === document.querySelectorAll('.plot.js-plotly-plot .xaxislayer-above').length"
        )
        self.page.evaluate("window.scrollTo(0, 0)")

    def until(self, condition: str, *, timeout_s: float = 30.0) -> None:
        """Wait for a condition (playwright's own way needs eval, which the page forbids)."""
        deadline = time.monotonic() + timeout_s
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, f"never came true: {condition}"
            self.page.wait_for_timeout(50)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install 'linly[dev]'"
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on PATH: apt-get install chromium")
    with playwright.sync_playwright() as starter:
        browser = starter.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def visit_address(browser: Any) -> Iterator[Callable[..., Visit]]:
    """Give a function that opens a page: `visit_address(url, width=1400, scheme="light")`."""
    contexts = []

    def open_page(address: str, *, width: int = 1400, scheme: str = "light") -> Visit:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        seen = Visit(context.new_page())
        seen.page.on("console", lambda message: seen.complaints.append(message.text))
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.goto(address)
        return seen

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def visit(visit_address: Callable[..., Visit]) -> Callable[..., Visit]:
    """Give a function that opens a file: `visit(path, width=1400)`."""

    def open_file(path: Path, *, width: int = 1400) -> Visit:
        return visit_address(path.absolute().as_uri(), width=width)

    return open_file
