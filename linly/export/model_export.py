"""Export of a run: fp32 master weights of checkpoints as a model folder for plain transformers.

Several checkpoints, of one or more runs, are averaged. Frozen weights are loaded from the model
that the run started from, which must be unchanged. LoRA matrices are multiplied and added to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
)

from linly.config.chat_format import read_chat_templates
from linly.config.sections.trainable_setting import Trainable
from linly.config.sections.training_section import saved_choice
from linly.config.yaml.overrides import expand_variables
from linly.config.yaml.yaml import read_yaml
from linly.curriculum.timeline import Timeline, fold
from linly.errors import CheckpointError, ConfigError
from linly.export.gguf.gguf_file import GgufType, check_gguf, write_gguf
from linly.export.model_card import CardFacts, model_card
from linly.export.ollama import MODELFILE, modelfile
from linly.export.run_checkpoints import (
    Checkpoint,
    MeanPart,
    RunChoice,
    described,
    open_choices,
    weighted_mean,
)
from linly.export.trained_template import TrainedTemplate, trained_template
from linly.files import publish_text
from linly.modeling.embeddings import BASE_MODEL_KEY
from linly.modeling.load_model import (
    SHARD_SIZE,
    load_model,
    save_weights,
)
from linly.modeling.parameters import ParameterCount
from linly.modeling.stored.configuration import read_config
from linly.modeling.stored.dtypes import kept_dtypes, persistent_buffers
from linly.modeling.stored.empty_model import empty_model
from linly.modeling.stored.exported_config import exported_config, exported_generation
from linly.modeling.stored.folder import new_folder
from linly.modeling.stored.weight_files import read_json_object, write_json_object
from linly.modeling.trainable import trained_names, trains_all
from linly.runs.runs import RunFolder
from linly.storage.hub import HubModel, model_folder, model_in_cache
from linly.tokenization.hugging_face.tokenizer_export import TokenizerExport, export_tokenizer
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer
from linly.training.changes.pinned_inputs import model_identity
from linly.training.checkpoints.checkpoint_files import read_buffers

CONFIG, GENERATION = "config.json", "generation_config.json"
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Exported:
    """Description of a written export.

    Attributes:
        parts: Checkpoints in the mean.
        parameters: Trained and total parameter counts during training.
        gguf_files: Names of the GGUF files.
        notes: Notices on the chat template, generation settings and GGUF files.
    """

    parts: tuple[MeanPart, ...]
    num_parameters: int
    parameters: ParameterCount
    tokenizer: TokenizerExport
    gguf_files: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps of the checkpoints."""
        return tuple(part.step for part in self.parts)


@dataclass(frozen=True, slots=True)
class ExportForm:
    """Form of an export.

    Attributes:
        dtype: Dtype of the weights, a key of DTYPES.
        shard_size: Maximum size of a weight file, such as "5GB".
        gguf: Types of the GGUF files to write as well.
        license: License for the model card, as the hub names it.
        repository: Hub id that the export will have; None if it is not pushed.
    """

    dtype: str = "bf16"
    shard_size: str = SHARD_SIZE
    gguf: tuple[GgufType, ...] = ()
    license: str = "other"
    repository: str | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: If one is invalid.
        """
        size, name = self.shard_size, self.license
        if self.dtype not in DTYPES:
            raise ConfigError(f"--dtype: found {self.dtype!r}, allowed: {', '.join(DTYPES)}")
        if not re.fullmatch(r"[1-9]\d{0,5}[KMG]B", size):
            raise ConfigError(f"--shard-size: found {size!r}, allowed: a size such as 5GB, 500MB")
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,40}", name):
            raise ConfigError(
                f"--license: found {name!r}, allowed: a license as the hub names it, such as "
                f"apache-2.0, mit, llama2 or other"
            )


def export_run(
    run: Path, *, steps: Sequence[int], output: Path, form: ExportForm = ExportForm()
) -> Exported:
    """Write a run's checkpoint, or the mean of several; see `export_mean`."""
    return export_mean([RunChoice(run, tuple(steps))], output=output, form=form)


def export_mean(
    choices: Sequence[RunChoice],
    *,
    output: Path,
    form: ExportForm = ExportForm(),
    is_averaged: bool = False,
) -> Exported:
    """Write a checkpoint, or the mean of several, of one or more runs, as a model folder.

    Args:
        choices: Checkpoints of each run, with their weights.
        output: Output folder; must be missing or empty. It is published complete or not at all.
        form: Form of the export.
        is_averaged: Whether the averaged weights of each checkpoint are taken.

    Raises:
        ConfigError: If the output is not empty, or models or weights of a mean do not fit.
        CheckpointError: If a checkpoint, averaged or frozen weights are missing or damaged.
    """
    _check_places(choices, output, form)
    checkpoints = open_choices(choices, is_averaged=is_averaged)
    main = described(checkpoints)
    base, state, timeline = main.run.path / "model", main.state, _timeline(main)
    tokenizer = load_tokenizer(base)
    chat = trained_template(timeline, state["books"]["supervised"], tokenizer)
    model = assemble(checkpoints, DTYPES[form.dtype])
    parameters, num_parameters = _count(model, main), model.num_parameters()
    parts = tuple(one.part for one in checkpoints)
    with new_folder(output) as partial:
        save_weights(model, partial, shard_size=form.shard_size)
        notes = write_configuration(base, model, partial, DTYPES[form.dtype])
        del model
        exported = export_tokenizer(tokenizer, partial, source=base, chat_template=chat.jinja)
        name = "-".join(dict.fromkeys(part.run for part in parts))
        names, more = _write_gguf_files(partial, form.gguf, name, chat, tokenizer)
        _write_card(partial, checkpoints, parameters, form, exported.exact, names)
    return Exported(
        parts, num_parameters, parameters, exported, names, (*chat.notes, *notes, *more)
    )


def _write_card(
    folder: Path,
    checkpoints: Sequence[Checkpoint],
    parameters: ParameterCount,
    form: ExportForm,
    is_exact: bool,
    gguf_files: Sequence[str],
) -> None:
    """Write the model card into the folder of an export."""
    main = described(checkpoints)
    facts = CardFacts(
        run=main.part.run,
        parts=[one.part for one in checkpoints],
        parameters=parameters,
        languages=_languages([_timeline(one) for one in checkpoints]),
        license=form.license,
        base=base_model(main.state["recipe"]["model"], main.run.path / "model"),
        repository=form.repository,
        is_exact=is_exact,
        has_chat=bool(read_chat_templates(folder)),
        gguf_files=gguf_files,
    )
    publish_text(folder / "README.md", model_card(facts, main.state))


def _check_places(choices: Sequence[RunChoice], output: Path, form: ExportForm) -> None:
    """Check the runs and the output before anything is read in full."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"--output {output}: exists and is not an empty folder; choose another")
    for choice in choices:
        RunFolder.open(choice.run)
        if form.gguf:
            check_gguf(choice.run / "model")


def _timeline(checkpoint: Checkpoint) -> Timeline:
    return fold(checkpoint.run.read("decisions"))


def _write_gguf_files(
    folder: Path,
    kinds: Sequence[GgufType],
    name: str,
    chat: TrainedTemplate,
    tokenizer: Tokenizer,
) -> tuple[tuple[str, ...], list[str]]:
    """Write GGUF files of a model folder, and a Modelfile for the first; their names, and notes."""
    notes: list[str] = []
    files = {kind: f"{name}-{kind.value}.gguf" for kind in kinds}
    for kind, file in files.items():
        notes += write_gguf(folder, folder / file, kind, name=name)
    names = tuple(files.values())
    if names:
        text = modelfile(names[0], name=name, template=chat.name, tokenizer=tokenizer)
        publish_text(folder / MODELFILE, text)
    return names, notes


def _languages(timelines: Iterable[Timeline]) -> list[str]:
    corpora = [corpus for timeline in timelines for corpus in timeline.corpora.values()]
    return sorted({code for corpus in corpora for code in corpus.languages})


def base_model(named: str, folder: Path) -> HubModel | str:
    """Hub id of the model that a run started from, or the name of its folder.

    Args:
        named: Model in the run's recipe.
        folder: Folder with the model's configuration.
    """
    grown = read_json_object(folder / CONFIG).get(BASE_MODEL_KEY)
    known = HubModel.parse(named) or model_in_cache(Path(named))
    return known or HubModel.parse(str(grown)) or Path(named).name


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


def assemble(checkpoints: Sequence[Checkpoint], dtype: torch.dtype) -> PreTrainedModel:
    """A model with the mean weights of checkpoints, on the CPU, in evaluation mode.

    Checkpoints are read tensor by tensor, so that their number does not matter for the memory.

    Args:
        checkpoints: Checkpoints of matching runs, with weights that add up to 1; LoRA is merged
            into each before the mean is computed.
        dtype: Dtype of the weights, each cast once.

    Raises:
        CheckpointError: If the checkpoint's parameters do not match the run's model, or the frozen
            weights are missing or changed.
    """
    main = described(checkpoints)
    run, state = main.run, main.state
    trainable = saved_choice(state["recipe"]["training"])
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
        weights = (each.merged(name, frozen, trainable.lora) for each in checkpoints)
        parameter.data = weighted_mean(checkpoints, weights).to(dtypes[name])
    _set_buffers(model, main)
    model.config.dtype = dtype
    model.generation_config = GenerationConfig.from_dict(
        generation_settings(run.path / "model", config)[0]
    )
    model.train(False)
    return model


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


def _frozen_model(
    run: RunFolder, state: Mapping[str, Any], trainable: Trainable
) -> PreTrainedModel:
    """The model that the run started from, if its files are unchanged."""
    named = read_yaml(run.path / "recipe.yaml").get("model")
    assert named is not None, run.path
    text = str(expand_variables(named).value)
    try:
        path = model_folder(HubModel.parse(text) or Path(text))
        model = load_model(path)
        is_same = model_identity(path, trainable) == state["model"]
    except ConfigError as error:
        cause = f"the frozen weights of the run cannot be loaded: {error}"
        raise CheckpointError(cause) from error
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


def generation_settings(base: Path, config: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Generation settings for a model folder; see `exported_generation`."""
    if (base / GENERATION).is_file():
        return exported_generation(read_json_object(base / GENERATION))
    return GenerationConfig.from_model_config(config).to_diff_dict(), ()
