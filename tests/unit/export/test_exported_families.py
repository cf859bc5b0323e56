"""Exports of every family hold the checkpoint's weights and buffers; transformers 4 reads them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from linly.config.sections.training_section import TrainingSettings
from linly.export.model_export import assemble, write_configuration
from linly.export.run_checkpoints import open_checkpoints
from linly.modeling.load_model import load_model, save_weights
from linly.modeling.stored.dtypes import persistent_buffers
from linly.modeling.stored.weight_files import WEIGHTS
from linly.modeling.trainable import make_trainable
from linly.runs.runs import RunFolder
from linly.training.changes.pinned_inputs import model_identity
from linly.training.checkpoints.checkpoint_files import named_buffers
from linly.training.checkpoints.manifest import STATE, FileEntry, Manifest, folder_name
from linly.training.engine.optimizers import optimizer_kind
from linly.training.engine.randomness import capture_random_states
from tests.support.models import FAMILIES, VARIANTS, VOCAB_SIZE, tiny_config, tiny_model
from tests.support.transformers4 import read_with_transformers4
from tests.support.vocabularies import english_model

STATE_KEYS = optimizer_kind("adamw").state_keys

TOKENIZER = english_model()
ALL = (*FAMILIES, *VARIANTS)
IDS = torch.randint(3, VOCAB_SIZE, (2, 24), generator=torch.Generator().manual_seed(0))
RANK, RANDOM = "rank-00000.safetensors", "random-00000.safetensors"
FP32 = torch.float32
FULL = TrainingSettings(micro_batch=1).trainable

DIFFERS_IN_4 = {
    "apertus": "4.57 gives logits that differ by 6e-4",
    "jamba": "needs CUDA kernels there",
    "mamba2": "4.57's gated norm ignores n_groups; mamba2-one-group has the same logits",
    "modernbert-decoder": "4.57 gives logits that differ by 2e-4",
}
"""Families that transformers 4 computes in another way, or not at all."""


def unusual_rope(name: str) -> dict[str, Any]:
    """Settings with another base of RoPE than any class's default."""
    rope = copy.deepcopy(tiny_config(name).to_dict().get("rope_parameters"))
    if not rope:
        return {}
    parts = [rope] if "rope_theta" in rope else [part for part in rope.values() if part]
    for part in parts:
        if "rope_theta" in part:
            part["rope_theta"] = part["rope_theta"] * 1.5 + 300
    return {"rope_parameters": rope}


def shaken(model: PreTrainedModel) -> PreTrainedModel:
    """A model whose weights and buffers are none that a class makes by itself."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator) * 0.02
                tensor.add_(noise if tensor.dim() else 0.0)  # Apertus's constants are BF16 in 4
            if name.endswith("balancing_biases"):
                tensor[-1] = -1.0  # transformers sets it at every load
    return model


def saved_run(model: PreTrainedModel, base: Path, path: Path) -> RunFolder:
    """A run with one checkpoint, which holds a model's weights and buffers."""
    run = RunFolder.create_or_open(path)
    (path / "model").mkdir()
    for name in ("config.json", "generation_config.json"):
        if (base / name).is_file():
            (path / "model" / name).write_bytes((base / name).read_bytes())
    folder = path / "checkpoints" / folder_name(1)
    folder.mkdir(parents=True)
    make_trainable(model, FULL, seed=0)
    weights = {n: p.detach().float() for n, p in model.named_parameters() if p.requires_grad}
    (path / "recipe.yaml").write_text(f"model: {base}\n")
    tensors = {f"{key}.{n}": w.clone() for n, w in weights.items() for key in STATE_KEYS}
    save_file(tensors | named_buffers(persistent_buffers(model)), folder / RANK)
    # A version that is not looked into: the export reads the recipe alone.
    identity = model_identity(base, FULL)
    state = {"version": 0, "model": identity, "recipe": {"training": {"trainable": "full"}}}
    (folder / STATE).write_bytes(orjson.dumps(state))
    save_file(capture_random_states(), folder / RANDOM)
    files = {name: FileEntry.of(folder / name) for name in (RANK, RANDOM, STATE)}
    Manifest(1, files, dict.fromkeys(weights, RANK)).write(folder)
    return run


def meaning(config: PretrainedConfig) -> dict[str, Any]:
    """A configuration without its place, and without the second name of RoPE's kind."""
    content = config.to_dict()
    content.pop("_name_or_path", None)
    rope = content.get("rope_parameters")
    if isinstance(rope, dict) and "rope_type" in rope:
        rope.pop("type", None)
    return content


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exports of all families, each with the logits of the model that was stored."""
    disable_progress_bar()
    place = tmp_path_factory.mktemp("families")
    (place / "exports").mkdir()
    for name in ALL:
        model = shaken(tiny_model(name, **unusual_rope(name)))
        base, output = place / "base" / name, place / "exports" / name
        model.save_pretrained(base)
        (base / "tokenizer.model").write_bytes(TOKENIZER)
        loaded = load_model(base)
        run = saved_run(loaded, base, place / "runs" / name)
        assembled = assemble(open_checkpoints(run, ()), FP32)
        save_weights(assembled, output)
        write_configuration(run.path / "model", assembled, output, FP32)
        with torch.no_grad():
            logits = model(IDS, use_cache=False).logits
        save_file({"ids": IDS, "logits": logits.contiguous()}, output / "reference.safetensors")
    return place


@pytest.mark.parametrize("name", ALL)
def test_export_holds_every_tensor_and_logit_of_the_model(exports: Path, name: str) -> None:
    base, export = exports / "base" / name, exports / "exports" / name
    ours, theirs = load_file(export / WEIGHTS), load_file(base / WEIGHTS)
    assert ours.keys() == theirs.keys()
    for key, tensor in theirs.items():
        assert torch.equal(ours[key], tensor), key
    read = AutoModelForCausalLM.from_pretrained(export)
    reference = load_file(export / "reference.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(read(IDS, use_cache=False).logits, reference["logits"])
    first, second = (meaning(AutoConfig.from_pretrained(each)) for each in (base, export))
    assert {k: v for k, v in first.items() if second.get(k) != v} == {}


def test_transformers_4_gives_the_same_logits(exports: Path) -> None:
    found = read_with_transformers4(exports / "exports")
    assert found.keys() == set(ALL)
    known = {name: each for name, each in found.items() if each["known"]}
    assert len(known) > 80
    other = {
        name: each.get("error", each.get("difference"))
        for name, each in known.items()
        if name not in DIFFERS_IN_4 and each.get("difference", 1.0) > 1e-5
    }
    assert other == {}


def test_every_family_with_fixed_rope_has_the_old_names(exports: Path) -> None:
    for name in (
        "llama3",
        "qwen2",
        "qwen3",
        "qwen3_moe",
        "gpt_neox",
        "gemma3_text",
        "phi3-longrope",
    ):
        config = json.loads((exports / "exports" / name / "config.json").read_text())
        assert {"rope_theta", "rotary_emb_base"} & config.keys(), name
