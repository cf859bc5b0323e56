"""Export of a run: fp32 master weights of checkpoints as a model folder for plain transformers.

Several checkpoints of a run are averaged. Frozen weights are loaded from the model that the run
started from, which must be unchanged. LoRA matrices are multiplied and added to them.
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
from linly.modeling.load_model import (
    SHARD_SIZE,
    load_model,
    save_weights,
)
from linly.modeling.parameters import ParameterCount
from linly.modeling.stored.dtypes import kept_dtypes, persistent_buffers
from linly.modeling.stored.empty_model import empty_model
from linly.modeling.stored.exported_config import exported_config, exported_generation
from linly.modeling.stored.folder import new_folder
from linly.modeling.stored.weight_files import read_json_object, write_json_object
from linly.modeling.trainable import lora_addition, lora_names, trained_names, trains_all
from linly.runs.runs import RunFolder
from linly.tokenization.hugging_face.tokenizer_export import TokenizerExport, export_tokenizer
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.training.changes.pinned_inputs import model_identity
from linly.training.checkpoints.checkpoint_files import read_buffers, read_master_weight, read_state
from linly.training.checkpoints.manifest import Manifest, parse_step, verified

CONFIG, GENERATION = "config.json", "generation_config.json"
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Exported:
    """Description of a written export.

    Attributes:
        steps: Steps of the averaged checkpoints.
        parameters: Trained and total parameter counts during training.
        notes: Differences from the base model, with reasons.
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
        """Master weight of a trained parameter, fp32 on the CPU."""
        return read_master_weight(self.folder / self.manifest.parameters[name], name)


def parse_run(text: str) -> tuple[Path, tuple[int, ...]]:
    """`RUN`, `RUN@200`, `RUN@step-200` or `RUN@200,400` as folder and steps.

    Raises:
        ConfigError: If a step is named twice.
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
        steps: Steps of the checkpoints; empty for the newest complete one.
        output: Output folder; must be missing or empty. It is published complete or not at all.
        dtype: Dtype of the weights, a key of DTYPES.
        shard_size: Maximum size of a weight file, such as "5GB".

    Raises:
        ConfigError: If the output is not empty, or the dtype or the size is invalid.
        CheckpointError: If there is no such complete checkpoint, or the frozen weights are missing
            or changed.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"--dtype: found {dtype!r}, allowed: {', '.join(DTYPES)}")
    if not re.fullmatch(r"[1-9]\d{0,5}[KMG]B", shard_size):
        raise ConfigError(f"--shard-size: found {shard_size!r}, allowed: a size such as 5GB, 500MB")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"--output {output}: exists and is not an empty folder; choose another")
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
        base: Folder with the files of the base model.
        model: The model; the meta device is enough.
        folder: Folder to write into.
        dtype: Dtype of the weights.

    Returns:
        Differences from the base model's generation settings, with reasons.
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
    """The verified checkpoints of these steps, or the newest complete one.

    Raises:
        CheckpointError: If one is missing or damaged.
    """
    return tuple(Checkpoint(*verified(run.checkpoints, step)) for step in steps or (None,))


def assemble(
    run: RunFolder, checkpoints: Sequence[Checkpoint], dtype: torch.dtype
) -> PreTrainedModel:
    """A model with the mean weights of checkpoints, on the CPU, in evaluation mode.

    Args:
        run: Run that all the checkpoints belong to.
        checkpoints: Checkpoints to average; LoRA is merged into each before averaging.
        dtype: Dtype of the weights, each cast once.

    Raises:
        CheckpointError: If the checkpoint's parameters do not match the run's model, or the frozen
            weights are missing or changed.
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
                f"{checkpoint.folder}: its parameters do not match {run.path / 'model'}: "
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
    """Restore the persistent buffers of a checkpoint exactly."""
    saved, own = read_buffers(checkpoint.folder), persistent_buffers(model)
    if saved.keys() != own.keys():
        raise CheckpointError(
            f"{checkpoint.folder}: it has {len(saved)} buffers, the model {len(own)} "
            f"({sorted(saved.keys() ^ own.keys())[:3]}); an older version of linly saved it: "
            "resume the run with this version, and export the checkpoint that it saves"
        )
    for name, buffer in own.items():
        buffer.data = saved[name]


def _mean(weights: Iterator[torch.Tensor], number: int) -> torch.Tensor:
    """Mean of fp32 tensors, computed in fp64 so that only the final cast rounds."""
    if number == 1:
        return next(weights)
    total = next(weights).double()
    for weight in weights:
        total += weight
    return total / number


def _frozen_model(
    run: RunFolder, state: Mapping[str, Any], trainable: Trainable
) -> PreTrainedModel:
    """The model that the run started from, if its files are unchanged."""
    named = read_yaml(run.path / "recipe.yaml").get("model")
    assert named is not None, run.path
    path = Path(str(expand_variables(named).value))
    try:
        model = load_model(path)
        is_same = model_identity(path, trainable) == state["model"]
    except ConfigError as error:
        text = f"the frozen weights of the run cannot be loaded: {error}"
        raise CheckpointError(text) from error
    if not is_same:
        raise CheckpointError(
            f"model {path}: the run's frozen weights come from it, but its files have changed "
            "since the run started; restore them from a backup"
        )
    return model


def _count(model: PreTrainedModel, checkpoint: Checkpoint) -> ParameterCount:
    """Parameter count during training, LoRA matrices included."""
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
    """Configuration of a model folder, as read by transformers."""
    config: PreTrainedConfig = AutoConfig.from_pretrained(
        str(folder.resolve()), local_files_only=True, trust_remote_code=False
    )
    return config


def generation_settings(base: Path, config: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Generation settings for a model folder; see `exported_generation`."""
    if (base / GENERATION).is_file():
        return exported_generation(read_json_object(base / GENERATION))
    return GenerationConfig.from_model_config(config).to_diff_dict(), ()
