"""The page of a plan: what it says of each source is what the schedule does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from linly import api
from linly.config.curriculum import load_curriculum
from linly.config.recipe import load_recipe
from linly.config.sections.saving_sections import CheckpointSettings
from linly.curriculum.apportion import Phase, row_counts
from linly.curriculum.learning_rate import LearningRate
from linly.curriculum.mixture import Mixture
from linly.curriculum.run_plan import Available, Batch, make_plan
from linly.monitor.charts.figures import Chart
from linly.monitor.plans.plan_facts import Costs, PlanFacts, kept_checkpoints, plan_facts
from linly.monitor.plans.plan_page import plan_charts, plan_html, write_plan_page
from linly.training.checkpoints.checkpoints import superseded
from tests.support.tiny_world import make_tiny_world

CURRICULUM = """\
name: small
tokens: 1M
mixture:
  english:
    ratio: {curve: linear, from: 80%, to: 20%}
    sources: {NAME: 100%}
  chinese:
    ratio: rest
    sources: {wiki: 100%}
"""


def facts(tmp_path: Path, name: str = "web") -> PlanFacts:
    file = tmp_path / "small.yaml"
    file.write_text(CURRICULUM.replace("NAME", name))
    curriculum = load_curriculum(file)
    available = {
        name: Available(tokens=200_000, supervised_tokens=200_000, exact=True, has_held_out=True),
        "wiki": Available(tokens=900_000, supervised_tokens=90_000, exact=True, has_held_out=False),
    }
    plan = make_plan(curriculum, sequence_length=100, batch=Batch(48, 4), available=available)
    costs = Costs(checkpoint_bytes=12_000_000, kept_checkpoints=4, seconds=7200.0)
    return plan_facts(curriculum, plan, costs, recipe=None, problems=["web is read too often"])


def test_a_source_repeats_where_its_rows_have_used_up_what_it_has(tmp_path: Path) -> None:
    web = next(source for source in facts(tmp_path).sources if source.name == "web")
    assert web.epochs == pytest.approx(2.5, abs=0.02)
    assert len(web.repeats) == 2
    mixture = Mixture.from_curriculum(load_curriculum(tmp_path / "small.yaml"), num_rows=10_000)
    for epoch, tokens in enumerate(web.repeats, start=1):
        rows = row_counts([Phase(0, mixture)], round(tokens / 100))["web"]
        assert rows * 100 == pytest.approx(200_000 * epoch, abs=200)


GUARDED = CURRICULUM.replace("to: 20%}", "to: 20%, guard: {source: web, max_rise: 3%, cap: 60%}}")


@pytest.mark.parametrize("rest", ["chinese", "zh"])
def test_a_guard_s_edge_is_where_the_raised_band_meets_the_rest(tmp_path: Path, rest: str) -> None:
    """Groups are stacked by name: chinese below english, zh above it."""
    file = tmp_path / "small.yaml"
    file.write_text(GUARDED.replace("chinese", rest).replace("NAME", "web"))
    curriculum = load_curriculum(file)
    plan = make_plan(curriculum, sequence_length=100)
    costs = Costs(checkpoint_bytes=None, kept_checkpoints=None, seconds=None)
    drawn = plan_facts(curriculum, plan, costs, recipe=None)
    edge = drawn.raised["english"]
    third = len(edge) // 3
    assert np.isnan(edge[: third - 1]).all()  # above the cap by itself
    assert edge[third + 1 :] == pytest.approx(0.4 if rest == "chinese" else 0.6)
    write_plan_page(drawn, tmp_path / "plan.html")
    assert "the edge of a group with its guard at the cap" in (tmp_path / "plan.html").read_text()


def test_a_plan_without_data_has_no_empty_columns(tmp_path: Path) -> None:
    known = plan_html(facts(tmp_path))
    curriculum = load_curriculum(tmp_path / "small.yaml")
    plan = make_plan(curriculum, sequence_length=100)
    unknown = plan_html(plan_facts(curriculum, plan, Costs(), recipe=None))
    for head in ("available", "epochs", "share of loss"):
        assert f">{head}</th>" in known
        assert f">{head}</th>" not in unknown
    assert "The data was not read" in unknown
    assert "–</td>" not in unknown


def test_masked_prompts_shrink_the_share_of_loss(tmp_path: Path) -> None:
    shares = {source.name: source.loss_share for source in facts(tmp_path).sources}
    assert shares["wiki"] == pytest.approx(0.1 / 1.1, abs=0.002)
    assert sum(share or 0 for share in shares.values()) == pytest.approx(1)


def test_checkpoints_kept_are_the_newest_and_the_milestones() -> None:
    settings = CheckpointSettings(every=100, keep_last=2, keep_every=500)
    assert kept_checkpoints(settings, 1050) == len({500, 1000, 1050}) + 1
    assert kept_checkpoints(CheckpointSettings(every=100, keep_last=3, keep_every=None), 250) == 4


@pytest.mark.parametrize("num_steps", [1, 29, 30, 300, 1050, 2071])
@pytest.mark.parametrize(("every", "keep_every"), [(30, 1000), (200, 1000), (7, 100), (100, 30)])
def test_checkpoints_kept_equal_those_that_a_run_leaves(
    every: int, keep_every: int, num_steps: int
) -> None:
    settings = CheckpointSettings(every=every, keep_last=2, keep_every=keep_every)
    left: list[int] = []
    for step in sorted({*range(every, num_steps + 1, every), num_steps}):
        left.append(step)
        left = sorted({*left} - {*superseded(left, settings)})
    assert kept_checkpoints(settings, num_steps) == len(left) + 1


def test_round_number_of_tokens_is_no_warning(tmp_path: Path) -> None:
    drawn = facts(tmp_path)
    assert [note[:16] for note in drawn.notes] == ["the last 16 rows"]
    assert not any("do not fill a step" in text for text in drawn.warnings)


def test_the_page_says_what_helps_and_fetches_nothing(tmp_path: Path) -> None:
    write_plan_page(facts(tmp_path), tmp_path / "plan.html")
    page = (tmp_path / "plan.html").read_text()
    assert "web is read too often" in page
    assert "rows do not fill a step and are not trained on; tokens: " in page
    assert "checkpoints 48.0 MB (4 of 12.0 MB)" in page
    assert "2 h 0 min in steps" in page
    assert "default-src 'none'" in page
    assert "<script src" not in page


@pytest.mark.parametrize(("schedule", "is_low"), [("cosine", True), ("wsd", False)])
def test_a_recipe_s_page_draws_the_learning_rate_under_the_mixture(
    tmp_path: Path, schedule: str, is_low: bool
) -> None:
    make_tiny_world(tmp_path, num_steps=40)
    recipe = load_recipe(tmp_path / "recipe.yaml", [f"training.schedule={schedule}"])
    plan = api.plan(recipe, counts_data=False)
    drawn = plan_facts(recipe.curriculum, plan, Costs(), recipe=recipe)
    charts = plan_charts(drawn)
    assert [chart.key for chart in charts] == ["plan", "plan-rate", "plan-tokens"]
    rate, lr = LearningRate.from_recipe(recipe), drawn.lr
    assert lr is not None
    assert lr[-1] == pytest.approx(rate.at(40)) == pytest.approx(recipe.training.lr / 10)
    middle = recipe.num_rows / 2 / recipe.data.global_batch
    assert lr[500] == pytest.approx(rate.at(middle))
    assert charts[0].figure["layout"]["xaxis"]["range"] == trace_range(charts[1])
    page = plan_html(drawn)
    chinese = next(total for total in drawn.totals if total.name == "chinese")
    assert f"{chinese.lr_share:.1%}" in page and "weighted by the learning rate" in page
    assert chinese.is_low == is_low
    assert ("With training.schedule: wsd with decay: 10% it would be" in page) == is_low


def trace_range(chart: Chart) -> object:
    return chart.figure["layout"]["xaxis"]["range"]
