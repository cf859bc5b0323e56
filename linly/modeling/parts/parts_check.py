"""Check that a model has the parts that a recipe trains apart."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from transformers import PreTrainedModel

from linly.config.sections.phases_setting import LrScale, describe_phases
from linly.config.sections.trainable_setting import describe_trainable
from linly.config.sections.training_section import TrainingSettings
from linly.errors import ConfigError
from linly.modeling.parts.model_parts import Part, count_elements, parameter_parts
from linly.modeling.parts.new_rows import explain_absence


def needs_new_rows(training: TrainingSettings) -> str | None:
    """First key of a recipe that needs to know which rows of a model are new; None without one."""
    choices = [("training.trainable", training.trainable)]
    for index, phase in enumerate(training.phases):
        choices.append((f"training.phases[{index}].trainable", phase.trainable))
    if training.lr_scale.new_rows is not None:
        return "training.lr_scale.new_rows"
    return next((key for key, choice in choices if choice.new_rows is not None), None)


def check_parts(
    path: Path, model: PreTrainedModel, training: TrainingSettings, new_rows: range | None
) -> None:
    """Check that a model has the parts that a recipe names.

    Args:
        path: Folder of the model.
        model: Model whose parameters require a gradient if any phase trains them.
        training: Training settings of the recipe.
        new_rows: New rows of the model.

    Raises:
        ConfigError: If one is missing, with the cure.
    """
    key = needs_new_rows(training)
    if key is not None and new_rows is None:
        raise ConfigError(f"{key}: {explain_absence(path)}")
    parameters = dict(model.named_parameters())
    found = parameter_parts(model, new_rows)
    trained = {r.part for n, ranges in found.items() if parameters[n].requires_grad for r in ranges}
    choices = [training.trainable, *(phase.trainable for phase in training.phases)]
    trains_all = any(choice.new_rows and choice.new_rows.head == "all" for choice in choices)
    if trains_all and "new_head" not in trained:
        raise ConfigError(
            f"new_rows: {{head: all}}: the output layer of model {path} is its input embedding "
            "(tied), whose old rows stay frozen; use new_rows or embeddings"
        )
    _check_scales(training.lr_scale, trained)


def describe_choices(
    training: TrainingSettings, ends: Sequence[int], model: PreTrainedModel, new_rows: range | None
) -> tuple[str, ...]:
    """A line on each phase with the parameters that it trains; one on new rows without phases.

    Args:
        training: Training settings of the recipe.
        ends: Last step of each phase.
        model: Model whose parameters require a gradient if any phase trains them.
        new_rows: New rows of the model.
    """
    if not training.phases:
        if training.trainable.new_rows is None:
            return ()
        number = count_elements(model, new_rows, training.trainable)
        return (f"{describe_trainable(training.trainable)} ({number:,} parameters)",)
    counts = [count_elements(model, new_rows, phase.trainable) for phase in training.phases]
    lines = describe_phases(training.phases, ends)
    return tuple(
        f"{line} ({number:,} parameters)" for line, number in zip(lines, counts, strict=True)
    )


def _check_scales(scale: LrScale, trained: Collection[Part]) -> None:
    for key, factor in (("embeddings", scale.embeddings), ("head", scale.head)):
        if factor != 1.0 and not {key, f"new_{key}"} & set(trained):
            raise ConfigError(
                f"training.lr_scale.{key}: found {factor:g}, but no such part is trained: a tied "
                "output layer is the input embedding, and another may be frozen; remove the key"
            )
