"""The charts draw what the history holds, thinned without hiding anything."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_run import SyntheticRun

from linly.monitor.charts import run_charts
from linly.monitor.colors import source_colors
from linly.monitor.figures import edges, farthest, means, short_name
from linly.monitor.history import read_history
from linly.monitor.shares import realized_and_planned


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SyntheticRun(tmp_path_factory.mktemp("runs") / "run").whole()


def numbers(column: Any) -> list[float]:
    if isinstance(column, dict):
        return np.frombuffer(base64.b64decode(column["bdata"]), column["dtype"]).tolist()
    return list(column)


def test_realized_shares_are_counted_from_rows_and_lie_on_the_plan(run: Path) -> None:
    history = read_history(run)
    shares = realized_and_planned(history)
    np.testing.assert_allclose(shares.realized.sum(axis=1), 1)
    counted = shares.realized * np.diff(shares.window_tokens)[:, None] / 256
    np.testing.assert_allclose(counted.sum(axis=0), history.rows[-1])
    middle = (shares.window_tokens[1:] + shares.window_tokens[:-1]) / 2
    for index in range(3):
        planned = np.interp(middle, shares.planned_tokens, shares.planned[:, index])
        assert np.abs(planned - shares.realized[:, index]).max() < 2.5 / 128


def test_the_plan_goes_on_where_the_run_has_yet_to_go(tmp_path: Path) -> None:
    synthetic = SyntheticRun(tmp_path / "run")
    synthetic.start()
    synthetic.train(1, 200)
    shares = realized_and_planned(read_history(tmp_path / "run"))
    assert shares.has_future
    tokens, planned = shares.future
    assert tokens[0] == shares.window_tokens[-1] == 200 * 16 * 256
    assert tokens[-1] == 500 * 16 * 256
    np.testing.assert_allclose(planned[-1], [0.6, 0.25, 0.15], atol=1e-6)
    recorded = shares.planned[shares.num_past - 1]
    np.testing.assert_allclose(recorded, planned[0], atol=2e-3)


def test_a_finished_run_has_no_future(run: Path) -> None:
    assert not realized_and_planned(read_history(run)).has_future


def test_a_source_has_one_colour_in_all_charts(run: Path) -> None:
    history = read_history(run)
    colors = source_colors(history.groups)
    seen: dict[int, set[str]] = {}
    for chart in run_charts(history):
        for trace in chart.figure["data"]:
            if "source" in trace["meta"]:
                color = trace.get("line", {}).get("color") or trace["marker"]["color"]
                seen.setdefault(trace["meta"]["source"], set()).add(color)
    assert seen == {i: {colors[source]} for i, source in enumerate(history.sources)}
    assert len(set(colors.values())) == 3


def test_every_axis_of_numbers_says_what_it_counts(run: Path) -> None:
    for chart in run_charts(read_history(run)):
        layout = chart.figure["layout"]
        assert layout["xaxis"]["title"]["text"]
        assert layout["yaxis"]["title"].get("text") or chart.key in ("before-after", "timeline")


def test_the_bound_is_drawn_beside_the_drift(run: Path) -> None:
    chart = next(chart for chart in run_charts(read_history(run)) if chart.key == "drift")
    levels = [numbers(t["y"]) for t in chart.figure["data"] if t["mode"] == "lines"]
    assert levels == [[0.75, 0.75], [-0.75, -0.75]]


def test_the_start_is_drawn_beside_the_held_out_bits(run: Path) -> None:
    history = read_history(run)
    chart = next(chart for chart in run_charts(history) if chart.key == "languages")
    traces = {trace["name"]: trace for trace in chart.figure["data"] if "name" in trace}
    assert set(traces) == {"English", "Chinese"}
    start = history.evaluations[0].by_language["zh"]
    assert numbers(traces["Chinese"]["y"])[0] == pytest.approx(start)
    assert any(
        numbers(trace["y"]) == pytest.approx([start, start])
        for trace in chart.figure["data"]
        if "name" not in trace
    )


def test_a_run_without_evaluations_has_no_such_charts(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run", num_steps=50).whole()
    (run / "evaluations.jsonl").unlink()
    keys = {chart.key for chart in run_charts(read_history(run))}
    assert "loss" in keys
    assert not keys & {"languages", "change", "before-after"}


def test_one_step_is_enough_for_charts(tmp_path: Path) -> None:
    synthetic = SyntheticRun(tmp_path / "run")
    synthetic.train(1, 1)
    assert len(run_charts(read_history(tmp_path / "run"))) >= 8


def test_thinning_keeps_the_peak() -> None:
    values = np.zeros(5000)
    values[3217] = -7.0
    at = farthest(values, edges(5000, 100))
    assert len(at) == 100
    assert 3217 in at


def test_thinning_passes_over_gaps() -> None:
    values = np.array([np.nan, 1.0, np.nan, np.nan])
    at = edges(4, 2)
    assert farthest(values, at)[0] == 1
    assert means(values, at)[0] == 1.0
    assert np.isnan(means(values, at)[1])


def test_a_long_name_keeps_both_ends_and_is_no_markup() -> None:
    assert short_name("wiki") == "wiki"
    assert short_name("<b>") == "&lt;b&gt;"
    name = short_name("a-corpus-with-a-very-long-name-part-2")
    assert len(name) == 22
    assert name.startswith("a-corpus-with-") and name.endswith("-part-2")
