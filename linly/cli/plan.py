"""`linly plan`: the planned shares, rows and costs of a curriculum or a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linly.cli.model_options import vocabulary_option
from linly.cli.numbers import finite
from linly.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from linly.config.curriculum import Curriculum
    from linly.config.recipe import Recipe
    from linly.curriculum.guard_plan import GuardPlan
    from linly.curriculum.rate_plan import GroupTotal
    from linly.curriculum.run_plan import Plan, SourcePlan
    from linly.modeling.parameters import ParameterCount
    from linly.monitor.plans.plan_facts import Costs

_PIPE_WIDTH = 160


def register(app: typer.Typer) -> None:
    """Add `linly plan`."""
    app.command("plan")(plan)


def plan(
    file: Annotated[Path, typer.Argument(help="Curriculum or recipe file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Override values.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Page to draw the plan on: FILE.html.")] = None,
    tokens_per_second: Annotated[
        float | None,
        typer.Option(
            min=1e-9,
            max=1e15,
            callback=finite,
            help="Total throughput of all ranks, used to estimate the duration.",
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(help="Also show shares at this position: 40% or 500M; repeatable."),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        vocabulary_option("Vocabulary to count available tokens with (default: the model's)."),
    ] = None,
    without_data: Annotated[
        bool, typer.Option("--without-data", help="Do not read the shards of a recipe.")
    ] = False,
) -> None:
    """Show shares, rows per source, epochs, steps and valid world sizes; train nothing.

    Fail if the ratios do not add up, or a source would be read too often.
    """
    from linly.curriculum.guard_plan import decisions_of, idle_warning, interval_of
    from linly.curriculum.rate_plan import branch_note, rate_notes
    from linly.curriculum.run_plan import check_plan
    from linly.monitor.plans.plan_facts import phase_notes

    recipe, curriculum = load_plan_file(file, overrides or [])
    made = _made(
        recipe or curriculum,
        tokenizer,
        counts_data=not without_data,
        positions=[_position(text, curriculum) for text in at or []],
    )
    notes: list[str] = []
    if recipe is None:
        notes.append(f"planned with sequence_length {made.sequence_length}; a recipe sets its own")
    else:
        if without_data or (tokenizer is None and recipe.model is None):
            why = "--without-data" if without_data else "no model and no --tokenizer"
            notes.append(f"the data was not read ({why}): epochs are unknown")
        if recipe.stop_at_step is not None:
            notes.append(f"stop_at_step: this launch of the run ends at step {recipe.stop_at_step}")
    notes += made.notes() + branch_note(made)
    if recipe is not None:
        notes += phase_notes(recipe) + rate_notes(made, recipe)
    warnings = made.warnings()
    if recipe is not None and made.guards:
        numbers = decisions_of(curriculum, recipe.evaluation, num_steps=made.num_steps)
        by_interval = {
            interval_of(guard, recipe.evaluation): numbers[group]
            for group, guard in curriculum.guards.items()
        }
        notes += [
            f"guards decide at evaluations: every {every} steps, {times} times in the run"
            for every, times in sorted(by_interval.items())
        ]
        idle = idle_warning(curriculum, recipe.evaluation, num_steps=made.num_steps)
        warnings += [idle] if idle else []
    if recipe is not None:
        notes += _task_notes(recipe, tokenizer)
    costs = _costs(made, recipe, tokens_per_second)
    if as_json:
        _print_json(made, recipe, costs, notes, warnings)
    else:
        _print_text(made, recipe, costs, notes, warnings)
    if plot is not None:
        _draw(curriculum, recipe, made, costs, plot)
    check_plan(made, curriculum)


def _task_notes(recipe: Recipe, tokenizer: Path | None) -> list[str]:
    """Cost of the tasks of the evaluations; nothing without tasks or a vocabulary at hand."""
    from linly.evaluation.tasks.prepared_tasks import cost_text, prepare_tasks
    from linly.tokenization.load_tokenizer import load_tokenizer

    folder = tokenizer or recipe.model
    if not recipe.evaluation.tasks or not isinstance(folder, Path):
        return []
    vocabulary = load_tokenizer(folder)
    return [cost_text(prepare_tasks(recipe, vocabulary, num_old=vocabulary.vocab_size), recipe)]


def load_plan_file(file: Path, overrides: Sequence[str]) -> tuple[Recipe | None, Curriculum]:
    """Read a recipe, or a curriculum without one, depending on the file."""
    from linly.config.curriculum import Curriculum
    from linly.config.recipe import load_recipe
    from linly.config.yaml.overrides import Override, parse_override, with_override
    from linly.config.yaml.strict_model import validate
    from linly.config.yaml.yaml import read_yaml

    tree = read_yaml(file)
    keys = tree.value if isinstance(tree.value, dict) else {}
    if "mixture" not in keys:
        recipe = load_recipe(file, overrides)
        return recipe, recipe.curriculum
    for override in map(parse_override, overrides):
        path = override.path[1:] if override.path[0] == "curriculum" else override.path
        tree = with_override(tree, Override(path, override.value))
    return None, validate(Curriculum, tree, name=file.stem)


def _position(text: str, curriculum: Curriculum) -> float:
    """Parse a position in the run, `40%` or `500M`, as a fraction.

    Raises:
        ConfigError: If it has neither form, or is beyond the run's end.
    """
    from linly.config.yaml.quantities import parse_fraction, parse_tokens

    try:
        is_percent = text.endswith("%")
        place = parse_fraction(text) if is_percent else parse_tokens(text) / curriculum.tokens
    except ValueError:
        raise ConfigError(f"--at: found {text!r}, allowed: 40%, or tokens such as 500M") from None
    if place > 1:
        raise ConfigError(f"--at: found {text!r}, allowed: at most the run's {curriculum.tokens:,}")
    return place


def _made(
    planned: Recipe | Curriculum,
    tokenizer: Path | None,
    *,
    counts_data: bool,
    positions: Sequence[float],
) -> Plan:
    """Plan, and show the source whose tokens are being counted."""
    from rich.console import Console

    from linly import api

    with Console(stderr=True).status("") as status:
        return api.plan(
            planned,
            tokenizer=tokenizer,
            counts_data=counts_data,
            positions=positions,
            on_source=lambda name: status.update(f"counting the tokens of {name}"),
        )


def _print_json(
    made: Plan,
    recipe: Recipe | None,
    costs: Costs,
    notes: Sequence[str],
    warnings: Sequence[str],
) -> None:
    """Print one JSON object; unknown values and infinite epochs are null."""
    import orjson

    from linly.curriculum.rate_plan import group_totals

    form: dict[str, Any] = {"recipe": None if recipe is None else recipe.name}
    form |= asdict(made)
    form |= {
        "trained_rows": made.trained_rows,
        "groups": [asdict(total) for total in group_totals(made)],
        "costs": asdict(costs),
        "notes": list(notes),
        "warnings": list(warnings),
    }
    typer.echo(orjson.dumps(form, option=orjson.OPT_INDENT_2).decode())


def _print_text(
    made: Plan,
    recipe: Recipe | None,
    costs: Costs,
    notes: Sequence[str],
    warnings: Sequence[str],
) -> None:
    """Print a table, the costs, notes and warnings."""
    from rich.console import Console

    from linly.curriculum.wording import amount
    from linly.monitor.number_words import duration, size

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_PIPE_WIDTH)
    what = f"curriculum {made.name}" if recipe is None else f"recipe {recipe.name}"
    console.print(
        f"{what}: {amount(made.tokens)} tokens = {made.num_rows:,} rows of {made.sequence_length}"
    )
    console.print(_table(made))
    for guard in made.guards:
        console.print(_guard_line(guard, made.position_names))
    if made.batch is not None:
        step_tokens = made.batch.global_batch * made.sequence_length
        console.print(
            f"steps: {made.num_steps:,} of {made.batch.global_batch} rows "
            f"({amount(step_tokens)} tokens), remainder {made.remainder_rows} rows"
        )
        sizes = ", ".join(map(str, made.world_sizes))
        console.print(f"world sizes with micro_batch {made.batch.micro_batch}: {sizes}")
    if costs.parameters is not None:
        console.print(f"training {costs.parameters}")
    if costs.checkpoint_bytes is not None and costs.kept_checkpoints is not None:
        whole = costs.checkpoint_bytes * costs.kept_checkpoints
        console.print(
            f"checkpoints: {size(whole)} at most, {costs.kept_checkpoints} of "
            f"{size(costs.checkpoint_bytes)}"
        )
    if costs.seconds is not None:
        console.print(f"time in steps: {duration(costs.seconds)}")
    for note in notes:
        console.print(f"note: {note}")
    for warning in warnings:
        console.print(f"warning: {warning}")


def _guard_line(guard: GuardPlan, names: Sequence[str]) -> str:
    """Describe a guard: its effect, and the band between its group's curve and its cap."""
    from linly.curriculum.wording import percent

    bands = ", ".join(
        f"{name} {percent(low)} to {percent(high)}"
        for name, low, high in zip(names, guard.ratios, guard.raised_ratios, strict=True)
    )
    return (
        f"guard of {guard.group}: while {_watched(guard)} before the first step, the ratio goes "
        f"up to {percent(guard.cap)} in {guard.steps} steps, one at each evaluation, at the cost "
        f"of {guard.rest}; then down again. {bands}"
    )


def _watched(guard: GuardPlan) -> str:
    """Describe what a guard compares."""
    from linly.curriculum.wording import percent

    if guard.max_drop is not None:
        return f"task {guard.task} is more than {percent(guard.max_drop)} worse than"
    assert guard.max_rise is not None
    listed = "" if guard.watched == (guard.source,) else f" ({', '.join(guard.watched)})"
    return (
        f"held-out {guard.source}{listed} is more than {percent(guard.max_rise)} above its bits "
        "per byte"
    )


def _table(made: Plan) -> Table:
    """Build the table: a line for each source, by group."""
    from rich import box
    from rich.table import Table

    from linly.curriculum.rate_plan import group_totals

    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("group", "all")
    table.add_column("source")
    for name in made.position_names:
        table.add_column(name, "100%", justify="right")
    table.add_column("rows", f"{made.trained_rows:,}", justify="right")
    table.add_column("tokens", f"{made.trained_rows * made.sequence_length:,}", justify="right")
    has_rate = any(source.lr_share is not None for source in made.sources)
    if has_rate:
        table.add_column("of tokens", "100%", justify="right")
        table.add_column("lr-weighted", "100%", justify="right")
    is_known = any(source.available is not None for source in made.sources)
    if is_known:
        for heading in ("available", "with loss", "epochs", "allowed"):
            table.add_column(heading, justify="right")
    for total in group_totals(made):
        table.add_section()
        name = total.name
        if has_rate and total.num_sources > 1:
            table.add_row(name, f"all {total.num_sources}", *_share_cells(total, has_rate))
            name = ""
        for source in made.sources:
            if source.group == total.name:
                data = _data_cells(source) if is_known else ()
                table.add_row(name, source.name, *_share_cells(source, has_rate), *data)
                name = ""
    return table


def _share_cells(line: SourcePlan | GroupTotal, has_rate: bool) -> list[str]:
    """Return shares along the run, rows, tokens, and the shares of the whole."""
    from linly.curriculum.wording import percent

    cells = [percent(share) for share in line.shares]
    cells += [f"{line.rows:,}", f"{line.tokens:,}"]
    if has_rate and line.lr_share is not None:
        cells += [f"{line.token_share:.1%}", f"{line.lr_share:.1%}"]
    return cells


def _data_cells(source: SourcePlan) -> tuple[str, str, str, str]:
    """Return available tokens (`~`: estimated), fraction with loss, epochs, allowed epochs."""
    from linly.curriculum.wording import amount, percent

    if source.available is None or source.epochs is None:
        return ("", "", "", "")
    has = source.available
    supervised = has.supervised_tokens / has.tokens if has.tokens else 0.0
    return (
        f"{'' if has.exact else '~'}{amount(has.tokens)}",
        percent(supervised, 3),
        f"{source.epochs:.2f}{' !' if source.is_exceeded else ''}",
        f"{source.max_epochs:g}",
    )


def _costs(made: Plan, recipe: Recipe | None, tokens_per_second: float | None) -> Costs:
    """Estimate disk and time of the run, as far as the model and the throughput are known."""
    from linly.monitor.plans.plan_facts import Costs, kept_checkpoints
    from linly.training.engine.optimizers import state_bytes_per_parameter

    checkpoint_bytes = kept = parameters = None
    if recipe is not None:
        parameters = _count_parameters(recipe)
    if recipe is not None and parameters is not None:
        checkpoint_bytes = state_bytes_per_parameter(recipe.training) * parameters.trained
        kept = kept_checkpoints(recipe.checkpoint, made.num_steps)
    tokens = made.trained_rows * made.sequence_length
    seconds = tokens / tokens_per_second if tokens_per_second else None
    return Costs(
        parameters=parameters,
        checkpoint_bytes=checkpoint_bytes,
        kept_checkpoints=kept,
        seconds=seconds,
    )


def _count_parameters(recipe: Recipe) -> ParameterCount | None:
    """Count the parameters; None if the model is not on this machine."""
    from linly.storage.hub import HubModel, cached_configuration

    model, trainable = recipe.model, recipe.training.optimized
    is_whole = not isinstance(model, HubModel)
    folder = cached_configuration(model) if isinstance(model, HubModel) else model
    if folder is None or not folder.is_dir():
        return None
    from linly.modeling.trainable import count_by_configuration, count_model  # imports torch

    return (count_model if is_whole else count_by_configuration)(folder, trainable)


def _draw(
    curriculum: Curriculum, recipe: Recipe | None, made: Plan, costs: Costs, path: Path
) -> None:
    """Write the page and print its path."""
    from linly.curriculum.run_plan import check_plan
    from linly.monitor.plans.plan_facts import plan_facts
    from linly.monitor.plans.plan_page import write_plan_page

    problems: list[str] = []
    try:
        check_plan(made, curriculum)
    except ConfigError as error:  # shown on the page; the command fails with it afterwards
        problems = str(error).splitlines()
    facts = plan_facts(curriculum, made, costs, recipe=recipe, problems=problems)
    write_plan_page(facts, path)
    typer.echo(f"wrote {path}", err=True)
