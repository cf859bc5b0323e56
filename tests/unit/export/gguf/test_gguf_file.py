"""GGUF files hold the model's tensors, and llama.cpp computes the model's logits from them."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from linly.errors import ConfigError
from linly.export.gguf.gguf_file import GgufType, check_gguf, write_gguf
from linly.modeling.load_model import load_model, save_weights
from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.gguf_models import write_reference, write_tiny
from tests.support.llamacpp import read_with_llamacpp
from tests.support.vocabularies import byte_level, english_model

TOKENIZER = SentencePieceTokenizer(
    extend_vocabulary(SentencePieceTokenizer(english_model()), list("山水日月"))
)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-tied": ("llama-tied", {}),
    "llama-padded": ("llama", {"vocab_size": TOKENIZER.vocab_size + 5}),
    "llama-biased": ("llama", {"attention_bias": True}),
    "llama-wide-heads": ("llama", {"head_dim": 32}),
    "llama-linear": ("llama-linear", {}),
    "llama3": ("llama3", {}),
    "mistral": ("mistral", {"sliding_window": None}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
}
ARCHITECTURES = {"qwen2": "qwen2", "qwen3": "qwen3"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each model in each type."""
    place = tmp_path_factory.mktemp("gguf")
    for name, (family, changes) in MODELS.items():
        model = write_tiny(place / "models" / name, family, TOKENIZER, **changes)
        for kind in GgufType:
            folder = place / "files" / f"{name}-{kind.value}"
            folder.mkdir(parents=True)
            write_gguf(place / "models" / name, folder / "m.gguf", kind, name=name)
            write_reference(folder, model)
    return place


def values(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        for tensor in gguf.GGUFReader(path).tensors
    }


def halves_apart(rows: np.ndarray[Any, Any], head_size: int) -> np.ndarray[Any, Any]:
    """Rows of llama.cpp's order in that of transformers: evens, then odds, of each head."""
    heads = rows.reshape(-1, head_size, *rows.shape[1:])
    return np.concatenate([heads[:, ::2], heads[:, 1::2]], axis=1).reshape(rows.shape)


def expected(model: PreTrainedModel) -> dict[str, np.ndarray[Any, Any]]:
    """Tensors of a model by llama.cpp's names, which are written out here once more."""
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    whole = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
    found = {}
    for key, parameter in model.named_parameters():
        name, _, what = key.removeprefix("model.").rpartition(".")
        if name.startswith("layers."):
            _, layer, inner = name.split(".", 2)
            found[f"blk.{layer}.{names[inner]}.{what}"] = parameter.detach().numpy()
        else:
            found[f"{whole[name]}.{what}"] = parameter.detach().numpy()
    return found


@pytest.mark.parametrize("kind", GgufType)
@pytest.mark.parametrize("name", MODELS)
def test_file_holds_every_tensor_of_the_model(place: Path, name: str, kind: GgufType) -> None:
    model = load_model(place / "models" / name, dtype=torch.float32)
    found = values(place / "files" / f"{name}-{kind.value}" / "m.gguf")
    assert found.pop("rope_freqs.weight", None) is None or name == "llama3"
    wanted = expected(model)
    assert found.keys() == wanted.keys()
    config = model.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    for key, tensor in wanted.items():
        got = found[key].reshape(tensor.shape)
        if not name.startswith("qwen") and (".attn_q." in key or ".attn_k." in key):
            got = halves_apart(got, size)
        if kind is GgufType.f16 or tensor.ndim == 1:
            assert np.array_equal(got, tensor), key
        else:
            assert np.abs(got - tensor).max() <= np.abs(tensor).max() / 127, key


@pytest.mark.parametrize(("kind", "near"), [(GgufType.f16, 2e-3), (GgufType.q8_0, 4e-2)])
def test_llamacpp_gives_the_model_s_logits(place: Path, kind: GgufType, near: float) -> None:
    answers = read_with_llamacpp(place / "files")
    found = {name: answers[f"{name}-{kind.value}"] for name in MODELS}
    other = {n: a.get("error", a.get("difference")) for n, a in found.items()}
    assert {n: d for n, d in other.items() if not isinstance(d, float) or d > near} == {}


def field(path: Path, key: str) -> Any:
    return gguf.GGUFReader(path).fields[key].contents()


def test_shape_of_the_model_is_written(place: Path) -> None:
    for name in MODELS:
        path = place / "files" / f"{name}-f16" / "m.gguf"
        architecture = ARCHITECTURES.get(name, "llama")
        assert field(path, "general.architecture") == architecture
        assert field(path, f"{architecture}.context_length") == 256
        assert len(field(path, "tokenizer.ggml.tokens")) == field(
            path, f"{architecture}.vocab_size"
        )


def test_sliding_window_limits_the_context(tmp_path: Path) -> None:
    """llama.cpp has none in this architecture: up to the window both attend to the same."""
    write_tiny(tmp_path / "model", "mistral", TOKENIZER, sliding_window=32)
    notes = write_gguf(tmp_path / "model", tmp_path / "m.gguf", GgufType.f16, name="m")
    assert field(tmp_path / "m.gguf", "llama.context_length") == 32
    assert "limited to the sliding window of 32 positions" in notes[0]


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("gpt2", {}, "found a gpt2 model, supported: llama, mistral, qwen2, qwen3"),
        ("llama-yarn", {}, "found RoPE of type 'yarn', supported: default, linear, llama3"),
        ("llama", {"hidden_act": "gelu"}, "found hidden_act 'gelu', supported: silu"),
    ],
)
def test_other_models_are_refused_by_name(
    tmp_path: Path, family: str, changes: dict[str, Any], message: str
) -> None:
    write_tiny(tmp_path / "model", family, TOKENIZER, **changes)
    with pytest.raises(ConfigError, match=message):
        check_gguf(tmp_path / "model")


def test_vocabularies_are_checked_before_the_weights(tmp_path: Path) -> None:
    tokenizer = byte_level(tmp_path / "tokenizer", words=False)
    write_tiny(tmp_path / "model", "qwen2", tokenizer)
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="pre-tokenizer is not one of gpt-2, qwen2, llama-bpe"):
        check_gguf(tmp_path / "model")


def test_values_beyond_f16_are_refused(tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "model", "llama", TOKENIZER)
    with torch.no_grad():
        model.lm_head.weight[7, 3] = 1e5
    save_weights(model, tmp_path / "model")
    with pytest.raises(ConfigError, match=r"lm_head\.weight has values beyond f16's largest"):
        write_gguf(tmp_path / "model", tmp_path / "m.gguf", GgufType.f16, name="m")


def test_one_tensor_at_a_time_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_tiny(
        tmp_path / "model", "llama", TOKENIZER, num_hidden_layers=8, intermediate_size=8192
    )
    largest = max(parameter.numel() for parameter in model.parameters())
    total = sum(parameter.numel() for parameter in model.parameters())
    del model
    write_names = gguf.GGUFWriter.write_ti_data_to_file

    def begin(writer: gguf.GGUFWriter) -> None:
        write_names(writer)
        tracemalloc.start()

    monkeypatch.setattr(gguf.GGUFWriter, "write_ti_data_to_file", begin)
    write_gguf(tmp_path / "model", tmp_path / "m.gguf", GgufType.f16, name="m")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * (4 * largest) < total  # of some copies of it in fp32


def test_chat_template_and_special_tokens_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_tiny(folder, "llama", TOKENIZER)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    write_gguf(folder, tmp_path / "m.gguf", GgufType.f16, name="my-run")
    found = {
        key: field(tmp_path / "m.gguf", key)
        for key in ("general.name", "tokenizer.chat_template", "tokenizer.ggml.bos_token_id")
    }
    assert found == {
        "general.name": "my-run",
        "tokenizer.chat_template": "{{ messages }}",
        "tokenizer.ggml.bos_token_id": TOKENIZER.bos_id,
    }


def test_special_tokens_of_byte_level_vocabularies_are_control_tokens(tmp_path: Path) -> None:
    tokenizer = byte_level(tmp_path / "tokenizer")
    write_tiny(tmp_path / "model", "qwen2", tokenizer, vocab_size=tokenizer.vocab_size + 3)
    write_gguf(tmp_path / "model", tmp_path / "m.gguf", GgufType.q8_0, name="m")
    kinds = field(tmp_path / "m.gguf", "tokenizer.ggml.token_type")
    names = json.loads((tmp_path / "tokenizer/tokenizer.json").read_text())["added_tokens"]
    given = {each["content"]: kinds[each["id"]] for each in names}
    assert given == {"<|begin|>": 3, "<|end|>": 3, "<tool>": 4}
    assert kinds[-3:] == [5, 5, 5]
    assert field(tmp_path / "m.gguf", "tokenizer.ggml.pre") == "gpt-2"
