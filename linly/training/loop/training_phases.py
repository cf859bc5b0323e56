"""Training phases of a run: which parts train at a step, and what happens where a phase begins.

The phase in force is part of a checkpoint, since a border may restart moments and step counts. So a
resume enters a phase exactly once, before its first step.
"""

from __future__ import annotations

from linly.config.recipe import Recipe
from linly.config.sections.phases_setting import phase_at
from linly.modeling.parts.model_parts import trained_parts
from linly.training.engine.engine import Engine
from linly.training.engine.flops import flops_per_token
from linly.training.loop.training_state import TrainingState


def apply_phase(
    recipe: Recipe, engine: Engine, state: TrainingState, *, restart: bool = False
) -> None:
    """Train the parts of the state's phase; without phases, those of `training.trainable`.

    Args:
        recipe: Recipe of the run.
        engine: Engine of the run.
        state: State of the run; its count of operations per token is updated.
        restart: Whether the moments and step counts of the parts begin at zero.
    """
    phases = recipe.training.phases
    if phases:
        engine.train_parts(trained_parts(phases[state.phase].trainable), restart=restart)
    length = recipe.data.sequence_length
    state.counts.set_flops(flops_per_token(engine.module, sequence_length=length))


def enter_phase(recipe: Recipe, engine: Engine, state: TrainingState, step: int) -> bool:
    """Begin the phase of a step, unless it is in force.

    Returns:
        Whether a phase began.
    """
    phases = recipe.training.phases
    if not phases:
        return False
    index = phase_at(recipe.phase_ends, step)
    if index == state.phase:
        return False
    state.phase = index
    apply_phase(recipe, engine, state, restart=phases[index].moments == "zero")
    return True
