"""What trains: the published numbers of Chinese-LLaMA, and which parameters they are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from linly.config.sections.trainable_setting import Trainable
from linly.config.sections.training_section import TrainingSettings
from linly.errors import ConfigError
from linly.modeling.load_model import init_model, load_model, save_weights
from linly.modeling.parameters import ParameterCount
from linly.modeling.stored.configuration import read_config
from linly.modeling.stored.empty_model import empty_model
from linly.modeling.trainable import count_model, count_trained, make_trainable, trained_names
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.models import FAMILIES, VARIANTS, tiny_model
from tests.support.vocabularies import english_model

BOTH = ["embed_tokens", "lm_head"]
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
FEED_FORWARD = ["gate_proj", "up_proj", "down_proj"]


def setting(trainable: object) -> Trainable:
    return TrainingSettings.model_validate({"trainable": trainable}).trainable


@pytest.mark.parametrize(
    ("vocabulary", "trainable", "trained", "total", "share"),
    [
        (49_953, "embeddings", 204_607_488, 6_885_486_592, "2.97%"),
        (49_953, {"lora": {"also": BOTH}}, 417_603_584, 6_893_875_200, "6.06%"),
        (
            49_954,
            {"lora": {"targets": ATTENTION + FEED_FORWARD, "also": BOTH}},
            429_211_648,
            6_905_483_264,
            "6.22%",
        ),
        (32_000, "full", 6_738_415_616, 6_738_415_616, "100.00%"),
    ],
)
def test_the_stages_of_chinese_llama_train_the_published_numbers(
    vocabulary: int, trainable: object, trained: int, total: int, share: str
) -> None:
    """LLaMA-7B on the meta device."""
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary))  # the defaults are 7B's
        make_trainable(model, setting(trainable), seed=0)
    count = count_trained(model)
    assert count == ParameterCount(trained, total)
    assert str(count) == f"{trained:,} of {total:,} parameters ({share})"


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    "trainable",
    ["full", "embeddings", {"lora": {"also": ["lm_head"]}}, {"lora": {"also": BOTH, "rank": 3}}],
)
def test_a_count_from_a_models_files_is_that_of_the_model(
    trainable: object, tied: bool, tmp_path: Path
) -> None:
    model = tiny_model("llama", tie_word_embeddings=tied)
    save_weights(model, tmp_path)
    make_trainable(model, setting(trainable), seed=0)
    assert count_model(tmp_path, setting(trainable)) == count_trained(model)


def test_the_head_stays_fixed_unless_it_is_tied() -> None:
    untied, tied = tiny_model("llama"), tiny_model("llama", tie_word_embeddings=True)
    for model in (untied, tied):
        make_trainable(model, setting("embeddings"), seed=0)
        assert model.model.embed_tokens.weight.requires_grad
        assert not model.model.layers[0].self_attn.q_proj.weight.requires_grad
    assert not untied.lm_head.weight.requires_grad
    assert tied.lm_head.weight.requires_grad
    assert tied.lm_head.weight is tied.model.embed_tokens.weight


def test_lora_changes_nothing_at_first_and_is_the_same_on_every_rank() -> None:
    ids = torch.arange(32).view(2, 16)
    models = [tiny_model("llama"), tiny_model("llama"), tiny_model("llama")]
    before = models[0](ids).logits
    for model, seed in zip(models, (1, 1, 2), strict=True):
        torch.rand(seed)  # wherever the global generator stands
        make_trainable(model, setting({"lora": {"dropout": 0.0}}), seed=seed)
        assert torch.equal(model(ids).logits, before)
    name = "model.layers.1.self_attn.v_proj.lora_A.default.weight"
    first, same, other = (model.get_parameter(name) for model in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", (*FAMILIES, *VARIANTS))
def test_each_family_trains_what_an_export_expects(name: str, tmp_path: Path) -> None:
    tiny_model(name).save_pretrained(tmp_path)
    expected = trained_names(empty_model(read_config(tmp_path), torch.bfloat16), setting("full"))
    model = load_model(tmp_path)
    make_trainable(model, setting("full"), seed=0)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == expected


def test_the_names_are_known_without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    """An export knows them where peft is not installed; training says what to install."""
    chosen = setting({"lora": {"also": ["lm_head"]}})
    model = tiny_model("llama")
    names = trained_names(model, chosen)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "peft", None)
        with pytest.raises(ConfigError, match=r"lora needs peft, .* pip install 'linly\[lora\]'"):
            make_trainable(model, chosen, seed=0)
        assert trained_names(model, chosen) == names
    make_trainable(model, chosen, seed=0)
    assert names == {name for name, p in model.named_parameters() if p.requires_grad}


def test_a_target_that_no_layer_is_called_names_the_nearest(tmp_path: Path) -> None:
    model = init_model("nano", SentencePieceTokenizer(english_model()))
    save_weights(model, tmp_path)
    chosen = setting({"lora": {"targets": ["q_prj"]}})
    text = (
        "training.trainable.lora.targets: unknown linear layer of the model 'q_prj', did you mean "
        "'q_proj'? allowed: down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    )
    for act in (
        lambda: make_trainable(model, chosen, seed=0),
        lambda: count_model(tmp_path, chosen),
    ):
        with pytest.raises(ConfigError) as raised:
            act()
        assert str(raised.value) == text
    with pytest.raises(ConfigError, match="unknown linear layer of the model 'lm_head'"):
        make_trainable(model, setting({"lora": {"targets": ["lm_head"]}}), seed=0)
