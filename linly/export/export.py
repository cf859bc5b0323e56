"""Export of a run: fp32 master weights of checkpoints as a model folder for plain transformers.

Several checkpoints of a run are averaged. Weights that did not train come from the run's model
folder, which must still be what it was; LoRA's matrices are multiplied and added to theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from linly.config.settings import Lora, Trainable, TrainingSettings
from linly.config.yaml.overrides import expand_variables
from linly.config.yaml.yaml import read_yaml
from linly.errors import CheckpointError, ConfigError
from linly.export.model_card import model_card
from linly.files import publish_text
from linly.modeling.load import (
    SHARD_SIZE,
    load_model,
    save_weights,
)
from linly.modeling.parameters import ParameterCount
from linly.modeling.stored.dtypes import empty_model, kept_dtypes, persistent_buffers
from linly.modeling.stored.exported_config import exported_config, exported_generation
from linly.modeling.stored.folder import new_folder
from linly.modeling.stored.weight_files import read_json_object, write_json_object
from linly.modeling.trainable import lora_addition, lora_names, trained_names, trains_all
from linly.runs.runs import RunFolder
from linly.tokenization.hugging_face.export import TokenizerExport, export_tokenizer
from linly.tokenization.load import load_tokenizer
from linly.training.changes.frozen import model_identity
from linly.training.checkpoints.manifest import Manifest, parse_step, verified
from linly.training.checkpoints.stored import read_buffers, read_master_weight, read_state

CONFIG, GENERATION = "config.json", "generation_config.json"
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        steps: Steps of the checkpoints that it is the mean of.
        parameters: Count of the parameters of the model as it trained.
        notes: What differs from the base, and why.
    """

    steps: tuple[int, ...]
    num_parameters: int
    parameters: ParameterCount
    tokenizer: TokenizerExport
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A verified checkpoint of a run."""

    folder: Path
    manifest: Manifest

    def weight(self, name: str, frozen: torch.Tensor | None, lora: Lora | None) -> torch.Tensor:
        """A parameter of the model without LoRA's matrices, fp32 on the CPU.

        Args:
            name: Of the parameter.
            frozen: As stored in the run's model folder; None where everything trains.
            lora: How its matrices, if the layer has them, are added to `frozen`.
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
        """The master weight of a parameter that trained, fp32 on the CPU."""
        return read_master_weight(self.folder / self.manifest.parameters[name], name)


def parse_run(text: str) -> tuple[Path, tuple[int, ...]]:
    """`RUN`, `RUN@200`, `RUN@step-200` or `RUN@200,400` as folder and steps.

    Raises:
        ConfigError: A step is named twice.
    """
    folder, separator, named = text.rpartition("@")
    if not separator or Path(text).is_dir():
        return Path(text), ()
    steps = tuple(parse_step(step) for step in named.split(","))
    if len(set(steps)) < len(steps):
        raise ConfigError(f"{text}: a step is named twice; each counts once in the mean")
    return Path(folder), steps


def export_run(
    run: Path, *, steps: Sequence[int], output: Path, dtype: str, shard_size: str = SHARD_SIZE
) -> Exported:
    """Write a run's checkpoint, or the mean of several, as a model folder.

    Args:
        run: The run's folder.
        steps: Of the checkpoints; none takes the newest whole one.
        output: A folder that is not there yet, or empty; appears whole or not at all.
        dtype: A key of DTYPES, of the weights.
        shard_size: Larger models are written in files of this size, such as "5GB".

    Raises:
        ConfigError: The output is not empty, or the dtype or the size is none.
        CheckpointError: There is no such whole checkpoint, or what it needs is no longer there.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"--dtype: found {dtype!r}, allowed: {', '.join(DTYPES)}")
    if not re.fullmatch(r"[1-9]\d{0,5}[KMG]B", shard_size):
        raise ConfigError(f"--shard-size: found {shard_size!r}, allowed: a size such as 5GB, 500MB")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"--output {output}: it exists and is not an empty folder")
    folder = RunFolder.open(run)
    checkpoints = open_checkpoints(folder, steps)
    model = assemble(folder, checkpoints, DTYPES[dtype])
    tokenizer = load_tokenizer(run / "model")
    newest = _newest(checkpoints)
    parameters = _count(model, newest)
    with new_folder(output) as partial:
        save_weights(model, partial, shard_size=shard_size)
        notes = write_configuration(run / "model", model, partial, DTYPES[dtype])
        exported = export_tokenizer(tokenizer, partial, source=run / "model")
        card = model_card(
            run.resolve().name,
            read_state(newest.folder),
            steps=sorted(checkpoint.manifest.step for checkpoint in checkpoints),
            parameters=parameters,
            exact=exported.exact,
        )
        publish_text(partial / "README.md", card)
    found = tuple(checkpoint.manifest.step for checkpoint in checkpoints)
    return Exported(found, model.num_parameters(), parameters, exported, notes)


def write_configuration(
    base: Path, model: PreTrainedModel, folder: Path, dtype: torch.dtype
) -> tuple[str, ...]:
    """Write config.json and generation_config.json for a trained model.

    Args:
        base: Folder with those of the model that was trained.
        model: The model; the meta device is enough.
        folder: Folder to write into.
        dtype: Dtype of the weights.

    Returns:
        What differs from the base's settings of generation, and why.
    """
    file = read_json_object(base / CONFIG)
    config = exported_config(file, model.config, architecture=type(model).__name__, dtype=dtype)
    write_json_object(folder / CONFIG, config)
    settings, changed = generation_settings(base, model.config)
    write_json_object(folder / GENERATION, settings)
    if not changed:
        return ()
    names = ", ".join(changed)
    return (f"{GENERATION}: {names} set or left out, as transformers refuses the base's file",)


def open_checkpoints(run: RunFolder, steps: Sequence[int]) -> tuple[Checkpoint, ...]:
    """The checkpoints of some steps, or the newest whole one, verified.

    Raises:
        CheckpointError: One is missing or torn.
    """
    return tuple(Checkpoint(*verified(run.checkpoints, step)) for step in steps or (None,))


def assemble(
    run: RunFolder, checkpoints: Sequence[Checkpoint], dtype: torch.dtype
) -> PreTrainedModel:
    """A model with a checkpoint's weights, on the CPU, in evaluation mode.

    Args:
        run: Of all the checkpoints.
        checkpoints: The mean of several is taken of what they make of each weight, once.
        dtype: Each weight is cast to it once.

    Raises:
        CheckpointError: The checkpoint's parameters are not those of the run's model, or the
            weights that did not train are no longer those of the run.
    """
    state = read_state(checkpoints[0].folder)
    settings = state["recipe"]["training"]["trainable"]
    trainable = TrainingSettings.model_validate({"trainable": settings}).trainable
    config = read_config(run.path / "model")
    empty = empty_model(config, dtype)
    wanted = trained_names(empty, trainable)
    for checkpoint in checkpoints:
        other = wanted ^ checkpoint.manifest.parameters.keys()
        if other:
            raise CheckpointError(
                f"{checkpoint.folder}: its parameters are not those of {run.path / 'model'}: "
                f"{sorted(other)[:3]}"
            )
    is_full = trains_all(config, trainable)
    model = _random_model(config, dtype) if is_full else _frozen_model(run, state, trainable)
    dtypes = kept_dtypes(config, dtype)
    for name, parameter in model.named_parameters():
        frozen = None if is_full else parameter.data
        weights = (each.weight(name, frozen, trainable.lora) for each in checkpoints)
        parameter.data = _mean(weights, len(checkpoints)).to(dtypes[name])
    _set_buffers(model, _newest(checkpoints))
    model.config.dtype = dtype
    model.generation_config = GenerationConfig.from_dict(
        generation_settings(run.path / "model", config)[0]
    )
    model.train(False)
    return model


def _newest(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    return max(checkpoints, key=lambda checkpoint: checkpoint.manifest.step)


def _set_buffers(model: PreTrainedModel, checkpoint: Checkpoint) -> None:
    """Set the persistent buffers to those of a checkpoint, to the last bit."""
    saved, own = read_buffers(checkpoint.folder), persistent_buffers(model)
    if saved.keys() != own.keys():
        raise CheckpointError(
            f"{checkpoint.folder}: it holds {len(saved)} buffers of the model's {len(own)} "
            f"({sorted(saved.keys() ^ own.keys())[:3]}); an older version of linly saved it: "
            "resume the run with this version, and export the checkpoint that it saves"
        )
    for name, buffer in own.items():
        buffer.data = saved[name]


def _mean(weights: Iterator[torch.Tensor], number: int) -> torch.Tensor:
    """The mean of so many fp32 tensors; of several in fp64, so that the cast alone rounds it."""
    if number == 1:
        return next(weights)
    total = next(weights).double()
    for weight in weights:
        total += weight
    return total / number


def _frozen_model(
    run: RunFolder, state: Mapping[str, Any], trainable: Trainable
) -> PreTrainedModel:
    """The model that a run began with, where its last start found it, if it is still the same."""
    named = read_yaml(run.path / "recipe.yaml").get("model")
    assert named is not None, run.path
    path = Path(str(expand_variables(named).value))
    try:
        model = load_model(path)
        is_same = model_identity(path, trainable) == state["model"]
    except ConfigError as error:
        text = f"the weights that the run did not train cannot be had: {error}"
        raise CheckpointError(text) from error
    if not is_same:
        raise CheckpointError(
            f"model {path}: it holds the weights that the run did not train, and its files are no "
            "longer those of the run; bring them back from a copy"
        )
    return model


def _count(model: PreTrainedModel, checkpoint: Checkpoint) -> ParameterCount:
    """Of an assembled model as it trained, LoRA's matrices included."""
    trained = added = 0
    own = {name for name, _ in model.named_parameters()}
    for name in checkpoint.manifest.parameters:
        size = checkpoint.master(name).numel()
        trained += size
        added += size if name not in own else 0
    return ParameterCount(trained, model.num_parameters() + added)


def _random_model(config: Any, dtype: torch.dtype) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        config, dtype=dtype, trust_remote_code=False
    )
    return model


def read_config(folder: Path) -> PreTrainedConfig:
    """The configuration of a model folder, as transformers reads it."""
    config: PreTrainedConfig = AutoConfig.from_pretrained(
        str(folder.resolve()), local_files_only=True, trust_remote_code=False
    )
    return config


def generation_settings(base: Path, config: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Settings of generation for a model folder, as `exported_generation` gives them."""
    if (base / GENERATION).is_file():
        return exported_generation(read_json_object(base / GENERATION))
    return GenerationConfig.from_model_config(config).to_diff_dict(), ()
