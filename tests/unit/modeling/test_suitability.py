"""Whether a model can be trained is decided once: what is found sound trains, all else is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import logging as transformers_logging

from linly.config.sections.training_section import TrainingSettings
from linly.errors import ConfigError
from linly.modeling.load_model import load_model
from linly.modeling.recompute import checkpoint_activations
from linly.modeling.stored.weight_files import WEIGHTS, WEIGHTS_INDEX
from linly.modeling.suitability import SuitableModel, examine_model
from linly.modeling.trainable import count_trained, make_trainable
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.models import FAMILIES, POSITIONS, VARIANTS, tiny_model
from tests.support.vocabularies import english_model

TOKENIZER = SentencePieceTokenizer(english_model())
ALL = (*FAMILIES, *VARIANTS)
ROWS = torch.randint(3, 400, (2, 24), generator=torch.Generator().manual_seed(0))
NOT_ROW_BY_ROW = ("router", "o_a_proj")
"""Linear layers of Llama-4, Phi-MoE and DeepSeek-V4 with a forward pass of their own."""
WITHOUT_CHECKPOINTING = ("ctrl", "gpt_neox_japanese", "jetmoe", "openai-gpt")


@pytest.fixture(autouse=True)
def _no_progress() -> None:
    transformers_logging.disable_progress_bar()


def examined(
    folder: Path, trainable: object = "full", *, sequence_length: int = 24, **settings: Any
) -> SuitableModel:
    training = TrainingSettings.model_validate({"trainable": trainable, **settings})
    return examine_model(folder, TOKENIZER, training, sequence_length=sequence_length)


def linear_names(model: PreTrainedModel) -> list[str]:
    output = model.get_output_embeddings()
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not output
    }
    return sorted(names - set(NOT_ROW_BY_ROW))


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("name", ALL)
def test_what_is_found_sound_trains_in_every_family(name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    model.save_pretrained(tmp_path)
    checkpointing = "none" if name in WITHOUT_CHECKPOINTING else "full"
    if checkpointing == "none":
        with pytest.raises(ConfigError, match=r"activation_checkpointing: .*allowed here: none"):
            examined(tmp_path)
    lora = {"lora": {"targets": linear_names(model) or ["c_attn"]}}
    for trainable in ("full", "embeddings", lora):
        settings = TrainingSettings.model_validate({"trainable": trainable})
        loaded = load_model(tmp_path).train()
        try:
            found = examined(tmp_path, trainable, activation_checkpointing=checkpointing)
        except ConfigError as error:
            with pytest.raises(ConfigError) as raised:
                make_trainable(loaded, settings.trainable, seed=0)
            assert str(raised.value) == str(error)
            assert trainable is lora
            continue
        make_trainable(loaded, settings.trainable, seed=0)
        assert count_trained(loaded) == found.parameters
        checkpoint_activations(loaded, checkpointing)
        loaded(ROWS, use_cache=False).logits.float().logsumexp(-1).mean().backward()
        assert any(parameter.grad is not None for parameter in loaded.parameters())


def test_layers_that_are_not_linear_are_refused_by_their_type(tmp_path: Path) -> None:
    for name, target, kind in (
        ("gpt2", "c_attn", "Conv1D"),
        ("mixtral", "experts", "MixtralExperts"),
        ("llama4_text", "router", "Llama4Router"),
        ("deepseek_v4", "o_a_proj", "DeepseekV4GroupedLinear"),
    ):
        tiny_model(name).save_pretrained(tmp_path / name)
        with pytest.raises(ConfigError, match=rf"{target}.* is of type {kind} here"):
            examined(tmp_path / name, {"lora": {"targets": [target]}})
    with pytest.raises(ConfigError, match=r"unknown linear layer of the model 'w1'"):
        examined(tmp_path / "mixtral", {"lora": {"targets": ["w1"]}})


@pytest.mark.parametrize("name", ALL)
def test_rows_beyond_a_models_positions_are_refused_or_noted(name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    model.save_pretrained(tmp_path)
    settings = {"activation_checkpointing": "none"}
    limit = getattr(model.config, "max_position_embeddings", None) or POSITIONS
    assert not any(
        "data.sequence_length" in note
        for note in examined(tmp_path, sequence_length=limit, **settings).notes
    )
    ids = torch.arange(limit + 44)[None] % 400
    try:
        with torch.no_grad():
            model(ids, use_cache=False)
        has_others = True
    except (IndexError, RuntimeError):
        has_others = False
    try:
        notes = examined(tmp_path, sequence_length=limit + 44, **settings).notes
    except ConfigError as error:
        assert not has_others, error
        assert f"found {limit + 44}, but the model was made for {limit} positions" in str(error)
        return
    assert has_others
    if hasattr(model.config, "max_position_embeddings"):
        (note,) = (note for note in notes if "data.sequence_length" in note)
        assert "later positions are new to it" in note


QUANTIZED = {
    "gptq": ("I32", {"bits": 4, "quant_method": "gptq"}),
    "awq": ("I32", {"bits": 4, "quant_method": "awq"}),
    "bitsandbytes": ("U8", {"load_in_4bit": True, "quant_method": "bitsandbytes"}),
    "fp8": ("F8_E4M3", {"quant_method": "fp8", "weight_block_size": [128, 128]}),
    "compressed-tensors": ("I8", {"quant_method": "compressed-tensors", "config_groups": {}}),
    "mxfp4": ("U8", {"quant_method": "mxfp4"}),
    "hqq": ("U8", {"quant_method": "hqq"}),
    "bitnet": ("U8", {"quant_method": "bitnet"}),
    "of-tomorrow": ("I8", {"quant_method": "of-tomorrow"}),
}
DTYPES = {"I32": torch.int32, "U8": torch.uint8, "I8": torch.int8, "F8_E4M3": torch.float8_e4m3fn}


@pytest.mark.parametrize("method", QUANTIZED)
def test_quantized_weights_are_refused_by_their_method(method: str, tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    dtype, setting = QUANTIZED[method]
    change_config(tmp_path, quantization_config=setting)
    tensors = load_file(tmp_path / WEIGHTS)
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = tensors[name].to(DTYPES[dtype])
    save_file(tensors, tmp_path / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=rf"quantized \({method}, stored as {dtype}\).*BF16"):
        examined(tmp_path)
    with pytest.raises(ConfigError, match="quantized"):
        load_model(tmp_path)
    change_config(tmp_path, quantization_config=None)
    with pytest.raises(ConfigError, match=rf"{name} is stored as {dtype}, allowed"):
        examined(tmp_path)


def test_a_setting_of_quantization_over_plain_weights_is_left_out(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.save_pretrained(tmp_path)
    change_config(tmp_path, quantization_config=QUANTIZED["fp8"][1])
    assert "the weights are quantized, but they are not" in " ".join(examined(tmp_path).notes)
    assert torch.equal(load_model(tmp_path)(ROWS).logits, model(ROWS).logits)


def test_a_missing_output_layer_is_refused_with_what_to_do(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    del tensors["lm_head.weight"]
    save_file(tensors, tmp_path / WEIGHTS, metadata={"format": "pt"})
    for look in (examined, load_model):
        with pytest.raises(ConfigError, match=r"lm_head\.weight; .*tie_word_embeddings: true"):
            look(tmp_path)
    change_config(tmp_path, tie_word_embeddings=True)
    assert examined(tmp_path).parameters == count_trained(load_model(tmp_path))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("gemma3", r"is multimodal .*language model, of type gemma3_text"),
        ("llava", r"is multimodal .*language model, of type llama"),
        ("qwen2_vl", "is multimodal"),
        ("llama4", r"is multimodal .*of type llama4_text"),
        ("phi4_multimodal", "is multimodal"),
        ("whisper", "encoder-decoder"),
        ("t5", "encoder-decoder"),
        ("bart", "encoder-decoder"),
        ("bert", "attends in both directions"),
        ("roberta", "attends in both directions"),
        ("vit", "is not a causal language model"),
    ],
)
def test_what_is_no_text_decoder_is_refused_by_its_kind(
    kind: str, message: str, tmp_path: Path
) -> None:
    CONFIG_MAPPING[kind]().save_pretrained(tmp_path)
    save_file({"a.weight": torch.zeros(2, 2)}, tmp_path / WEIGHTS, metadata={"format": "pt"})
    for look in (examined, load_model):
        with pytest.raises(ConfigError, match=message):
            look(tmp_path)


def test_no_family_of_decoders_is_taken_for_another_kind(tmp_path: Path) -> None:
    from linly.modeling.stored.configuration import read_configuration

    for name in FAMILIES:
        folder = tmp_path / name
        CONFIG_MAPPING[name]().save_pretrained(folder)
        save_file({"a": torch.zeros(2)}, folder / WEIGHTS, metadata={"format": "pt"})
        assert read_configuration(folder).model_type == name


def test_an_adapters_folder_is_refused(tmp_path: Path) -> None:
    """Transformers would load the adapter's base from wherever it names it."""
    tiny_model("llama").save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    with pytest.raises(ConfigError, match=r"adapter_config\.json makes it a LoRA adapter"):
        load_model(tmp_path)


def test_weights_are_those_of_one_file_or_of_the_index(tmp_path: Path) -> None:
    """Training, counting and hashing read the same files, those that transformers reads."""
    from linly.modeling.stored.weight_files import hash_weights, stored_tensors

    model = tiny_model("llama")
    folder = tmp_path / "model"
    model.save_pretrained(folder, max_shard_size="50KB")
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    whole = examined(folder).parameters
    tensors = {f"{name}.copy": value for name, value in load_file(folder / shards[0]).items()}
    save_file(tensors, folder / "consolidated.safetensors")
    assert examined(folder).parameters == whole
    assert sorted(hash_weights(folder)) == shards
    other = tiny_model("llama", seed=1)
    other.save_pretrained(tmp_path / "other")
    (tmp_path / "other" / WEIGHTS).rename(folder / WEIGHTS)
    assert (folder / WEIGHTS_INDEX).is_file()
    assert list(hash_weights(folder)) == [WEIGHTS]
    assert {tensor.file for tensor in stored_tensors(folder).values()} == {WEIGHTS}
    assert torch.equal(load_model(folder)(ROWS).logits, other(ROWS).logits)


def test_tensors_that_no_layer_takes_are_noted(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS) | {"vision_tower.proj.weight": torch.zeros(2, 2)}
    save_file(tensors, tmp_path / WEIGHTS, metadata={"format": "pt"})
    assert "are not trained or exported: vision_tower.proj.weight" in examined(tmp_path).notes[0]


def test_padding_outside_the_embedding_does_no_harm(tmp_path: Path) -> None:
    for pad in (-1, 400, 32000):
        folder = tmp_path / str(pad)
        tiny_model("llama").save_pretrained(folder)
        change_config(folder, pad_token_id=pad)
        examined(folder)
        assert AutoConfig.from_pretrained(folder).pad_token_id == pad
        load_model(folder)
