"""Two or more curricula in the same charts: shares of their groups, tokens of their sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from linly.files import publish_text
from linly.monitor.charts.colors import run_colors
from linly.monitor.charts.figures import Chart, bar, new_figure, plain, scatter
from linly.monitor.charts.labels import display_name, height_of_lines, short_name
from linly.monitor.charts.overlay import DASHES, dash_words
from linly.monitor.number_words import count
from linly.monitor.pages.page import chart_cards, legend, page_header, section, table
from linly.monitor.pages.standalone import standalone_page
from linly.monitor.plans.plan_facts import PlanFacts


def write_plan_comparison(plans: Sequence[PlanFacts], output: Path) -> Path:
    """Write a self-contained page that compares plans."""
    colors = run_colors(len(plans))
    entries = [(plan.name, colors[index], index) for index, plan in enumerate(plans)]
    charts = (_groups(plans, colors), _tokens(plans, colors))
    names = ", ".join(plan.name for plan in plans)
    parts = (
        page_header(f"{len(plans)} curricula", names),
        legend({"": entries}, label="Show or hide curricula"),
        chart_cards(charts),
        section("Sources", table(*_table(plans))),
    )
    publish_text(output, standalone_page(f"{names} · linly", parts, charts))
    return output


def source_names(plans: Sequence[PlanFacts]) -> tuple[str, ...]:
    """Every source of any plan, in the order in which they appear."""
    return tuple(dict.fromkeys(source.name for plan in plans for source in plan.sources))


def tokens_of(plan: PlanFacts, name: str) -> int:
    """Tokens of a source in a plan; 0 if the plan does not have the source."""
    return next((source.tokens for source in plan.sources if source.name == name), 0)


def _groups(plans: Sequence[PlanFacts], colors: Sequence[str]) -> Chart:
    groups = sorted({group for plan in plans for group in plan.groups})
    end = max(float(plan.tokens[-1]) for plan in plans)
    figure = new_figure("share of rows", tickformat=".0%", x_end=end)
    for index, plan in enumerate(plans):
        for dash, group in zip(DASHES, groups, strict=False):
            if group not in plan.groups:
                continue
            figure.add_trace(
                scatter(
                    x=plan.tokens,
                    y=sum(plan.shares[name] for name in plan.groups[group]),
                    name=display_name(f"{plan.name}, {group}"),
                    mode="lines",
                    line={"width": 2, "color": colors[index], "dash": dash},
                    hovertemplate="%{y:.2%}",
                    meta={"source": index},
                )
            )
    figure.update_xaxes(title={"text": "tokens"})
    figure.update_yaxes(rangemode="tozero")
    note = f"Planned along the run. {dash_words(groups)}"
    return Chart("compare-groups", "Shares of groups", note, plain(figure), is_wide=True)


def _tokens(plans: Sequence[PlanFacts], colors: Sequence[str]) -> Chart:
    names = source_names(plans)[::-1]
    figure = new_figure("")
    width = 0.8 / len(plans)
    for index, plan in enumerate(plans):
        offset = 0.4 - width * (index + 0.5)
        figure.add_trace(
            bar(
                x=[tokens_of(plan, name) for name in names],
                y=[line + offset for line in range(len(names))],
                orientation="h",
                width=width,
                name=display_name(plan.name),
                marker={"color": colors[index]},
                text=[display_name(name) for name in names],
                textposition="none",
                hovertemplate=f"{display_name(plan.name)}, %{{text}}: %{{x:.4~s}} tokens"
                "<extra></extra>",
                meta={"source": index},
            )
        )
    figure.update_layout(hovermode="closest", barmode="overlay")
    figure.update_xaxes(title={"text": "tokens"}, rangemode="tozero", showgrid=True)
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(names))),
        ticktext=[short_name(name) for name in names],
        range=[-0.6, len(names) - 0.4],
        showgrid=False,
        nticks=0,
    )
    height = height_of_lines(len(names))
    note = "Tokens of each source in each plan."
    return Chart("compare-tokens", "Tokens of each source", note, plain(figure), True, height)


def _table(plans: Sequence[PlanFacts]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a table: tokens of each source in each plan."""
    lines = [
        [name, *(count(tokens_of(plan, name)) for plan in plans)] for name in source_names(plans)
    ]
    return ["source", *(plan.name for plan in plans)], lines
