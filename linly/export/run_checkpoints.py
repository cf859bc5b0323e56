"""Checkpoints of runs as an export takes them: which, with what weight, last or averaged weights.

RUN   RUN@200   RUN@200,400   RUN_A@1000:0.3 RUN_B@1200:0.7   RUN@200:1/3,400:2/3
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from linly.config.sections.average_setting import WeightAveraging
from linly.config.sections.trainable_setting import Lora, describe_trainable
from linly.config.sections.training_section import saved_choice
from linly.errors import CheckpointError, ConfigError
from linly.modeling.stored.configuration import read_config
from linly.modeling.trainable import lora_addition, lora_names
from linly.runs.runs import RunFolder
from linly.training.checkpoints.checkpoint_files import read_master_weight, read_state
from linly.training.checkpoints.manifest import Manifest, parse_step, verified
from linly.training.engine.weight_average import AVERAGE

_WEIGHT = re.compile(r"\d{0,9}\.\d{1,18}|\d{1,9}(?:/[1-9]\d{0,8})?")
_NOT_OF_THE_ARCHITECTURE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")


@dataclass(frozen=True, slots=True)
class RunChoice:
    """Checkpoints of one run that a user names.

    Attributes:
        run: Folder of the run.
        steps: Steps of the checkpoints; empty for the newest complete one.
        weights: Weight of each in the mean; empty if none is named.
    """

    run: Path
    steps: tuple[int, ...] = ()
    weights: tuple[Fraction, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint of a run, and its part in a mean.

    Attributes:
        weight: Weight in the mean.
        is_averaged: Whether its averaged weights are taken, not the last ones.
    """

    run: RunFolder
    folder: Path
    manifest: Manifest
    weight: Fraction = Fraction(1)
    is_averaged: bool = False

    @cached_property
    def state(self) -> dict[str, Any]:
        """State that was saved with it."""
        return read_state(self.folder)

    def merged(self, name: str, frozen: torch.Tensor | None, lora: Lora | None) -> torch.Tensor:
        """A parameter of the model with LoRA merged, fp32 on the CPU.

        Args:
            name: Name of the parameter.
            frozen: Weight stored in the base model; None if all parameters are trained.
            lora: LoRA settings, for adding the layer's matrices to `frozen`; None without LoRA.
        """
        if name in self.manifest.parameters:
            return self.master(name)
        assert frozen is not None, name
        matrices = lora_names(name.removesuffix(".weight"))
        if lora is None or matrices[0] not in self.manifest.parameters:
            return frozen.float()
        first, second = map(self.master, matrices)
        return frozen.float() + lora_addition(first, second, lora)

    def master(self, name: str) -> torch.Tensor:
        """Master weight of a trained parameter, or its average, fp32 on the CPU."""
        file = self.folder / self.manifest.parameters[name]
        return read_master_weight(file, name, AVERAGE if self.is_averaged else "master")

    @property
    def part(self) -> MeanPart:
        """Its part in a mean, in words."""
        step, run = self.manifest.step, self.run.path.resolve().name
        averaged = _averaged_text(self.state["average"]) if self.is_averaged else None
        return MeanPart(run, step, self.weight, averaged)


@dataclass(frozen=True, slots=True)
class MeanPart:
    """A checkpoint in a mean, for texts.

    Attributes:
        run: Name of the run.
        step: Step of the checkpoint.
        weight: Weight in the mean.
        averaged: Description of its averaged weights; None if the last ones are taken.
    """

    run: str
    step: int
    weight: Fraction = Fraction(1)
    averaged: str | None = None


def parse_run(text: str) -> tuple[Path, tuple[int, ...]]:
    """`RUN`, `RUN@200`, `RUN@step-200` or `RUN@200,400` as folder and steps.

    Raises:
        ConfigError: If a step is named twice, or a weight is given.
    """
    choice = parse_choice(text)
    if choice.weights:
        raise ConfigError(f"{text}: found weights of a mean; only `linly export` takes them")
    return choice.run, choice.steps


def parse_choice(text: str) -> RunChoice:
    """One run with steps and weights, as in `RUN@200:0.3,400:0.7`, `RUN@200` or `RUN:0.5`.

    Raises:
        ConfigError: If a step is named twice, or a weight is invalid or missing.
    """
    if Path(text).is_dir():
        return RunChoice(Path(text))
    folder, separator, named = text.rpartition("@")
    if not separator:
        path, colon, weight = text.rpartition(":")
        if not colon or not _WEIGHT.fullmatch(weight):
            return RunChoice(Path(text))
        return RunChoice(Path(path), (), (_parse_weight(weight, text),))
    parts = [part.partition(":") for part in named.split(",")]
    steps = tuple(parse_step(step) for step, _, _ in parts)
    weights = tuple(_parse_weight(weight, text) for _, colon, weight in parts if colon)
    if len(set(steps)) < len(steps):
        raise ConfigError(f"{text}: a step is named twice; each counts once in the mean")
    if weights and len(weights) < len(steps):
        raise ConfigError(f"{text}: give a weight for every step, as in RUN@200:0.3,400:0.7")
    return RunChoice(Path(folder), steps, weights)


def _parse_weight(text: str, whole: str) -> Fraction:
    weight = Fraction(text) if _WEIGHT.fullmatch(text) else Fraction(0)
    if not 0 < weight <= 1:
        raise ConfigError(
            f"{whole}: weight: found {text!r}, allowed: a number above 0 and at most 1, such as "
            f"0.3 or 1/3"
        )
    return weight


def open_checkpoints(run: RunFolder, steps: Sequence[int]) -> tuple[Checkpoint, ...]:
    """The verified checkpoints of these steps with equal weights, or the newest complete one.

    Raises:
        CheckpointError: If one is missing or damaged.
    """
    weight = Fraction(1, max(1, len(steps)))
    return tuple(
        Checkpoint(run, *verified(run.checkpoints, step), weight) for step in steps or (None,)
    )


def open_choices(choices: Sequence[RunChoice], *, is_averaged: bool) -> tuple[Checkpoint, ...]:
    """The verified checkpoints of a mean; without weights all have the same.

    Args:
        choices: Checkpoints of each run.
        is_averaged: Whether the averaged weights of each are taken.

    Raises:
        ConfigError: If the weights do not add up to 1, or the models do not match.
        CheckpointError: If one is missing, damaged or without the averaged weights asked for.
    """
    _check_weights(choices)
    found: list[Checkpoint] = []
    for choice in choices:
        opened = open_checkpoints(RunFolder.open(choice.run), choice.steps)
        if choice.weights:
            pairs = zip(opened, choice.weights, strict=True)
            opened = tuple(replace(one, weight=weight) for one, weight in pairs)
        found += opened
    if not any(choice.weights for choice in choices):
        found = [replace(one, weight=Fraction(1, len(found))) for one in found]
    if len({one.folder.resolve() for one in found}) < len(found):
        raise ConfigError("a checkpoint is named twice; each counts once in the mean")
    if is_averaged:
        found = [_with_average(one) for one in found]
    for other in found[1:]:
        _check_same_model(found[0], other)
    return tuple(found)


def described(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """The checkpoint whose run an export describes: the newest of one run, else the heaviest."""
    if len({one.run.path for one in checkpoints}) == 1:
        return max(checkpoints, key=lambda one: one.manifest.step)
    return max(checkpoints, key=lambda one: one.weight)


def weighted_mean(
    checkpoints: Sequence[Checkpoint], tensors: Iterable[torch.Tensor]
) -> torch.Tensor:
    """Weighted mean of fp32 tensors, computed in fp64 so that only the final cast rounds.

    Args:
        checkpoints: Checkpoints, whose weights add up to 1.
        tensors: Tensor of each, of one shape; read one by one.
    """
    if len(checkpoints) == 1:
        return next(iter(tensors))
    whole = math.lcm(*(one.weight.denominator for one in checkpoints))
    total: torch.Tensor | None = None
    for one, tensor in zip(checkpoints, tensors, strict=True):
        part = tensor.double().mul_(float(one.weight * whole))
        total = part if total is None else total.add_(part)
    assert total is not None
    return total.div_(whole)


def _check_weights(choices: Sequence[RunChoice]) -> None:
    if not any(choice.weights for choice in choices):
        return
    for choice in choices:
        if not choice.weights:
            raise ConfigError(
                f"{choice.run}: has no weight, but others have one: give a weight for every "
                f"checkpoint, as in RUN_A@1000:0.3 RUN_B@1200:0.7, or for none"
            )
    weights = [weight for choice in choices for weight in choice.weights]
    if sum(weights) != 1:
        listed = " + ".join(_shown(weight) for weight in weights)
        raise ConfigError(
            f"the weights of the mean must add up to 1; found {listed} = {_shown(sum(weights))}"
        )


def mean_title(parts: Sequence[MeanPart]) -> str:
    """`step 20`, `mean of steps 2, 6` or `weighted mean of a@1000:0.3 and b@1200:0.7`."""
    what = "averaged weights, " if parts[0].averaged else ""
    if len(parts) == 1:
        return f"{what}step {parts[0].step:,}"
    is_plain = is_equal_mean(parts)
    kind = f"{what}{'' if is_plain else 'weighted '}mean of"
    if len({part.run for part in parts}) == 1 and is_plain:
        return f"{kind} steps {', '.join(str(part.step) for part in _ascending(parts))}"
    names = [
        f"{part.run}@{part.step}" + ("" if is_plain else f":{_shown(part.weight)}")
        for part in parts
    ]
    return f"{kind} {', '.join(names[:-1])} and {names[-1]}"


def is_equal_mean(parts: Sequence[MeanPart]) -> bool:
    """Whether all parts have the same weight."""
    return len({part.weight for part in parts}) == 1


def _ascending(parts: Sequence[MeanPart]) -> list[MeanPart]:
    return sorted(parts, key=lambda part: part.step)


def _shown(weight: Fraction | int) -> str:
    return f"{float(weight):g}"


def _with_average(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with its averaged weights.

    Raises:
        CheckpointError: If it has none.
    """
    average = checkpoint.state.get("average")
    if average is None or not _averaged_steps(average)["samples"]:
        why = "its run had no training.average"
        if average is not None:
            why = f"no mean was complete ({WeightAveraging.model_validate(average['settings'])})"
        raise CheckpointError(
            f"{checkpoint.folder}: has no averaged weights: {why}; export another step, or the "
            "last weights without --average"
        )
    return replace(checkpoint, is_averaged=True)


def _averaged_steps(average: Mapping[str, Any]) -> Mapping[str, Any]:
    """The sampled steps of a saved average."""
    steps: Mapping[str, Any] = average[
        "running" if average["settings"]["kind"] == "ema" else "complete"
    ]
    return steps


def _averaged_text(average: Mapping[str, Any]) -> str:
    """`ema of decay 0.999 every 10 steps, 40 samples of steps 10-400`."""
    settings, steps = WeightAveraging.model_validate(average["settings"]), _averaged_steps(average)
    span = f"{steps['first_step']}-{steps['last_step']}"
    return f"{settings}, {steps['samples']} samples of steps {span}"


def _check_same_model(first: Checkpoint, other: Checkpoint) -> None:
    """Check that a mean of two checkpoints is a model.

    Raises:
        ConfigError: If architecture, tokenizer or trained parameters differ.
    """
    if first.run.path == other.run.path:
        return
    configs = [read_config(one.run.path / "model").to_dict() for one in (first, other)]
    names = sorted(
        name
        for name in configs[0].keys() | configs[1].keys()
        if name not in _NOT_OF_THE_ARCHITECTURE and configs[0].get(name) != configs[1].get(name)
    )
    if names:
        listed = ", ".join(
            f"{name} is {configs[1].get(name)!r}, there {configs[0].get(name)!r}"
            for name in names[:3]
        )
        raise _mismatch(first, other, f"another architecture ({listed})")
    models = [one.state["model"] for one in (first, other)]
    if models[0]["tokenizer"] != models[1]["tokenizer"]:
        raise _mismatch(first, other, "another tokenizer")
    trained = [saved_choice(one.state["recipe"]["training"]) for one in (first, other)]
    if trained[0] != trained[1]:
        text = " there ".join(f"{describe_trainable(choice)}," for choice in reversed(trained))
        raise _mismatch(first, other, f"other trained parameters ({text.rstrip(',')})")
    hashes = [{**model, "config": ""} for model in models]
    if hashes[0] != hashes[1]:
        raise _mismatch(first, other, "other frozen weights")


def _mismatch(first: Checkpoint, other: Checkpoint, what: str) -> ConfigError:
    return ConfigError(
        f"{other.run.path}: has {what} than {first.run.path}; a mean needs runs of one base model "
        "that train the same parameters"
    )
