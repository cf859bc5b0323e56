"""Picture of docs/schedules.md: the published mixture under a cosine and under WSD.

    python -m docs.hooks.schedule_picture docs/schedules.png

Left: shares of the groups over the run. Right: the same areas scaled by the learning rate of each
step, so that an area is what a group moves the weights by.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from linly import api
from linly.config.recipe import Recipe, load_recipe
from linly.curriculum.rate_plan import group_totals
from linly.monitor.plans.plan_facts import Costs, PlanFacts, plan_facts

RECIPES = ("linly-llama2-7b", "linly-llama2-7b-wsd")
COLORS = {
    "chinese": "#d1495b",
    "english": "#30638e",
    "instruction": "#8a8f98",
    "parallel": "#edae49",
}
INK, SOFT = "#16181d", "#565d69"


def main() -> None:
    """Draw the picture into the file of the first argument."""
    folder = Path(__file__).parents[2] / "launch" / "recipes"
    figure = Figure(figsize=(10, 4.2), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3, width_ratios=[1, 1, 1])
    for column, name in enumerate(RECIPES, start=1):
        recipe = load_recipe(folder / f"{name}.yaml", ["data_root=."])
        plan = api.plan(recipe, counts_data=False)
        facts = plan_facts(recipe.curriculum, plan, Costs(), recipe=recipe)
        if column == 1:
            draw(axes[0], facts, np.ones_like(facts.tokens))
            title(axes[0], "Rows of each group", "Chinese: {:.1%} of the tokens", plan_share(facts))
            label(axes[0], facts)
        assert facts.lr is not None
        draw(axes[column], facts, facts.lr / recipe.training.lr)
        by_rate = {total.name: total.lr_share or 0.0 for total in group_totals(plan)}
        words = "Chinese: {:.1%} of the area"
        title(axes[column], schedule(recipe), words, by_rate["chinese"])
    axes[1].set_ylabel("share x learning rate / its peak", color=SOFT, size=9)
    axes[0].set_ylabel("share of rows", color=SOFT, size=9)
    figure.tight_layout(w_pad=1.5)
    figure.savefig(sys.argv[1])


def draw(axes: Axes, facts: PlanFacts, scale: np.ndarray) -> None:
    """Stack the groups' shares, scaled."""
    shares = [sum(facts.shares[name] for name in facts.groups[group]) * scale for group in COLORS]
    axes.stackplot(facts.tokens, shares, colors=list(COLORS.values()), alpha=0.85, linewidth=0)
    axes.plot(facts.tokens, scale, color=INK, linewidth=1.4)
    axes.set_xlim(0, facts.tokens[-1])
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e9:g}B"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("tokens", color=SOFT, size=9)
    axes.tick_params(colors=SOFT, labelsize=8, length=3)
    for spine in axes.spines.values():
        spine.set_visible(False)


def label(axes: Axes, facts: PlanFacts) -> None:
    """Name the groups inside their areas."""
    at, bottom = len(facts.tokens) * 7 // 10, 0.0
    for group in COLORS:
        share = float(sum(facts.shares[name][at] for name in facts.groups[group]))
        place = (facts.tokens[at], bottom + share / 2)
        axes.text(*place, group, color="white", size=9, ha="center", va="center")
        bottom += share


def title(axes: Axes, head: str, words: str, share: float) -> None:
    """Write a heading of two lines."""
    axes.set_title(head, color=INK, size=11, weight="bold", loc="left", pad=20)
    axes.text(0, 1.03, words.format(share), transform=axes.transAxes, size=9, color=SOFT)


def plan_share(facts: PlanFacts) -> float:
    """Share of the tokens that are Chinese."""
    return next(total.token_share for total in facts.totals if total.name == "chinese")


def schedule(recipe: Recipe) -> str:
    """A schedule's name as a heading."""
    return {"cosine": "Cosine to 10%", "wsd": "WSD, last 10% down to 10%"}[recipe.training.schedule]


if __name__ == "__main__":
    main()
