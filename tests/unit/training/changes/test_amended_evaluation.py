"""Before and after are compared over the same text when an amendment drops or adds a source."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from linly.config.recipe import load_recipe
from linly.config.sections.languages import Languages
from linly.evaluation.summary import summary_line
from linly.export.model_export import ExportForm, export_run
from linly.monitor.charts.charts import run_charts
from linly.monitor.charts.overlay import overlay_charts
from linly.monitor.history.headlines import headlines
from linly.monitor.history.history import History, read_history
from linly.monitor.history.named_runs import named_runs
from linly.monitor.number_words import percent
from linly.records.evaluation_record import SourceEvaluation
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.commands import linly_ok
from tests.support.tiny_world import make_tiny_world
from tests.support.worlds import write_records

STEPS, DROPPED_AT = 8, 4
VERSES = "language: zh\nkind: text\npaths: ['verses/*.jsonl']\nheld_out: 10%\n"
CURRICULUM = f"""\
tokens: {STEPS * 8 * 32}
mixture:
  english: {{ratio: 50%, sources: {{english: 100%}}}}
  chinese: {{ratio: rest, sources: {{chinese: 50%, verses: 50%}}}}
"""
AMENDED = """\
tokens: {tokens}
mixture:
  english: {{ratio: 50%, sources: {{english: 100%}}}}
  chinese: {{ratio: rest, sources: {{chinese: 50%, songs: 50%}}}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, alone: Processes) -> Path:
    """A run that is amended half-way: `verses`, the easier half of its Chinese, goes."""
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=STEPS)
    (folder / "corpora" / "verses.yaml").write_text(VERSES)
    (folder / "curriculum.yaml").write_text(CURRICULUM)
    verses = [{"text": "abc " * (4 + index % 7) + str(index)} for index in range(300)]
    write_records(folder / "data" / "verses" / "0.jsonl", verses)
    path = folder / "runs" / "amended"
    start(path, alone, f"stop_at_step={DROPPED_AT}")
    linly_ok("amend", path, "--drop", "verses")
    start(path, alone)
    return path


@pytest.fixture(scope="module")
def old_run(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run as a version left it that did not evaluate a dropped source."""
    path = Path(shutil.copytree(run, tmp_path_factory.mktemp("runs") / "old"))
    lines = evaluations(path)
    for line in lines:
        if line["step"] > DROPPED_AT:
            del line["sources"]["verses"]
    write_records(path / "evaluations.jsonl", lines)
    return path


def start(run: Path, alone: Processes, *overrides: str) -> str:
    fast = ("data.producers=0", "evaluation.prompts=[]", "evaluation.every=2", "checkpoint.every=2")
    settings = [f"run={run}", *fast, *overrides]
    recipe = load_recipe(run.parent.parent / "recipe.yaml", settings)
    return train(recipe, alone, resume_step=None, is_quiet=True).summary


def evaluations(run: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (run / "evaluations.jsonl").read_bytes().splitlines()]


def change(history: History, *sources: str) -> float:
    """Change from the first evaluation to the last, over the bytes of some sources."""

    def mean(results: dict[str, SourceEvaluation]) -> float:
        size = sum(results[name].size_bytes for name in sources)
        return sum((results[n].bits_per_byte or 0) * results[n].size_bytes for n in sources) / size

    first, last = (history.evaluations[at].sources for at in (0, -1))
    return mean(last) / mean(first) - 1


def series(history: History, key: str, name: str) -> list[float | None]:
    charts = {chart.key: chart for chart in run_charts(history)}
    (found,) = (t["y"] for t in charts[key].figure["data"] if t.get("name") == name)
    return list(found)


def test_a_dropped_source_is_evaluated_on_the_same_text(run: Path) -> None:
    lines = evaluations(run)
    assert [line["step"] for line in lines] == [0, 2, 4, 6, 8]
    for key in ("documents", "bytes", "tokens"):
        assert len({line["sources"]["verses"][key] for line in lines}) == 1
    assert len({line["sources"]["verses"]["loss"] for line in lines}) == 5
    assert None not in series(read_history(run), "languages", "Chinese")


def test_a_resume_after_the_drop_evaluates_as_the_run_did(
    run: Path, tmp_path: Path, alone: Processes
) -> None:
    folder = Path(shutil.copytree(run.parent.parent, tmp_path / "world"))
    left = folder / "runs" / "amended"
    for step in range(DROPPED_AT + 2, STEPS + 1, 2):
        shutil.rmtree(left / "checkpoints" / f"step-{step:08d}")
    start(left, alone)
    assert [line["sources"] for line in evaluations(left)] == [
        line["sources"] for line in evaluations(run)
    ]


def test_every_figure_is_over_the_sources_of_both_ends(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = read_history(run)
    relative = change(history, "chinese", "verses")
    assert history.evaluations[-1].languages["zh"].change == pytest.approx(relative)
    tile = next(tile for tile in headlines(history) if tile.label.startswith("Chinese"))
    assert tile.value == percent(relative)
    assert "without" not in tile.detail
    linly_ok("compare", run, run)
    assert f"amended: Chinese {percent(relative)}, English" in capsys.readouterr().out
    export_run(run, steps=[], output=tmp_path / "out", form=ExportForm("bf16"))
    card = (tmp_path / "out" / "README.md").read_text()
    (line,) = (line for line in card.splitlines() if line.startswith("| Chinese |"))
    assert line.endswith(f"| {relative:+.1%} |")
    assert "left out" not in card


def test_an_earlier_run_is_compared_without_the_dropped_source(
    old_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = read_history(old_run)
    first, last = (history.evaluations[at].sources for at in (0, -1))
    relative = change(history, "chinese")
    bits = [joint(first), joint(last)]
    assert abs(bits[1] / bits[0] - 1 - relative) > 0.05, "the average of each side must mislead"
    summary = summary_line(first, last, languages=Languages(), largest_drift=0.5)
    chinese = [results["chinese"].bits_per_byte for results in (first, last)]
    assert f"zh {chinese[0]:.2f} -> {chinese[1]:.2f} bits/byte (without verses)" in summary
    tile = next(tile for tile in headlines(history) if tile.label.startswith("Chinese"))
    assert tile.value == percent(relative)
    assert tile.detail.endswith("(without verses)")
    linly_ok("compare", old_run, old_run)
    shown = capsys.readouterr().out
    assert f"old: Chinese {percent(relative)} (without verses), English" in shown
    charts = {chart.key: chart for chart in run_charts(history)}
    assert charts["languages"].note.endswith("Without verses: not evaluated at both ends.")
    assert charts["before-after"].note.endswith("Not evaluated at both: verses.")


def joint(results: dict[str, SourceEvaluation]) -> float:
    found = [result for result in results.values() if result.language == "zh"]
    size = sum(result.size_bytes for result in found)
    return sum((result.bits_per_byte or 0) * result.size_bytes for result in found) / size


def test_a_line_is_broken_where_its_sources_change(old_run: Path) -> None:
    history = read_history(old_run)
    drawn = series(history, "languages", "Chinese")
    assert [value is None for value in drawn] == [False, False, False, True, False, False]
    assert None not in series(history, "languages", "English")
    verses = series(history, "change", "verses")
    assert [value is None for value in verses] == [False, False, False, True, True]
    assert series(history, "together", "at fixed shares")[3] is None
    charts = {chart.key: chart for chart in overlay_charts(named_runs([history, history]))}
    for key in ("all-trade", "all-languages"):
        gaps = [None in list(trace["y"]) for trace in charts[key].figure["data"]]
        assert any(gaps), key
    trade, *_ = charts["all-trade"].figure["data"]
    assert len(trade["x"]) == len(trade["customdata"]) == len(trade["marker"]["size"]) == 6


def test_an_added_source_does_not_move_the_figures(
    run: Path, tmp_path: Path, alone: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(run.parent.parent, tmp_path / "world"))
    shutil.rmtree(folder / "runs" / "amended")
    (folder / "corpora" / "songs.yaml").write_text(VERSES.replace("verses", "songs"))
    shutil.copytree(folder / "data" / "verses", folder / "data" / "songs")
    path = folder / "runs" / "added"
    start(path, alone, "stop_at_step=2")
    (folder / "new.yaml").write_text(AMENDED.format(tokens=STEPS * 8 * 32))
    linly_ok("amend", path, folder / "new.yaml")
    assert "verses: dropped; its held-out documents are still" in capsys.readouterr().out
    turned = ("languages.kept=zh", "languages.learned=en")
    summary = start(path, alone, "stop_at_step=4", *turned)
    history = read_history(path)
    assert history.run_languages.both == ("zh", "en")
    assert "songs" in history.evaluations[-1].sources
    relative = change(history, "chinese", "verses")
    assert history.evaluations[-1].languages["zh"].change == pytest.approx(relative)
    assert re.match(r"en \S+ -> \S+ bits/byte, zh [+-]\S+% \(without songs\), ", summary)
