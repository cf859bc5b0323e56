"""Texts of `linly check`: what each check of a start has found where it refuses nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linly.training.loop.start_checks import Launch


@dataclass(frozen=True, slots=True)
class Note:
    """Result of a check that is worth knowing but does not prevent a run from starting."""

    text: str


def _world_size(launch: Launch) -> str:
    from linly.curriculum.run_plan import valid_world_sizes

    batch, world_size = launch.batch, launch.world_size
    sizes = ", ".join(map(str, valid_world_sizes(batch)))
    accumulation = batch.global_batch // (world_size * batch.micro_batch)
    return (
        f"{world_size}: {accumulation} micro-batches of {batch.micro_batch} rows per step on each "
        f"rank; sizes that fit: {sizes}"
    )


def _deepspeed(launch: Launch) -> str | None:
    if launch.recipe.training.deepspeed is None:
        return None
    return "compatible with the recipe (linly train --print-deepspeed-config prints the result)"


def _model(launch: Launch) -> str:
    model = launch.model
    config = model.stored.config
    return (
        f"{config.model_type}, {config.vocab_size:,} rows for {model.tokenizer.vocab_size:,} "
        f"pieces; training {model.parameters}{''.join(f'; {text}' for text in model.choices)}"
    )


def _tasks(launch: Launch) -> str | None:
    from linly.evaluation.tasks.prepared_tasks import cost_text

    return cost_text(launch.tasks, launch.recipe) if launch.tasks else None


def _mirror(launch: Launch) -> str | Note | None:
    if launch.mirror is None:
        return None
    if not launch.is_mirror_reachable:
        return Note(f"{launch.mirror.place} cannot be reached from here now")
    return f"{launch.mirror.place} is free or belongs to this run"


def _checkpoint(launch: Launch) -> str:
    from linly.training.checkpoints.manifest import step_of

    if launch.checkpoint is None:
        return "none yet; the run starts with step 1"
    step = step_of(launch.checkpoint)
    if step >= launch.recipe.num_steps:
        return f"{launch.checkpoint.name}: the run is complete"
    return f"{launch.checkpoint.name}; the run resumes after step {step}"


def _resume(launch: Launch) -> str | Note | None:
    resumption = launch.resumption
    if resumption is None:
        return None
    found = [*resumption.notices, *map(str, resumption.changes)]
    return Note("; ".join(found)) if found else "recipe and model are those of the run"


def _export(launch: Launch) -> str | Note:
    notes = launch.export_notes
    return Note("; ".join(notes)) if notes else "a trained model can be exported"


def _plan(launch: Launch) -> str | Note:
    warnings = launch.plan.warnings()
    return Note("; ".join(warnings)) if warnings else "no source is read too often"


DESCRIPTIONS: dict[str, Callable[[Launch], str | Note | None]] = {
    "world size": _world_size,
    "deepspeed": _deepspeed,
    "model": _model,
    "tasks": _tasks,
    "mirror": _mirror,
    "checkpoint": _checkpoint,
    "resume": _resume,
    "export": _export,
    "plan": _plan,
}
"""What each check of training has found; the others have nothing to say."""
