"""`linly check`: all checks of a recipe that need no training."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from linly.cli.numbers import finite
from linly.errors import ConfigError, DataError, LinlyError

if TYPE_CHECKING:
    from linly.config.recipe import Recipe
    from linly.config.source import Source
    from linly.modeling.parameters import ParameterCount
    from linly.modeling.suitability import SuitableModel

GIB = 1 << 30
_MARKS = {"ok": "ok  ", "bad": "BAD ", "note": "note"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check of the recipe."""

    kind: Literal["ok", "bad", "note"]
    what: str
    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """Result of a check that is worth knowing but does not prevent a run from starting."""

    text: str


def register(app: typer.Typer) -> None:
    """Add `linly check`."""
    app.command("check")(check)


def check(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Override recipe values.")
    ] = None,
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
    """Check recipe, data, model, memory and disk; train nothing, write nothing.

    `linly plan` checks the mixture itself: shares, rows and epochs. The exit code is 1 if anything
    would prevent the run from starting.
    """
    from linly.config.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or [])
    findings = []
    for finding in _findings(loaded, world_size, gpu_gib):
        findings.append(finding)
        typer.echo(f"{_MARKS[finding.kind]} {finding.what}: {finding.text}")
    num_bad = sum(finding.kind == "bad" for finding in findings)
    if num_bad:
        raise ConfigError(f"{num_bad} of {len(findings)} checks failed")


def _findings(recipe: Recipe, world_size: int | None, gpu_gib: float | None) -> Iterator[Finding]:
    devices = _devices()
    world_size = world_size or max(1, len(devices))
    gpu_bytes = min(devices) if devices else None
    if gpu_gib is not None:
        gpu_bytes = int(gpu_gib * GIB)
    yield Finding(
        "ok", "recipe", f"{recipe.name}, {recipe.num_steps:,} steps of {recipe.num_rows:,} rows"
    )
    yield _tried("run folder", partial(_run_folder, recipe))
    if recipe.checkpoint.mirror is not None:
        yield _tried("mirror", partial(_mirror, recipe, recipe.checkpoint.mirror))
    yield _tried("world size", partial(_world_size, recipe, world_size))
    if recipe.training.deepspeed is not None:
        yield _tried("deepspeed", partial(_deepspeed, recipe, world_size, bool(devices)))
    if recipe.curriculum.guards:
        yield _tried("guards", partial(_guards, recipe))
    for name, source in recipe.sources.items():
        yield _tried(f"source {name}", partial(_source, source))
    try:
        suitable, text = _model(recipe)
    except LinlyError as error:
        yield Finding("bad", "model", str(error))
        return
    yield Finding("ok", "model", text)
    yield from (Finding("note", "model", note) for note in suitable.notes)
    yield _tried("documents", partial(_documents, recipe, suitable))
    yield _tried("export", partial(_export, suitable))
    yield _memory(recipe, suitable.parameters, world_size, gpu_bytes)
    yield _tried("disk", partial(_disk, recipe, suitable.parameters))


def _tried(what: str, look: Callable[[], str | Note]) -> Finding:
    """Run a check; an error meant for users becomes a finding."""
    try:
        found = look()
    except LinlyError as error:
        return Finding("bad", what, str(error))
    if isinstance(found, Note):
        return Finding("note", what, found.text)
    return Finding("ok", what, found)


def _devices() -> list[int]:
    """Return the memory of each GPU of this machine, in bytes."""
    import torch

    count = torch.cuda.device_count()
    return [torch.cuda.get_device_properties(i).total_memory for i in range(count)]


def _run_folder(recipe: Recipe) -> str:
    from linly.runs.run_places import check_place
    from linly.runs.runs import RunFolder
    from linly.training.checkpoints.manifest import check_never_saved, list_checkpoints, step_of

    check_place(recipe.run)
    saved = list_checkpoints(recipe.run / "checkpoints")
    if not saved:
        check_never_saved(RunFolder(recipe.run), recipe.checkpoint.mirror)
    where = f"resumes after step {step_of(saved[0])}" if saved else "starts with step 1"
    return f"{recipe.run}, {where}"


def _mirror(recipe: Recipe, place: str) -> str | Note:
    from linly.training.checkpoints.mirror import Mirror

    mirror = Mirror(recipe.run, place)
    if not mirror.refuse_another_run():
        return Note(f"{mirror.place} cannot be reached from here now")
    return f"{mirror.place} is free or belongs to this run"


def _world_size(recipe: Recipe, world_size: int) -> str:
    from linly.curriculum.run_plan import Batch, valid_world_sizes
    from linly.data.loading.ranks import check_world_size

    batch = Batch(recipe.data.global_batch, recipe.training.micro_batch)
    check_world_size(batch, world_size)
    sizes = ", ".join(map(str, valid_world_sizes(batch)))
    accumulation = batch.global_batch // (world_size * batch.micro_batch)
    return (
        f"{world_size}: {accumulation} micro-batches of {batch.micro_batch} rows per step on each "
        f"rank; sizes that fit: {sizes}"
    )


def _guards(recipe: Recipe) -> str | Note:
    from linly.curriculum.guard_plan import idle_warning, num_decisions

    every = recipe.evaluation.every
    idle = idle_warning(recipe.curriculum, num_steps=recipe.num_steps, evaluate_every=every)
    if idle:
        return Note(idle)
    times = num_decisions(recipe.num_steps, evaluate_every=every)
    return f"{', '.join(recipe.curriculum.guards)}: decide {times:,} times in the run"


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


def _deepspeed(recipe: Recipe, world_size: int, has_gpu: bool) -> str:
    from linly.config.deepspeed import settings_deepspeed_config

    settings_deepspeed_config(recipe.training, recipe.data, world_size=world_size, has_gpu=has_gpu)
    return "compatible with the recipe (linly train --print-deepspeed-config prints the result)"


def _model(recipe: Recipe) -> tuple[SuitableModel, str]:
    """Examine the model with the code that accepts or refuses it when training starts."""
    from linly.evaluation.evaluation import check_prompts
    from linly.modeling.suitability import examine_model
    from linly.storage.hub import MODEL_FORM, model_folder
    from linly.tokenization.load_tokenizer import load_tokenizer

    if recipe.model is None:
        raise ConfigError(f"missing, but training needs one; set model=, {MODEL_FORM}")
    path = model_folder(recipe.model)
    tokenizer = load_tokenizer(path)
    suitable = examine_model(
        path, tokenizer, recipe.training, sequence_length=recipe.data.sequence_length
    )
    config = suitable.stored.config
    check_prompts(config, tokenizer, recipe.evaluation)
    return suitable, (
        f"{config.model_type}, {config.vocab_size:,} rows for {tokenizer.vocab_size:,} pieces; "
        f"training {suitable.parameters}"
    )


def _documents(recipe: Recipe, suitable: SuitableModel) -> str | Note:
    """Try the model on rows of several documents, as a run does at its start."""
    import torch

    from linly.modeling.attention.separation import row_layout
    from linly.modeling.memory import BF16_BYTES
    from linly.modeling.stored.stored_model import read_weights
    from linly.modeling.trainable import make_trainable
    from linly.modeling.trial import try_model

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    need = BF16_BYTES * suitable.parameters.total
    free = torch.cuda.mem_get_info()[0] if device.type == "cuda" else _free_memory()
    if need > free:
        return Note(
            f"not tried: the model's BF16 weights ({need / GIB:,.1f} GiB) exceed the free memory "
            f"({free / GIB:,.1f} GiB); a run tries this at its start"
        )
    stored = suitable.stored
    model = read_weights(stored.path, stored.config, dtype=torch.bfloat16).to(device)  # type: ignore[arg-type]
    make_trainable(model, recipe.training.trainable, seed=recipe.data.seed)
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


def _export(suitable: SuitableModel) -> str | Note:
    from linly.export.rehearsal import try_export
    from linly.tokenization.load_tokenizer import load_tokenizer

    path, config = suitable.stored.path, suitable.stored.config
    notes = try_export(path, config, load_tokenizer(path))
    return Note("; ".join(notes)) if notes else "a trained model can be exported"


def _memory(
    recipe: Recipe, parameters: ParameterCount, world_size: int, gpu_bytes: int | None
) -> Finding:
    """Compare ZeRO-2's memory per rank with a GPU's."""
    from linly.modeling.memory import training_memory
    from linly.training.engine.optimizers import optimizer_kind

    need = training_memory(
        parameters.total,
        num_trained=parameters.trained,
        state_bytes=optimizer_kind(recipe.training.optimizer).bytes_per_parameter,
        world_size=world_size,
    )
    text = (
        f"{need.total_bytes / GIB:,.1f} GiB per rank before activations, of which "
        f"{need.weights_bytes / GIB:,.1f} GiB are BF16 weights that ZeRO-2 does not shard over "
        f"ranks"
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


def _disk(recipe: Recipe, parameters: ParameterCount) -> str:
    from linly.monitor.number_words import size
    from linly.monitor.plans.plan_facts import kept_checkpoints
    from linly.training.engine.optimizers import optimizer_kind

    kept = kept_checkpoints(recipe.checkpoint, recipe.num_steps)
    state_bytes = optimizer_kind(recipe.training.optimizer).bytes_per_parameter
    need = kept * state_bytes * parameters.trained
    place = next(path for path in (recipe.run, *recipe.run.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    text = f"{size(need)} for {kept} checkpoints at most, {size(free)} free under {place}"
    if need > free:
        raise ConfigError(
            f"{text}: free disk space, or keep fewer: checkpoint.keep_last, keep_every"
        )
    return text
