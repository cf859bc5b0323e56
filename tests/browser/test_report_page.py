"""The report as a reader sees it: complete, quiet, legible at any width, hostile names inert."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linly.monitor.pages.run_report import write_report
from tests.support.synthetic_run import SyntheticRun

pytestmark = pytest.mark.browser

HOSTILE = "</script><img src=x onerror=document.title='owned'>"

OVERLAPS = """
() => {
  const found = [];
  for (const plot of document.querySelectorAll(".plot")) {
    const labels = plot.querySelectorAll(
      ".xtick text, .ytick text, .g-xtitle text, .g-ytitle text, .legendtext");
    const boxes = [...labels].map((label) => [label.textContent, label.getBoundingClientRect()]);
    const frame = plot.getBoundingClientRect();
    boxes.forEach(([text, box], i) => {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 ||
          box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        found.push(plot.id + ": " + text + " is cut off");
      for (const [other, second] of boxes.slice(i + 1))
        if (box.left + 1 < second.right && second.left + 1 < box.right &&
            box.top + 1 < second.bottom && second.top + 1 < box.bottom)
          found.push(plot.id + ": " + text + " over " + other);
    });
  }
  return found;
}
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(SyntheticRun(tmp_path_factory.mktemp("runs") / "small").whole())


@pytest.mark.parametrize("width", [1400, 768, 390])
def test_all_is_drawn_legible_and_nothing_is_fetched(
    report: Path, visit: Callable[..., Any], width: int
) -> None:
    seen = visit(report, width=width)
    seen.draw_all()
    assert seen.complaints == []
    assert seen.requests == [report.absolute().as_uri()]
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    assert seen.page.evaluate(OVERLAPS) == []


def test_the_page_follows_dark_and_light(report: Path, visit: Callable[..., Any]) -> None:
    seen = visit(report)
    seen.draw_all()
    tick = "getComputedStyle(document.querySelector('#plot-languages .xtick text')).fill"
    ground = "getComputedStyle(document.body).backgroundColor"
    light = seen.page.evaluate(f"[{tick}, {ground}]")
    seen.page.emulate_media(color_scheme="dark")
    seen.until(f"{tick} !== {light[0]!r}")
    dark = seen.page.evaluate(f"[{tick}, {ground}]")
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    assert seen.complaints == []


def test_a_legend_button_hides_its_source_in_every_chart(
    report: Path, visit: Callable[..., Any]
) -> None:
    seen = visit(report)
    seen.draw_all()
    visible = """() => [...document.querySelectorAll(".plot")].map((plot) =>
        plot.data.filter((t) => t.meta && t.meta.source === 1 && t.visible !== false).length)"""
    before = seen.page.evaluate(visible)
    assert sum(count > 0 for count in before) >= 6
    button = seen.page.get_by_role("button", name="slimpajama")
    button.click()
    seen.draw_all()
    assert sum(seen.page.evaluate(visible)) == 0
    assert button.get_attribute("aria-pressed") == "false"
    button.focus()
    seen.page.keyboard.press("Enter")
    seen.draw_all()
    assert seen.page.evaluate(visible) == before
    assert seen.complaints == []


def test_a_hostile_source_name_stays_text(tmp_path: Path, visit: Callable[..., Any]) -> None:
    run = SyntheticRun(tmp_path / "run", num_steps=40, chinese=HOSTILE, with_curriculum=False)
    run.start()
    run.train(1, 40)
    seen = visit(write_report(tmp_path / "run"))
    seen.draw_all()
    labels = [button.inner_text() for button in seen.page.query_selector_all(".legend button")]
    assert HOSTILE in labels
    area = seen.page.locator("#plot-mixture .nsewdrag")
    area.hover(position={"x": 300, "y": 100})
    area.hover(position={"x": 310, "y": 110})
    texts = (
        "[...document.querySelectorAll('#plot-mixture .hoverlayer text')]"
        ".map((text) => text.textContent).join('|')"
    )
    seen.until(f"{texts}.includes('slimpajama')")
    assert HOSTILE[:30] in seen.page.evaluate(texts)
    assert seen.page.query_selector_all("img") == []
    assert "owned" not in seen.page.title()
    assert seen.complaints == []
