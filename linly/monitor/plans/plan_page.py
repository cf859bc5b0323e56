"""A plan as a page in one file: shares, tokens against what is available, costs, warnings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from markupsafe import Markup

from linly.config.shapes import Floats
from linly.files import publish_text
from linly.monitor.charts.colors import colors_by_source
from linly.monitor.charts.figures import (
    STRONG,
    Chart,
    Trace,
    bar,
    new_figure,
    plain,
    scatter,
)
from linly.monitor.charts.labels import display_name, height_of_lines, short_name, small_ticks
from linly.monitor.number_words import count, duration, size
from linly.monitor.pages.page import chart_cards, legend, page_header, section, table, warning_list
from linly.monitor.pages.rendering import part
from linly.monitor.pages.standalone import check_page_file, standalone_page
from linly.monitor.plans.plan_facts import PlanFacts

_RATE_HEIGHT = 220


def write_plan_page(facts: PlanFacts, path: Path) -> None:
    """Write the page of a plan.

    Raises:
        ConfigError: If `path` is not an .html file in an existing folder.
    """
    check_page_file(path)
    publish_text(path, plan_html(facts))


def plan_html(facts: PlanFacts) -> str:
    """Compose the page of a plan."""
    colors = colors_by_source(facts.groups, facts.languages, facts.run_languages)
    number = {source.name: index for index, source in enumerate(facts.sources)}
    charts = plan_charts(facts)
    entries = {
        group: [(name, colors[name], number[name]) for name in names]
        for group, names in facts.groups.items()
    }
    parts = (
        page_header(facts.name, cost_line(facts)),
        warning_list(facts.warnings),
        legend(entries, label="Show or hide sources"),
        chart_cards(charts),
        *([_groups(facts)] if facts.lr is not None else []),
        _sources(facts),
    )
    return standalone_page(f"{facts.name}: plan · linly", parts, charts)


def cost_line(facts: PlanFacts) -> str:
    """Tokens, steps, disk, time and notes in a line."""
    words = [f"{count(float(facts.tokens[-1]))} tokens"]
    if facts.num_steps:
        words.append(f"{facts.num_steps:,} steps")
    costs = facts.costs
    if costs.parameters is not None:
        words.append(f"training {costs.parameters}")
    if costs.checkpoint_bytes is not None and costs.kept_checkpoints is not None:
        whole = size(costs.checkpoint_bytes * costs.kept_checkpoints)
        each = size(costs.checkpoint_bytes)
        words.append(f"checkpoints {whole} ({costs.kept_checkpoints} of {each})")
    if costs.seconds is not None:
        words.append(f"{duration(costs.seconds)} in steps")
    return " · ".join([*words, *facts.notes])


def plan_charts(facts: PlanFacts) -> tuple[Chart, ...]:
    """Shares along the run over the learning rate, and tokens of each source."""
    rate = () if facts.lr is None else (_rate(facts, facts.lr),)
    return (_shares(facts), *rate, _tokens(facts))


def _shares(facts: PlanFacts) -> Chart:
    colors = colors_by_source(facts.groups, facts.languages, facts.run_languages)
    number = {source.name: index for index, source in enumerate(facts.sources)}
    figure = new_figure("share of rows", tickformat=".0%", x_end=float(facts.tokens[-1]))
    bottom = 0.0 * facts.tokens
    marks: list[Trace] = []
    for names in facts.groups.values():
        for name in names:
            meta = {"source": number[name]}
            figure.add_trace(
                scatter(
                    x=facts.tokens,
                    y=facts.shares[name],
                    name=display_name(name),
                    stackgroup="planned",
                    mode="lines",
                    line={"width": 0.6, "color": colors[name]},
                    fillcolor=colors[name],
                    hovertemplate="%{y:.2%}",
                    meta=meta,
                )
            )
            repeats = facts.sources[number[name]].repeats
            middle = bottom + facts.shares[name] / 2
            if len(repeats):
                marks.append(
                    scatter(
                        x=repeats,
                        y=np.interp(repeats, facts.tokens, middle),
                        mode="markers",
                        marker={"size": 9, "symbol": "diamond"},
                        hoverinfo="skip",
                        meta=STRONG | {"boundary": True},
                    )
                )
            bottom = bottom + facts.shares[name]
    for mark in marks:
        figure.add_trace(mark)
    for group, edge in facts.raised.items():
        figure.add_trace(
            scatter(
                x=facts.tokens,
                y=edge,
                mode="lines",
                line={"width": 1.6, "dash": "dash"},
                hovertemplate=f"{display_name(group)} with its guard at the cap<extra></extra>",
                meta=STRONG | {"boundary": True},
            )
        )
    figure.update_xaxes(title={"text": "tokens"})
    figure.update_yaxes(range=[0, 1])
    note = "Planned along the run."
    if any(source.repeats for source in facts.sources):
        note += " Diamonds: a source has been read to its end and repeats."
    if facts.raised:
        note += " Dashed: the edge of a group with its guard at the cap."
    return Chart("plan", "Mixture over the run", note, plain(figure), is_wide=True)


def _rate(facts: PlanFacts, lr: Floats) -> Chart:
    """Learning rate, on the axis of the mixture above it."""
    figure = new_figure("learning rate", x_end=float(facts.tokens[-1]))
    figure.add_trace(
        scatter(
            x=facts.tokens,
            y=lr,
            mode="lines",
            line={"width": 2},
            fill="tozeroy",
            hovertemplate="%{y:.3~e}<extra></extra>",
            meta=STRONG,
        )
    )
    figure.update_xaxes(title={"text": "tokens"})
    figure.update_yaxes(rangemode="tozero", **small_ticks(float(lr.max())))
    note = "Where it is low, a row moves the weights less."
    return Chart("plan-rate", "Learning rate", note, plain(figure), True, _RATE_HEIGHT)


def _tokens(facts: PlanFacts) -> Chart:
    colors = colors_by_source(facts.groups, facts.languages, facts.run_languages)
    figure = new_figure("")
    lines = list(enumerate(facts.sources))[::-1]
    for line, (index, source) in enumerate(lines):
        epochs = "" if source.epochs is None else f" {source.epochs:.2f} epochs"
        figure.add_trace(
            bar(
                x=[source.tokens],
                y=[line],
                orientation="h",
                width=0.42,
                marker={"color": colors[source.name]},
                hovertemplate=f"{display_name(source.name)}: %{{x:.4~s}} tokens{epochs}"
                "<extra></extra>",
                meta={"source": index},
            )
        )
        figure.add_trace(
            scatter(
                x=[max(source.tokens, source.available or 0)],
                y=[line],
                mode="text",
                text=[f" {epochs}"],
                textposition="middle right",
                cliponaxis=False,
                hoverinfo="skip",
                meta={"source": index},
            )
        )
        if source.available is not None:
            figure.add_trace(
                scatter(
                    x=[source.available, source.available],
                    y=[line - 0.36, line + 0.36],
                    mode="lines",
                    line={"width": 2.5},
                    hovertemplate=f"{display_name(source.name)}: %{{x:.4~s}} available"
                    "<extra></extra>",
                    meta=STRONG,
                )
            )
    most = max(max(source.tokens, source.available or 0) for source in facts.sources)
    has_words = any(source.epochs is not None for source in facts.sources)
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(
        title={"text": "tokens"}, range=[0, (1.35 if has_words else 1.04) * most], showgrid=True
    )
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(lines))),
        ticktext=[short_name(source.name) for _, source in lines],
        range=[-0.6, len(lines) - 0.4],
        showgrid=False,
        nticks=0,
    )
    note = "Bars: planned tokens."
    if any(source.available is not None for source in facts.sources):
        note += " Lines: tokens that the source has; beyond them it repeats."
    height = height_of_lines(len(lines))
    return Chart("plan-tokens", "Tokens of each source", note, plain(figure), True, height)


def _groups(facts: PlanFacts) -> Markup:
    """Table of the groups: share of the tokens, plain and weighted by the learning rate."""
    heads = ["group", "tokens", "share of tokens", "weighted by the learning rate"]
    lines = [
        [
            total.name,
            count(total.tokens),
            f"{total.token_share:.1%}",
            "–" if total.lr_share is None else f"{total.lr_share:.1%}",
        ]
        for total in facts.totals
    ]
    return section("Groups", table(heads, lines), note=" ".join(facts.rate_notes))


def _sources(facts: PlanFacts) -> Markup:
    """Table of the sources; the last columns need the data to be read."""
    colors = colors_by_source(facts.groups, facts.languages, facts.run_languages)
    heads = ["source", "share at the start", "in the middle", "at the end", "share of rows"]
    heads += ["weighted by the learning rate"] if facts.lr is not None else []
    heads += ["tokens", "available", "epochs", "share of loss"]
    is_known = any(source.available is not None for source in facts.sources)
    total = max(1, sum(source.tokens for source in facts.sources))
    middle = len(facts.tokens) // 2
    lines = []
    for source in facts.sources:
        shares = facts.shares[source.name]
        cells: list[str] = [
            part("swatched")(colors[source.name], source.name),
            *(f"{float(shares[at]):.1%}" for at in (0, middle, -1)),
            f"{source.tokens / total:.1%}",
            *([] if source.lr_share is None else [f"{source.lr_share:.1%}"]),
            count(source.tokens),
        ]
        if is_known:
            cells.append("–" if source.available is None else count(source.available))
            cells.append("–" if source.epochs is None else f"{source.epochs:.2f}")
            cells.append("–" if source.loss_share is None else f"{source.loss_share:.1%}")
        lines.append(cells)
    note = (
        "Share of loss: share of the tokens that carry loss; masked prompts do not count."
        if is_known
        else "The data was not read: available tokens, epochs and shares of the loss are unknown."
    )
    return section("Sources", table(heads if is_known else heads[:-3], lines), note=note)
