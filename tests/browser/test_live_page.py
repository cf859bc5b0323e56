"""The live page in a browser: it grows with the run, hides, shows documents, stays inert."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linly.monitor.history.follow import RunFollower
from linly.monitor.pages.live import serve
from linly.runs.runs import RunFolder
from tests.support.synthetic_run import SyntheticRun
from tests.support.tiny_world import make_tiny_world

pytestmark = pytest.mark.browser

HOSTILE = "</script><img src=x onerror=document.title='owned'>"
REALIZED_END = """() => {
    const plot = document.getElementById("plot-shares");
    return plot && plot._fullData ? Math.max(...plot._fullData[0].x) : 0;
}"""


@pytest.fixture
def opened() -> Iterator[Callable[..., str]]:
    """Give a function that serves runs: `opened(path, ...)` returns the page's address."""
    servers = []

    def serve_runs(*paths: Path) -> str:
        server = serve([RunFollower(path) for path in paths], port=0)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield serve_runs
    for server in servers:
        server.shutdown()
        server.server_close()


def started(path: Path, **settings: Any) -> SyntheticRun:
    run = SyntheticRun(path, **settings)
    run.start()
    run.train(1, 120)
    return run


def look_at_shares(seen: Any) -> None:
    """Scroll to the chart of `REALIZED_END`: one out of sight is not redrawn."""
    seen.page.locator("#plot-shares").scroll_into_view_if_needed()


def assert_quiet(seen: Any, address: str) -> None:
    assert seen.complaints == []
    assert [url for url in seen.requests if not url.startswith((address, "data:"))] == []


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (1400, "dark"), (390, "light")])
def test_the_page_grows_with_the_run(
    tmp_path: Path, visit_address: Callable[..., Any], opened: Any, width: int, scheme: str
) -> None:
    run = started(tmp_path / "run")
    run.train(121, 130)  # the second evaluation, at step 125, adds charts above the others
    address = opened(run.path)
    seen = visit_address(address, width=width, scheme=scheme)
    seen.draw_all()
    look_at_shares(seen)
    before = seen.page.evaluate(REALIZED_END)
    assert before == 130 * 16 * 256
    writer = threading.Thread(target=run.train, args=(131, 240))
    writer.start()
    seen.until(f"({REALIZED_END})() > {before}")
    writer.join()
    seen.until(f"({REALIZED_END})() === {240 * 16 * 256}")
    assert "step 240" in seen.page.inner_text("header")
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    assert_quiet(seen, address)


def test_a_run_that_restarts_is_followed_back(
    tmp_path: Path, visit_address: Callable[..., Any], opened: Any
) -> None:
    run = started(tmp_path / "run")
    run.train(121, 163)
    address = opened(run.path)
    seen = visit_address(address)
    seen.until("document.querySelector('header')?.innerText.includes('step 163')")
    with (run.path / "metrics.jsonl").open("ab") as log:
        log.write(b'{"step": 164, "time"')  # the crash came in the middle of a line
    step = run.resume()
    seen.until(f"document.querySelector('header').innerText.includes('step {step}')")
    run.train(step + 1, 130)
    seen.until("document.querySelector('header').innerText.includes('step 130')")
    assert_quiet(seen, address)


def test_a_legend_button_hides_its_source_and_keeps_it_hidden(
    tmp_path: Path, visit_address: Callable[..., Any], opened: Any
) -> None:
    run = started(tmp_path / "run")
    address = opened(run.path)
    seen = visit_address(address)
    seen.draw_all()
    visible = """() => [...document.querySelectorAll(".plot")].map((plot) =>
        plot.data.filter((t) => t.meta && t.meta.source === 1 && t.visible !== false).length)"""
    assert sum(count > 0 for count in seen.page.evaluate(visible)) >= 6
    button = seen.page.get_by_role("button", name="slimpajama")
    button.focus()
    seen.page.keyboard.press("Enter")
    seen.draw_all()
    assert sum(seen.page.evaluate(visible)) == 0
    run.train(121, 140)
    seen.until("document.querySelector('header').innerText.includes('step 140')")
    look_at_shares(seen)  # the second evaluation has pushed it down
    seen.until(f"({REALIZED_END})() === {140 * 16 * 256}")
    seen.draw_all()
    assert sum(seen.page.evaluate(visible)) == 0
    assert button.get_attribute("aria-pressed") == "false"
    assert_quiet(seen, address)


def test_a_steps_documents_open_by_number_and_by_a_click(
    tmp_path: Path, visit_address: Callable[..., Any], opened: Any
) -> None:
    run = started(tmp_path / "run")
    address = opened(run.path)
    seen = visit_address(address)
    seen.draw_all()
    seen.page.fill("#step", "42")
    seen.page.keyboard.press("Enter")
    seen.until("document.querySelectorAll('#documents tbody tr').length === 16")
    first = seen.page.inner_text("#documents tbody tr")
    assert first.split()[0] == "656"
    assert "/0.jsonl, 656, 0 to 256" in first
    seen.page.locator("#plot-mixture .nsewdrag").click(position={"x": 5, "y": 100})
    seen.until("!document.querySelector('#documents').innerText.includes('Step 42:')")
    clicked = int(seen.page.input_value("#step"))
    assert 1 <= clicked <= 10
    assert f"Step {clicked}: 16 rows" in seen.page.inner_text("#documents")
    assert f"linly trace {run.path} --step {clicked}" in seen.page.inner_text("#documents")
    seen.page.fill("#step", "110")  # trained, but its checkpoint is yet to come
    seen.page.keyboard.press("Enter")
    seen.until("document.querySelector('#documents').innerText.includes('reaches to step 100')")
    assert_quiet(seen, address)


def test_several_runs_overlay_and_one_is_chosen(
    tmp_path: Path, visit_address: Callable[..., Any], opened: Any
) -> None:
    paths = [started(tmp_path / name).path for name in ("steady", "steep")]
    address = opened(*paths)
    seen = visit_address(address)
    seen.draw_all()
    names = "document.getElementById('plot-all-loss').data.map((trace) => trace.name)"
    assert seen.page.evaluate(names) == ["steady", "steep"]
    seen.page.get_by_text("steep", exact=True).first.click()
    seen.until("document.querySelector('h1').innerText === 'steep'")
    seen.draw_all()
    assert seen.page.query_selector("#plot-mixture") is not None
    assert_quiet(seen, address)


def test_hostile_names_stay_text(
    tmp_path: Path, visit_address: Callable[..., Any], opened: Any
) -> None:
    run = started(tmp_path / "<img src=x>", chinese=HOSTILE, with_curriculum=False)
    address = opened(run.path)
    seen = visit_address(address)
    seen.draw_all()
    labels = [button.inner_text() for button in seen.page.query_selector_all(".legend button")]
    assert HOSTILE in labels
    seen.page.fill("#step", "42")
    seen.page.keyboard.press("Enter")
    seen.until("document.querySelectorAll('#documents tbody tr').length === 16")
    assert HOSTILE in seen.page.inner_text("#documents")
    assert seen.page.query_selector_all("img") == []
    assert "owned" not in seen.page.title()
    assert seen.page.inner_text("h1") == "<img src=x>"
    assert_quiet(seen, address)


def test_a_script_put_into_the_page_does_not_run(
    tmp_path: Path, visit_address: Callable[..., Any], opened: Any
) -> None:
    seen = visit_address(opened(started(tmp_path / "run").path))
    seen.page.wait_for_selector("html[data-ready]")
    seen.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'owned'";
            document.body.append(script);
        }"""
    )
    time.sleep(0.2)
    assert seen.page.title() != "owned"
    assert any("Content Security Policy" in complaint for complaint in seen.complaints)


def pause_after_first_step(run: RunFolder, trainer: subprocess.Popen[bytes]) -> None:
    """Stop the process (SIGSTOP) as soon as a step is in its record."""
    deadline = time.monotonic() + 120
    metrics = run.path / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        assert trainer.poll() is None, f"the trainer ended with {trainer.returncode}"
        assert time.monotonic() < deadline, "no step was recorded"
        time.sleep(0.002)
    trainer.send_signal(signal.SIGSTOP)


def test_a_real_run_is_seen_to_grow_to_its_end(
    tmp_path: Path, visit_address: Callable[..., Any], opened: Any
) -> None:
    make_tiny_world(tmp_path, num_steps=16)
    run = RunFolder.create_or_open(tmp_path / "runs" / "live")
    address = opened(run.path)
    seen = visit_address(address)
    seen.until("document.querySelector('#pulse')?.innerText.includes('waiting')")
    command = [sys.executable, "-m", "linly.cli.main", "train", str(tmp_path / "recipe.yaml")]
    settings = [f"run={run.path}", "data.producers=0", "--quiet"]
    with subprocess.Popen([*command, *settings], stdout=subprocess.DEVNULL) as trainer:
        try:
            pause_after_first_step(run, trainer)  # or a quick run ends before the page looks
            seen.until("document.querySelector('#plot-shares') !== null", timeout_s=120)
            look_at_shares(seen)
            seen.until(f"({REALIZED_END})() > 0")
            early = seen.page.evaluate(REALIZED_END)
            trainer.send_signal(signal.SIGCONT)
            assert trainer.wait(timeout=180) == 0
        finally:
            trainer.kill()
    look_at_shares(seen)
    seen.until(f"({REALIZED_END})() > {early}")
    seen.until("document.querySelector('header p').innerText.includes('finished')")
    seen.until("document.querySelector('#pulse').innerText.includes('not running')")
    seen.page.fill("#step", "16")
    seen.page.keyboard.press("Enter")
    seen.until("document.querySelector('#documents').innerText.includes('Step 16: 8 rows')")
    assert_quiet(seen, address)
