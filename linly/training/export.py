"""Export of a run: a checkpoint's fp32 master weights as a model folder for plain transformers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from linly.errors import CheckpointError, ConfigError
from linly.files import publish_text
from linly.modeling.load import save_weights
from linly.runs import RunFolder
from linly.tokenization.export import TokenizerExport, export_tokenizer
from linly.tokenization.tokenizer import Tokenizer
from linly.training.manifest import Manifest, parse_step, verified
from linly.training.model_card import model_card
from linly.training.stored import read_master_weight, read_state

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    step: int
    num_parameters: int
    tokenizer: TokenizerExport


def parse_run(text: str) -> tuple[Path, int | None]:
    """`RUN`, `RUN@200` or `RUN@step-200` as folder and step."""
    folder, separator, step = text.rpartition("@")
    if not separator or Path(text).is_dir():
        return Path(text), None
    return Path(folder), parse_step(step)


def export_run(run: Path, *, step: int | None, output: Path, dtype: str) -> Exported:
    """Write a run's checkpoint as a model folder.

    Args:
        run: The run's folder.
        step: Of the checkpoint; None takes the newest whole one.
        output: A folder that is not there yet, or empty.
        dtype: A key of DTYPES, of the weights.

    Raises:
        ConfigError: The output is not empty, or the dtype is unknown.
        CheckpointError: There is no such whole checkpoint.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"--dtype: found {dtype!r}, allowed: {', '.join(DTYPES)}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"--output {output}: it exists and is not an empty folder")
    folder = RunFolder.open(run)
    checkpoint, manifest = verified(folder.checkpoints, step)
    model = assemble(folder, checkpoint, manifest, DTYPES[dtype])
    tokenizer = Tokenizer.load(run / "model")
    output.mkdir(parents=True, exist_ok=True)
    save_weights(model, output)
    exported = export_tokenizer(tokenizer, output)
    state = read_state(checkpoint)
    publish_text(output / "README.md", model_card(run.resolve().name, state, exact=exported.exact))
    return Exported(manifest.step, model.num_parameters(), exported)


def assemble(
    run: RunFolder, checkpoint: Path, manifest: Manifest, dtype: torch.dtype
) -> PreTrainedModel:
    """A model with a verified checkpoint's weights, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: The checkpoint's parameters are not those of the run's model.
    """
    config = AutoConfig.from_pretrained(
        str(run.path / "model"), local_files_only=True, trust_remote_code=False
    )
    with torch.device("meta"):
        model: PreTrainedModel = _empty_model(config, dtype)
    wanted = {name for name, _ in model.named_parameters()}
    if wanted != set(manifest.parameters):
        raise CheckpointError(
            f"{checkpoint}: its parameters are not those of {run.path / 'model'}: "
            f"{sorted(wanted ^ set(manifest.parameters))[:3]}"
        )
    model = _empty_model(config, dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(read_master_weight(checkpoint, manifest, name))
    model.generation_config = _generation_config(run, config)
    model.train(False)
    return model


def _empty_model(config: Any, dtype: torch.dtype) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        config, dtype=dtype, trust_remote_code=False
    )
    return model


def _generation_config(run: RunFolder, config: Any) -> GenerationConfig:
    if (run.path / "model" / "generation_config.json").is_file():
        content = orjson.loads((run.path / "model" / "generation_config.json").read_bytes())
        return GenerationConfig.from_dict(content)
    return GenerationConfig.from_model_config(config)
