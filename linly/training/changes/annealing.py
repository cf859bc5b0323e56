"""Annealing branch: a decay of the learning rate that ends a fork of a run with a stable rate."""

from __future__ import annotations

from pydantic_core import PydanticCustomError

from linly.config.recipe import Recipe
from linly.config.sections.schedule_setting import Annealing
from linly.curriculum.learning_rate import LearningRate
from linly.curriculum.timeline import Timeline
from linly.errors import ConfigError


def annealing_from(recipe: Recipe, step: int, tokens: int) -> Annealing:
    """Decay that begins after a step of a run.

    Args:
        recipe: Recipe of the run, with the curriculum in force at the step.
        step: Step of the checkpoint.
        tokens: Tokens of the decay.

    Raises:
        ConfigError: If the learning rate at the step depends on the length of the run, since it
            then decays already, or is still in its warmup.
    """
    rate, schedule = LearningRate.from_recipe(recipe), recipe.training.schedule
    refused = f"--decay: the run cannot end with another decay after step {step}"
    if rate.stable_steps is None:
        part = rate.at(step) / recipe.training.lr
        raise ConfigError(
            f"{refused}: with schedule: {schedule} its rate falls toward step {recipe.num_steps} "
            f"from the warmup on, and is at {part:.0%} of training.lr there. A branch needs a "
            "stable rate: train the run with schedule: wsd or constant"
        )
    first, last = rate.stable_steps
    if step < first:
        raise ConfigError(
            f"{refused}: the warmup ends at step {first}; choose a checkpoint from there on"
        )
    if step > last:
        raise ConfigError(
            f"{refused}: its rate decays from step {last} on; choose a checkpoint up to there"
        )
    return Annealing(from_step=step, tokens=tokens)


def with_annealing(recipe: Recipe, timeline: Timeline) -> Recipe:
    """The recipe with the decay of the run's decisions, if it is an annealing branch."""
    if timeline.annealing is None:
        return recipe
    training = recipe.training.model_copy(update={"annealing": timeline.annealing})
    return recipe.model_copy(update={"training": training})


def check_schedule(recipe: Recipe) -> None:
    """Check that a recipe that was changed after it was read has a schedule that fits its run.

    Raises:
        ConfigError: If it does not.
    """
    try:
        recipe.training.check_length(
            num_steps=recipe.curriculum_steps, step_tokens=recipe.step_tokens
        )
    except PydanticCustomError as error:
        context = error.context or {}
        raise ConfigError(f"{'.'.join(context['path'])}: {context['text']}") from None
