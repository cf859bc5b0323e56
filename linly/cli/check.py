"""`linly check`: all checks of a recipe that need no training."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from linly.cli.check_texts import DESCRIPTIONS, Note
from linly.cli.numbers import finite
from linly.cli.train import Resume
from linly.errors import ConfigError, DataError, LinlyError

if TYPE_CHECKING:
    from linly.config.recipe import Recipe
    from linly.config.sections.average_setting import WeightAveraging
    from linly.config.source import Source
    from linly.training.loop.start_checks import Launch, StartCheck

GIB = 1 << 30
_MARKS = {"ok": "ok  ", "bad": "BAD ", "note": "note"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check of the recipe."""

    kind: Literal["ok", "bad", "note"]
    what: str
    text: str


def register(app: typer.Typer) -> None:
    """Add `linly check`."""
    app.command("check")(check)


def check(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Override recipe values.")
    ] = None,
    resume: Resume = None,
    world_size: Annotated[
        int | None,
        typer.Option(
            min=1, max=1 << 20, help="Number of ranks (default: the GPUs of this machine)."
        ),
    ] = None,
    gpu_gib: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=1e6,
            callback=finite,
            help="Memory of a GPU in GiB (default: that of this machine's GPUs).",
        ),
    ] = None,
) -> None:
    """Check what training would refuse, with the same code; train nothing, write nothing.

    Recipe, run folder, checkpoint to resume, model, data, memory and disk are checked. `linly plan`
    shows the mixture itself: shares, rows and epochs. The exit code is 1 if anything would prevent
    the run from starting.
    """
    from linly.config.recipe import load_recipe
    from linly.training.checkpoints.manifest import parse_step

    loaded = load_recipe(recipe, overrides or [])
    resume_step = None if resume is None else parse_step(resume)
    devices = _devices()
    gpu_bytes = min(devices) if devices else None
    if gpu_gib is not None:
        gpu_bytes = int(gpu_gib * GIB)
    launch = _launch(loaded, world_size or max(1, len(devices)), gpu_bytes is not None, resume_step)
    findings = []
    for finding in _findings(launch, gpu_bytes):
        findings.append(finding)
        typer.echo(f"{_MARKS[finding.kind]} {finding.what}: {finding.text}")
    num_bad = sum(finding.kind == "bad" for finding in findings)
    if num_bad:
        raise ConfigError(f"{num_bad} of {len(findings)} checks failed")


def _launch(recipe: Recipe, world_size: int, has_gpu: bool, resume_step: int | None) -> Launch:
    """Return the launch that training would make, as one process sees it."""
    import torch

    from linly.runs.runs import RunFolder
    from linly.training.checkpoints.manifest import listed_checkpoint
    from linly.training.loop.start_checks import Launch
    from linly.training.ranks.processes import Processes

    run = RunFolder(recipe.run)
    return Launch(
        recipe,
        run,
        Processes(rank=0, world_size=1, device=torch.device("cpu")),
        world_size=world_size,
        has_gpu=has_gpu,
        resume_step=resume_step,
        find_checkpoint=partial(listed_checkpoint, run.checkpoints, resume_step),
    )


def _findings(launch: Launch, gpu_bytes: int | None) -> Iterator[Finding]:
    from linly.training.loop.start_checks import START_CHECKS, applies

    recipe = launch.recipe
    yield Finding(
        "ok", "recipe", f"{recipe.name}, {recipe.num_steps:,} steps of {recipe.num_rows:,} rows"
    )
    bad = set()
    for what, look in _first_looks(launch):
        finding = _tried(what, look)
        if finding is not None:
            yield finding
            if finding.kind == "bad":
                bad |= {what, "data" if what.startswith("source ") else what}
    for check in START_CHECKS:
        if bad & {check.name, *check.needs} or not applies(check, launch):
            bad.add(check.name)  # nor is what needs it
            continue
        finding = _tried(check.name, partial(_described, check, launch))
        if finding is not None:
            yield finding
            if finding.kind == "bad":
                bad.add(check.name)
    if "model" not in bad:
        yield from _model_findings(launch, gpu_bytes)


def _first_looks(launch: Launch) -> Iterator[tuple[str, Callable[[], str | Note | None]]]:
    """Checks of what training takes or reads by itself, each by its name."""
    recipe = launch.recipe
    yield "launcher", _launcher
    yield "run folder", partial(_run_folder, launch)
    if recipe.curriculum.guards:
        yield "guards", partial(_guards, recipe)
    for name, source in recipe.sources.items():
        yield f"source {name}", partial(_source, source)


def _tried(what: str, look: Callable[[], str | Note | None]) -> Finding | None:
    """Run a check; an error meant for users becomes a finding, and nothing to say none."""
    from rich.console import Console

    try:
        with Console(stderr=True).status(f"checking {what}"):
            found = look()
    except LinlyError as error:
        return Finding("bad", what, str(error))
    if found is None:
        return None
    if isinstance(found, Note):
        return Finding("note", what, found.text)
    return Finding("ok", what, found)


def _devices() -> list[int]:
    """Return the memory of each GPU of this machine, in bytes."""
    import torch

    count = torch.cuda.device_count()
    return [torch.cuda.get_device_properties(i).total_memory for i in range(count)]


def _launcher() -> str | None:
    """Check the port at which the ranks of this environment would meet, if it names one."""
    from linly.training.ranks.launcher import check_port, rank_variables

    rank_variables(os.environ)
    port = os.environ.get("MASTER_PORT")
    if port is None:
        return None
    check_port(os.environ)
    return f"port {port} is free for the ranks"


def _run_folder(launch: Launch) -> str:
    launch.run.check_startable()
    return str(launch.recipe.run)


def _described(check: StartCheck, launch: Launch) -> str | Note | None:
    """Run a check of training, and return what it found."""
    check.look(launch)
    describe = DESCRIPTIONS.get(check.name)
    return None if describe is None else describe(launch)


def _guards(recipe: Recipe) -> str | Note:
    from linly.curriculum.guard_plan import decisions_of, idle_warning

    plan = recipe.curriculum, recipe.evaluation
    idle = idle_warning(*plan, num_steps=recipe.num_steps)
    if idle:
        return Note(idle)
    times = decisions_of(*plan, num_steps=recipe.num_steps)
    if len({*times.values()}) == 1:
        return f"{', '.join(times)}: decide {max(times.values()):,} times in the run"
    listed = ", ".join(f"{group} {number:,}" for group, number in times.items())
    return f"decisions in the run: {listed}"


def _source(source: Source) -> str | Note:
    from linly.data.inspection.first_records import check_first_records
    from linly.data.reading.shards import list_shards
    from linly.monitor.number_words import size

    shards = list_shards(source.corpus, source.data_root)
    empty = [shard.path for shard in shards if not shard.size_bytes]
    listed = f"{len(empty):,} of {len(shards):,} shards are empty: {', '.join(map(repr, empty))}"
    if empty and source.corpus.damaged_shards == "error":
        raise DataError(
            f"{listed}; the run would stop at each: copy them again, leave them out with "
            f"`exclude`, or skip damaged shards with `damaged_shards: quarantine`"
        )
    check_first_records(source, shards)
    whole = size(sum(shard.size_bytes for shard in shards))
    text = f"{len(shards):,} shards, {whole}; the first records yield documents"
    return Note(f"{text}; {listed}, and are quarantined") if empty else text


def _model_findings(launch: Launch, gpu_bytes: int | None) -> Iterator[Finding]:
    """Check what follows from the model: its documents, memory and disk."""
    yield from (Finding("note", "model", note) for note in launch.model.notes)
    documents = _tried("documents", partial(_documents, launch))
    disk = _tried("disk", partial(_disk, launch))
    assert documents is not None and disk is not None
    yield documents
    yield _memory(launch, gpu_bytes)
    if launch.recipe.training.average is not None:
        yield Finding("ok", "host memory", _host_memory(launch, launch.recipe.training.average))
    yield disk


def _documents(launch: Launch) -> str | Note:
    """Try the model on rows of several documents, as a run does at its start."""
    import torch

    from linly.modeling.attention.separation import row_layout
    from linly.modeling.memory import BF16_BYTES
    from linly.modeling.stored.stored_model import read_weights
    from linly.modeling.trainable import make_trainable
    from linly.modeling.trial import try_model

    recipe = launch.recipe
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    need = BF16_BYTES * launch.model.parameters.total
    free = torch.cuda.mem_get_info()[0] if device.type == "cuda" else _free_memory()
    if need > free:
        return Note(
            f"not tried: the model's BF16 weights ({need / GIB:,.1f} GiB) exceed the free memory "
            f"({free / GIB:,.1f} GiB); a run tries this at its start"
        )
    stored = launch.model.stored
    model = read_weights(stored.path, stored.config, dtype=torch.bfloat16).to(device)  # type: ignore[arg-type]
    make_trainable(model, recipe.training.optimized, seed=recipe.data.seed)
    layout = row_layout(recipe)
    chosen = try_model(recipe.training.attention_backend, model, device, layout)
    how = {
        "apart": "documents of a row do not see each other",
        "single": "each row holds one document",
        "joined": "documents of a row see each other, as `data.attention: full` requests",
    }
    return f"{how[layout.documents]}; attention {chosen}"


def _free_memory() -> int:
    """Return the available memory of this machine in bytes, including the file cache."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    line = next(line for line in text.splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) << 10


def _memory(launch: Launch, gpu_bytes: int | None) -> Finding:
    """Compare ZeRO-2's memory per rank with a GPU's."""
    from linly.modeling.memory import training_memory
    from linly.training.engine.optimizers import optimizer_kind

    parameters = launch.model.parameters
    need = training_memory(
        parameters.total,
        num_trained=parameters.trained,
        state_bytes=optimizer_kind(launch.recipe.training.optimizer).bytes_per_parameter,
        world_size=launch.world_size,
    )
    text = (
        f"{need.total_bytes / GIB:,.1f} GiB per rank before activations, of which "
        f"{need.weights_bytes / GIB:,.1f} GiB are BF16 weights that ZeRO-2 does not shard over "
        f"ranks"
    )
    if launch.model.choices:
        text += (
            f"; master weights, gradients and moments are those of {parameters.trained:,} "
            "parameters throughout, also while a phase trains fewer"
        )
    if gpu_bytes is None:
        return Finding("note", "memory", f"{text}; no GPU here to compare with: pass --gpu-gib")
    if need.total_bytes < gpu_bytes:
        return Finding("ok", "memory", f"{text}; a GPU has {gpu_bytes / GIB:,.1f} GiB")
    if need.weights_bytes >= gpu_bytes:
        advice = "no number of GPUs helps: use a smaller model or larger GPUs"
    else:
        advice = "use more ranks, or larger GPUs"
    return Finding("bad", "memory", f"{text}; a GPU has {gpu_bytes / GIB:,.1f} GiB: {advice}")


def _host_memory(launch: Launch, average: WeightAveraging) -> str:
    from linly.modeling.memory import average_bytes
    from linly.monitor.number_words import size

    trained = launch.model.parameters.trained
    need = average_bytes(trained, num_copies=average.num_copies, world_size=launch.world_size)
    return (
        f"{size(need)} per rank for averaged weights ({average}), as much again while a "
        f"checkpoint is saved"
    )


def _disk(launch: Launch) -> str:
    from linly.monitor.number_words import size
    from linly.monitor.plans.plan_facts import kept_checkpoints
    from linly.training.engine.optimizers import state_bytes_per_parameter

    recipe = launch.recipe
    kept = kept_checkpoints(recipe.checkpoint, recipe.num_steps)
    state_bytes = state_bytes_per_parameter(recipe.training)
    need = kept * state_bytes * launch.model.parameters.trained
    place = next(path for path in (recipe.run, *recipe.run.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    text = f"{size(need)} for {kept} checkpoints at most, {size(free)} free under {place}"
    if need > free:
        raise ConfigError(
            f"{text}: free disk space, or keep fewer: checkpoint.keep_last, keep_every"
        )
    return text
