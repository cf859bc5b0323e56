"""The report on paper: every chart whole, in light colours, though nobody scrolled to it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from linly.monitor.pages.run_report import write_report
from tests.browser.conftest import FLAGS
from tests.support.synthetic_run import SyntheticRun

pytestmark = pytest.mark.browser

POINTS_PER_PX = 0.75
NOTE_PX, PLOT_PX = 60, 150
"""Where a chart is below its title, at least: under a note of up to three lines."""

WIDTH_PX = 280
"""Width of a narrow chart, at least."""

TITLES = "[...document.querySelectorAll('.charts h3')].map((title) => title.textContent)"
TICK_COLOR = "getComputedStyle(document.querySelector('#plot-languages .xtick text')).fill"
CUT_OFF = """() => [...document.querySelectorAll(".plot")].filter((plot) => {
    const box = plot.getBoundingClientRect();
    const drawing = plot.querySelector(".main-svg").getBoundingClientRect();
    return Math.abs(drawing.width - box.width) > 1 || Math.abs(drawing.height - box.height) > 1 ||
        !plot.querySelector(".xtick, .ytick");
}).map((plot) => plot.id)"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(SyntheticRun(tmp_path_factory.mktemp("runs") / "small").whole())


def printed_by_chromium(page: Path, output: Path) -> bytes:
    """Print as `chromium --print-to-pdf` does, which opens the page and scrolls nowhere."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    command = [str(chromium), "--headless", *FLAGS, f"--print-to-pdf={output}"]
    subprocess.run([*command, page.as_uri()], check=True, capture_output=True, timeout=120)
    return output.read_bytes()


def assert_charts_have_ink(pdf: bytes, titles: list[str]) -> None:
    """Look below the title of every chart: it is whole on its page, and not white."""
    pdfium = pytest.importorskip("pypdfium2", reason="pypdfium2 is missing: pip install linly[dev]")
    missing = set(titles)
    for page in pdfium.PdfDocument(pdf):
        text = page.get_textpage()
        pixels = np.asarray(page.render(scale=1 / POINTS_PER_PX).to_pil().convert("RGB"))
        assert pixels.mean() > 220, "the paper is not white"
        for title in sorted(missing):
            place = text.search(title, match_case=True).get_next()
            if place is None:
                continue
            left, _, _, top = text.get_charbox(place[0])
            chart = region(pixels, left / POINTS_PER_PX, (page.get_height() - top) / POINTS_PER_PX)
            assert chart.shape[0] == PLOT_PX, f"{title} is cut off at the end of its page"
            assert (chart.min(axis=2) < 200).mean() > 0.003, f"{title} is blank"
            missing.discard(title)
    assert not missing


def region(pixels: NDArray[np.uint8], left: float, top: float) -> NDArray[np.uint8]:
    """The part of a page in which a chart with its title at this place has its lines."""
    x, y = round(left), round(top) + NOTE_PX
    return pixels[y : y + PLOT_PX, x : x + WIDTH_PX]


def test_a_pdf_shows_every_chart(report: Path, tmp_path: Path, visit: Callable[..., Any]) -> None:
    titles = visit(report).page.evaluate(TITLES)
    assert len(titles) > 15
    assert_charts_have_ink(printed_by_chromium(report.absolute(), tmp_path / "report.pdf"), titles)


def test_a_dark_window_prints_the_same(report: Path, visit_address: Callable[..., Any]) -> None:
    seen = visit_address(report.absolute().as_uri(), width=1400, scheme="dark")
    titles = seen.page.evaluate(TITLES)
    assert_charts_have_ink(seen.page.pdf(format="A4"), titles)
    seen.draw_all()  # the window is as before
    assert seen.page.evaluate(TICK_COLOR) == "rgb(165, 173, 186)"
    seen.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert seen.page.evaluate(TICK_COLOR) == "rgb(86, 93, 105)"
    seen.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    seen.draw_all()
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 1400
    assert seen.page.evaluate(CUT_OFF) == []
    assert seen.complaints == []


def test_charts_fit_their_boxes_on_paper(report: Path, visit: Callable[..., Any]) -> None:
    seen = visit(report, width=700)
    seen.page.emulate_media(media="print")
    seen.until("document.querySelectorAll('.plot:not(.js-plotly-plot)').length === 0")
    assert seen.page.evaluate(CUT_OFF) == []
    assert seen.page.evaluate("[...document.querySelectorAll('details')].every((d) => d.open)")
    seen.page.emulate_media(media="screen")
    seen.until("document.querySelectorAll('details[open]').length === 0")
    assert seen.complaints == []
