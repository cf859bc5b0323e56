"""The charts draw what the history holds, thinned without hiding anything."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from linly.monitor.charts.charts import run_charts
from linly.monitor.charts.colors import language_colors, source_colors
from linly.monitor.charts.data_charts import fill_since_start
from linly.monitor.charts.figures import (
    MUTED,
    STRONG,
    edges,
    farthest,
    means,
    new_figure,
    plain,
    scatter,
)
from linly.monitor.charts.labels import short_name
from linly.monitor.history.headlines import headlines, language_changes
from linly.monitor.history.history import read_history
from linly.monitor.history.shares import realized_and_planned
from linly.records.evaluation_record import AverageEvaluation
from tests.support.synthetic_run import SyntheticRun


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SyntheticRun(tmp_path_factory.mktemp("runs") / "run").whole()


def numbers(column: Any) -> list[float]:
    if isinstance(column, dict):
        return np.frombuffer(base64.b64decode(column["bdata"]), column["dtype"]).tolist()
    return list(column)


def test_averaged_weights_have_a_line_beside_the_last_ones(run: Path) -> None:
    """Dashed, with a gap before the first mean, and in the headline of the language."""
    history = read_history(run)
    first, *others = history.evaluations
    better = [
        replace(
            evaluation,
            average=AverageEvaluation(
                sources={
                    name: replace(found, bits_per_byte=found.bits_per_byte and 0.5)
                    for name, found in evaluation.sources.items()
                }
            ),
        )
        for evaluation in others
    ]
    averaged = replace(history, evaluations=(first, *better))
    (chart,) = (chart for chart in run_charts(averaged) if chart.key == "languages")
    lines = {trace["name"]: trace for trace in chart.figure["data"] if trace.get("name")}
    found = {name for name in lines if "averaged weights" in name}
    assert {name.partition(",")[0] for name in found} == lines.keys() - found
    for name in found:
        assert lines[name]["line"]["dash"] == "dash"
        values = numbers(lines[name]["y"])
        assert values[0] is None or np.isnan(values[0])
        assert values[-1] == pytest.approx(0.5)
    assert "averaged weights 0.500" in headlines(averaged)[0].detail
    assert all("averaged" not in headline.detail for headline in headlines(history))


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
    colors = source_colors(history)
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
    start = language_changes(history)["zh"].before
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


@pytest.mark.parametrize("num_steps", [1, 2])
def test_a_young_run_has_no_blank_chart(tmp_path: Path, num_steps: int) -> None:
    synthetic = SyntheticRun(tmp_path / "run")
    synthetic.start()
    synthetic.train(1, num_steps)
    charts = run_charts(read_history(tmp_path / "run"))
    keys = {chart.key for chart in charts}
    assert {"languages", "mixture", "shares"} <= keys
    assert ("loss" in keys) == (num_steps > 1)
    assert not keys & {"change", "together", "before-after", "norms"}  # need a second evaluation
    for chart in charts:
        own = [trace for trace in chart.figure["data"] if trace["meta"] != MUTED]
        assert any(np.isfinite(numbers(trace["y"])).sum() > 1 for trace in own), chart.key


def test_the_only_point_of_a_line_is_marked() -> None:
    figure = new_figure("y")
    for values in ([1.0, np.nan], [1.0, 2.0]):
        figure.add_trace(scatter(x=[0, 1], y=values, mode="lines", meta=STRONG))
    assert [trace["mode"] for trace in plain(figure)["data"]] == ["lines+markers", "lines"]


def test_results_and_losses_stand_above_drift(run: Path) -> None:
    charts = run_charts(read_history(run))
    keys = [chart.key for chart in charts]
    assert keys[:2] == ["languages", "change"]
    assert keys.index("loss") < keys.index("mixture") < keys.index("drift")
    sections = list(dict.fromkeys(chart.section for chart in charts))
    assert sections == ["Results", "Mixture", "Data", "Training"]
    assert [chart.section for chart in charts] == sorted(
        (chart.section for chart in charts), key=sections.index
    )


def test_languages_have_the_hues_of_their_sources(run: Path) -> None:
    history = read_history(run)
    chart = next(chart for chart in run_charts(history) if chart.key == "languages")
    colors = {t["name"]: t["line"]["color"] for t in chart.figure["data"] if "name" in t}
    whole = language_colors(history)
    assert colors == {"English": whole["en"], "Chinese": whole["zh"]}
    assert source_colors(history)["slimpajama"] == whole["en"]


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


def traces(run: Path, key: str) -> dict[str, tuple[list[float], list[float]]]:
    chart = {chart.key: chart for chart in run_charts(read_history(run))}[key]
    data = chart.figure["data"]
    return {trace.get("name", ""): (numbers(trace["x"]), numbers(trace["y"])) for trace in data}


def test_only_sources_with_padding_are_drawn_and_as_full_as_they_were(run: Path) -> None:
    history = read_history(run)
    (name, (_, filled)), *others = traces(run, "fill").items()
    assert (name, others) == ("belle", [])
    belle = history.sources.index("belle")
    padding, rows = history.padding[-1, belle], history.rows[-1, belle]
    assert fill_since_start(history)[belle] == pytest.approx(1 - padding / (rows * 256))
    assert fill_since_start(history)[1] == 1
    weights = np.diff(np.concatenate([[0], history.rows[:, belle]])[edges(500, 60)])
    known = weights > 0
    mean = np.average(np.array(filled)[known], weights=weights[known])
    assert mean == pytest.approx(1 - padding / (rows * 256))


def test_a_run_without_padding_has_no_chart_of_it(tmp_path: Path) -> None:
    synthetic = SyntheticRun(tmp_path / "run", num_steps=20)
    synthetic.start()
    synthetic.train(1, 20)
    history = read_history(tmp_path / "run")
    empty = replace(history, padding=np.zeros_like(history.padding), quarantined_at={})
    keys = {chart.key for chart in run_charts(empty)}
    assert not keys & {"fill", "quarantine"}


def test_epochs_are_drawn_once_a_source_repeats(run: Path) -> None:
    history = read_history(run)
    for epoch, is_drawn in ((np.zeros_like(history.epoch), False), (history.epoch, True)):
        keys = {chart.key for chart in run_charts(replace(history, epoch=epoch))}
        assert ("epochs" in keys) == is_drawn


def test_the_quarantine_grows_where_records_were_set_aside(run: Path) -> None:
    history = read_history(run)
    (x, total) = traces(run, "quarantine")["belle"]
    assert total[-1] == sum(history.quarantined.values()) == 5
    assert x[1:-1] == [history.tokens_at(step) for step in (90, 180, 270, 360, 450)]


def test_new_pieces_and_losses_at_fixed_shares_are_those_of_the_evaluations(run: Path) -> None:
    history = read_history(run)
    used = traces(run, "new-pieces")
    assert used["new pieces among the tokens so far"][1][-1] == pytest.approx(0.3)
    assert used["new pieces among the tokens so far"][1][0] is None  # of no tokens, at step 0
    assert used["new pieces seen at least once"][1][0] == 0
    assert traces(run, "norms")["new pieces"][1] == [
        evaluation.new_pieces.norm for evaluation in history.evaluations if evaluation.new_pieces
    ]
    together = traces(run, "together")
    fixed = [evaluation.loss_at_fixed_shares for evaluation in history.evaluations]
    assert together["at fixed shares"][1] == pytest.approx(fixed)
    assert together["at fixed shares"][1][-1] == together["at the current shares"][1][-1]


def test_evaluations_that_know_nothing_of_new_pieces_have_no_chart_of_them(run: Path) -> None:
    history = read_history(run)
    old = tuple(
        replace(evaluation, new_pieces=None, loss_at_fixed_shares=None)
        for evaluation in history.evaluations
    )
    keys = {chart.key for chart in run_charts(replace(history, evaluations=old))}
    assert not keys & {"new-pieces", "norms", "together"}


def test_a_decision_is_marked_in_the_mixture_and_stands_in_the_timeline_once(
    tmp_path: Path,
) -> None:
    synthetic = SyntheticRun(tmp_path / "run", num_steps=60)
    synthetic.start()
    synthetic.train(1, 40)
    synthetic.amend(40)
    synthetic.train(41, 60)
    tokens, _ = traces(tmp_path / "run", "mixture")["amend"]
    assert tokens == [40 * 16 * 256] * 2
    for _ in range(2):
        charts = {chart.key: chart for chart in run_charts(read_history(tmp_path / "run"))}
        marks = [t for t in charts["timeline"].figure["data"] if t["y"][0] == "amend"]
        assert [len(mark["x"]) for mark in marks] == [1]
        synthetic.note(40, "amend", "english falls to 10%")  # the event that tells of it
    assert marks[0]["customdata"][0][1] == "english falls to 10%"


def test_shares_jump_where_the_plan_was_amended(tmp_path: Path) -> None:
    synthetic = SyntheticRun(tmp_path / "run", num_steps=60)
    synthetic.start()
    synthetic.train(1, 40)
    synthetic.amend(40)
    synthetic.train(41, 60)
    history = read_history(tmp_path / "run")
    steady = np.repeat([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]], [40, 20], axis=0)
    shares = realized_and_planned(replace(history, target_share=steady))
    amended_at = 40 * 16 * 256
    assert amended_at in shares.window_tokens
    before, after = shares.planned[shares.planned_tokens == amended_at]
    assert (before.tolist(), after.tolist()) == ([0.6, 0.3, 0.1], [0.2, 0.3, 0.5])
    assert {tuple(row) for row in shares.planned} == {tuple(before), tuple(after)}


def test_plotly_knows_every_value_of_the_figures(run: Path) -> None:
    charts = run_charts(read_history(run))
    assert len(charts) > 15
    for chart in charts:
        go.Figure(chart.figure)  # it refuses names and values that it does not know


def test_the_ticks_of_the_learning_rate_are_round_and_short(run: Path) -> None:
    chart = {chart.key: chart for chart in run_charts(read_history(run))}["lr"]
    axis = chart.figure["layout"]["yaxis"]
    assert axis["ticktext"] == ["0", "2e-5", "4e-5", "6e-5", "8e-5", "1e-4"]
    assert axis["tickvals"] == pytest.approx([0, 2e-5, 4e-5, 6e-5, 8e-5, 1e-4])


def test_a_training_phase_is_marked_where_it_begins(tmp_path: Path) -> None:
    """A vertical line after the last step of the phase before, as at an amendment."""
    synthetic = SyntheticRun(tmp_path / "run")
    synthetic.start()
    synthetic.train(1, 20)
    synthetic.note(11, "phase", "training phase 2 began: steps 11 to 20: full")
    history = read_history(tmp_path / "run")
    (mixture,) = (chart for chart in run_charts(history) if chart.key == "mixture")
    (mark,) = (trace for trace in mixture.figure["data"] if trace.get("name") == "phase")
    assert mark["x"] == [history.tokens_at(10)] * 2
    assert "where a training phase begins" in mixture.note
