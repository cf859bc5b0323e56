"""Trained and frozen parameters: all parameters, embeddings, or LoRA.

peft inserts LoRA's matrices. Modules trained in full alongside them are trained in place, because
peft would keep a second, frozen copy of them. Frozen parameters are not part of a checkpoint: they
come from the run's model folder, whose files are compared with those of the run's start.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from linly.config.sections.trainable_setting import Lora, Trainable
from linly.config.yaml.strict_model import unknown
from linly.errors import ConfigError
from linly.modeling.parameters import ParameterCount
from linly.modeling.stored.configuration import read_config
from linly.modeling.stored.empty_model import empty_model
from linly.modeling.stored.stored_model import open_stored_model


def make_trainable(model: PreTrainedModel, trainable: Trainable, *, seed: int) -> None:
    """Freeze the parameters that are not trained and insert LoRA's matrices, in place.

    Args:
        model: Model as loaded; it may be on the meta device.
        trainable: Choice of the recipe.
        seed: Seed of LoRA's first matrices; the second are zero, so that the model's outputs are
            the same at first.

    Raises:
        ConfigError: If the model has no linear layer of a target's name, peft refuses a target, or
            peft is not installed.
    """
    names = trained_names(model, trainable)
    if trainable.lora is not None:
        _add_lora(model, trainable.lora, seed)
        other = names ^ {n for n, _ in model.named_parameters() if n in names or ".lora_" in n}
        if other:  # peft has targets of its own for experts that are fused into one tensor
            raise ConfigError(
                f"training.trainable.lora.targets: {', '.join(trainable.lora.targets)}: peft puts "
                f"matrices into fused experts as well ({min(other)}), which an export cannot "
                "merge; leave out the names of experts"
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    assert names == {name for name, p in model.named_parameters() if p.requires_grad}


def trained_names(model: PreTrainedModel, trainable: Trainable) -> set[str]:
    """Names of the parameters that `make_trainable` makes trainable, and that an export expects.

    `full` trains all except those that the class freezes, such as a router's correction bias.
    `new_rows` makes the whole matrices trainable: the engine freezes their old rows.

    Args:
        model: Model as loaded; it may be on the meta device.
        trainable: Choice of the recipe.

    Raises:
        ConfigError: If the model has no linear layer of a target's name.
    """
    if trainable.kind == "full":
        # The flags are those of a new model: transformers may set others when it loads weights.
        new = empty_model(model.config, torch.float32)
        return {name for name, parameter in new.named_parameters() if parameter.requires_grad}
    lora = trainable.lora
    whole = [model.get_input_embeddings()] if lora is None or "embed_tokens" in lora.also else []
    has_head = "lm_head" in lora.also if lora is not None else trainable.kind == "new_rows"
    if has_head:
        whole.append(model.get_output_embeddings())  # type: ignore[no-untyped-call]
    chosen = {id(parameter) for module in whole for parameter in module.parameters()}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in chosen}
    if lora is not None:
        names |= {name for layer in _targeted(model, lora) for name in lora_names(layer)}
    return names


def trains_all(config: PretrainedConfig, trainable: Trainable) -> bool:
    """Whether no parameter of a model is frozen, neither by the recipe nor by its class."""
    if trainable.kind != "full":
        return False
    new = empty_model(config, torch.float32)
    return trained_names(new, trainable) == {name for name, _ in new.named_parameters()}


def lora_names(layer: str) -> tuple[str, str]:
    """Names of a layer's two LoRA matrices: [rank, in] and [out, rank]."""
    return f"{layer}.lora_A.default.weight", f"{layer}.lora_B.default.weight"


def lora_addition(first: torch.Tensor, second: torch.Tensor, lora: Lora) -> torch.Tensor:
    """LoRA's addition to a layer's weight [out, in], from the matrices of `lora_names` in order."""
    return lora.alpha / lora.rank * (second @ first)


def count_trained(model: PreTrainedModel) -> ParameterCount:
    """Count the parameters of a model that is ready to train; a tied one counts once."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return ParameterCount(trained, sum(p.numel() for p in model.parameters()))


def count_model(model: Path, trainable: Trainable) -> ParameterCount:
    """Count the trained parameters of a model folder without reading its weights.

    Raises:
        ConfigError: If `open_stored_model` or `make_trainable` refuses the model.
    """
    stored = open_stored_model(model).model
    make_trainable(stored, trainable, seed=0)
    return count_trained(stored)


def count_by_configuration(folder: Path, trainable: Trainable) -> ParameterCount:
    """Count the trained parameters of a model of which only the configuration is here."""
    model = empty_model(read_config(folder), torch.float32)
    make_trainable(model, trainable, seed=0)
    return count_trained(model)


def _targeted(model: PreTrainedModel, lora: Lora) -> list[str]:
    """Names of the linear layers that get LoRA's matrices.

    Raises:
        ConfigError: If no linear layer has a target's name, with the nearest name and all names.
    """
    output = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    kinds = {name: type(module).__name__ for name, module in model.named_modules() if name}
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not output and _maps_rows(module)
    ]
    names = {layer.rpartition(".")[2] for layer in layers}
    for target in lora.targets:
        if target not in names:
            text = unknown("linear layer of the model", target, names)
            others = {kind for name, kind in kinds.items() if name.rpartition(".")[2] == target}
            if others:
                text += f"; {target} is of type {', '.join(sorted(others))} here"
            if not names:
                text += "; this model has none: use training.trainable: full or embeddings"
            raise ConfigError(f"training.trainable.lora.targets: {text}")
    return [layer for layer in layers if layer.rpartition(".")[2] in lora.targets]


def _maps_rows(layer: nn.Linear) -> bool:
    """Whether a layer maps each row to one row: routers and grouped layers of some models do not.

    Only a class with its own forward pass is tested, on zeros.
    """
    if type(layer).forward is nn.Linear.forward:
        return True
    weight = layer.weight
    rows = torch.zeros(1, 1, layer.in_features, dtype=weight.dtype, device=weight.device)
    try:
        with torch.no_grad():
            output = layer(rows)
    except (RuntimeError, TypeError, ValueError):
        return False
    return isinstance(output, torch.Tensor) and output.shape == (1, 1, layer.out_features)


def _add_lora(model: PreTrainedModel, lora: Lora, seed: int) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"training.trainable: lora needs {error.name}, which is not installed: "
            "pip install 'linly[lora]'"
        ) from error
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=_targeted(model, lora),
    )
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(config, model)
    except ValueError as error:  # peft refuses layers that a model's fast path reads directly
        raise ConfigError(
            f"training.trainable.lora.targets: {', '.join(lora.targets)}: {error}; remove it"
        ) from error
