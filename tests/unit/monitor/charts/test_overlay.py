"""Several runs in one page: told apart, and what was learned for what was lost in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from linly.monitor.charts.overlay import overlay_charts
from linly.monitor.history.headlines import language_changes, language_series
from linly.monitor.history.history import read_history
from linly.monitor.history.named_runs import named_runs
from linly.monitor.pages.overlay_page import overlay_parts, trade_lines, write_comparison
from tests.support.synthetic_run import SyntheticRun


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    paths = [tmp_path_factory.mktemp(folder) / "small" for folder in ("a", "b")]
    for path, steps in zip(paths, (500, 250), strict=True):
        run = SyntheticRun(path)
        run.start()
        run.train(1, steps)
    return paths


def test_runs_of_one_name_are_told_apart_by_their_folders(runs: list[Path]) -> None:
    names = [run.name for run in named_runs([read_history(path) for path in runs])]
    assert len(set(names)) == 2
    assert all(name.endswith("/small") for name in names)


def test_the_trade_is_chinese_gained_per_english_lost(runs: list[Path]) -> None:
    history = read_history(runs[0])
    changes = language_changes(history)
    gained, lost = -changes["zh"].relative, changes["en"].relative
    first, last = (history.evaluations[at].sources["wiki2019zh"].bits_per_byte for at in (0, -1))
    assert first and last and gained == pytest.approx(1 - last / first)
    line = trade_lines(named_runs([history]))[0]
    assert f"{gained / lost:.1f}% Chinese gained per 1% English lost" in line


def test_every_chart_holds_every_run(runs: list[Path]) -> None:
    for chart in overlay_charts(named_runs([read_history(path) for path in runs])):
        shown = {t["meta"]["source"] for t in chart.figure["data"] if "source" in t["meta"]}
        assert shown == {0, 1}, chart.key


def test_every_path_ends_in_its_run_s_name(runs: list[Path]) -> None:
    named = named_runs([read_history(path) for path in runs])
    chart = next(chart for chart in overlay_charts(named) if chart.key == "all-trade")
    paths = [t for t in chart.figure["data"] if t.get("mode") == "lines+markers"]
    labels = [t for t in chart.figure["data"] if t.get("mode") == "lines+text"]
    by_run = {label["meta"]["source"]: label for label in labels}
    for path in paths:
        label = by_run.pop(path["meta"]["source"])
        assert (label["x"][0], label["y"][0]) == (path["x"][-1], path["y"][-1])
        assert label["text"][1].strip() == path["name"]
        assert label["x"][1] == chart.figure["layout"]["xaxis"]["range"][1]
    assert by_run == {}
    low, high = chart.figure["layout"]["yaxis"]["range"]
    heights = sorted((label["y"][1] - low) / (high - low) for label in labels)
    assert np.diff(heights).min() >= 0.07 - 1e-9


def test_the_runs_are_listed_above_the_charts(runs: list[Path]) -> None:
    named = named_runs([read_history(path) for path in runs])
    parts = list(overlay_parts(named, overlay_charts(named)).items())
    names = [name for name, _ in parts]
    assert names.index("tiles") < names.index("charts")
    table = dict(parts)["tiles"]
    assert all(run.name in table for run in named)
    assert "1.918 → 1.068" in table


def test_the_comparison_is_one_file_without_addresses(runs: list[Path], tmp_path: Path) -> None:
    page = write_comparison(runs, tmp_path / "both.html").read_text()
    assert "Chinese gained per 1% English lost" in page
    assert "default-src 'none'" in page
    assert "<link" not in page and "<script src" not in page


def test_a_run_without_evaluations_has_no_changes(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run")
    run.train(1, 5)
    assert language_series(read_history(run.path)) == {}
    assert np.isfinite(read_history(run.path).loss).all()
    assert overlay_charts(named_runs([read_history(run.path)]))


def run_with(folder: Path, kept: str, learned: str) -> Path:
    run = SyntheticRun(folder)
    run.start()
    languages = {"kept": kept, "learned": learned}
    event = {"step": 0, "time": 1.7e9, "kind": "start", "text": "", "languages": languages}
    run.folder.append("events", event)
    run.train(1, 250)
    return folder


def test_the_languages_of_a_run_say_what_it_gained_and_lost(
    runs: list[Path], tmp_path: Path
) -> None:
    turned = read_history(run_with(tmp_path / "turned", "zh", "en"))
    korean = read_history(run_with(tmp_path / "korean", "en", "ko"))
    named = named_runs([turned, korean])
    first, second, *pair = trade_lines(named)
    assert first.startswith("turned: English +") and first.endswith(": no English gained")
    assert second.startswith("korean: no held-out text in ko to compare (in the run: en, zh); ")
    assert [line.split(" bits")[0] for line in pair] == [
        "korean against turned: Chinese",
        "korean against turned: English",
    ]
    (chart,) = (chart for chart in overlay_charts(named) if chart.key == "all-trade")
    assert chart.note.startswith("Improvement in learned language against change in kept language")
    assert [t["name"] for t in chart.figure["data"] if "name" in t] == ["turned"]
    (chart,) = (c for c in overlay_charts(named_runs([turned])) if c.key == "all-trade")
    assert chart.note.startswith("Improvement in English against change in Chinese")


def test_other_held_out_documents_are_not_compared(runs: list[Path], tmp_path: Path) -> None:
    path = run_with(tmp_path / "run", "en", "zh")
    text = (path / "evaluations.jsonl").read_text().replace('"bytes":13500', '"bytes":13400')
    (path / "evaluations.jsonl").write_text(text)
    lines = trade_lines(named_runs([read_history(path), read_history(runs[0])]))
    assert "English bits per byte" in lines[2]
    assert lines[3].endswith(": Chinese not compared, no held-out text in common")
