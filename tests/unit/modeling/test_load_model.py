"""Models load from safetensors alone, whole, and without code of their folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from linly.errors import ConfigError
from linly.modeling.load_model import (
    SIZES,
    init_model,
    llama_config,
    load_model,
    save_model,
)
from linly.modeling.stored.configuration import check_vocabulary, is_in_documents
from linly.modeling.stored.weight_files import WEIGHTS, WEIGHTS_INDEX
from linly.tokenization.growth.extend import add_pad_piece, extend_vocabulary
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.vocabularies import byte_level_folder, english_model

TOKENIZER = SentencePieceTokenizer(english_model())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    save_model(init_model("nano", TOKENIZER, seed=3), TOKENIZER, path)
    return path


def test_a_saved_model_loads_with_the_same_weights(folder: Path) -> None:
    made, loaded = init_model("nano", TOKENIZER, seed=3), load_model(folder)
    for name, weight in made.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name]), name
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
    ]


def test_the_seed_decides_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first = init_model("nano", TOKENIZER, seed=1)
    assert torch.equal(torch.rand(3), expected)
    same, other = (init_model("nano", TOKENIZER, seed=seed) for seed in (1, 2))
    assert torch.equal(first.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


@pytest.mark.parametrize(("size", "parameters"), [("7b", 6_738_415_616), ("13b", 13_015_864_320)])
def test_published_sizes_have_the_published_number_of_parameters(
    size: str, parameters: int
) -> None:
    from transformers import LlamaForCausalLM

    config = llama_config(size, TOKENIZER)
    config.vocab_size = 32000
    with torch.device("meta"):
        assert LlamaForCausalLM(config).num_parameters() == parameters


def test_an_unknown_size_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=f"'8b', allowed {', '.join(SIZES)}"):
        init_model("8b", TOKENIZER)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pt"])
def test_pickled_weights_are_refused_and_not_opened(folder: Path, name: str) -> None:
    (folder / WEIGHTS).unlink()
    # Unpickled, this would make the file `ran`.
    hostile = b"cos\nsystem\n(S'touch " + str(folder / "ran").encode() + b"'\ntR."
    (folder / name).write_bytes(hostile)
    with pytest.raises(ConfigError, match=rf"found {name} .*not loaded"):
        load_model(folder)
    assert not (folder / "ran").exists()


def test_code_named_by_auto_map_does_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}
    (folder / "config.json").write_text(json.dumps(config))
    code = f"open({str(folder / 'ran')!r}, 'w')\nclass C: pass\nclass M: pass\n"
    (folder / "evil.py").write_text(code)
    load_model(folder)
    assert not (folder / "ran").exists()
    config["model_type"] = "evil"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="is never run; use a model of a known type"):
        load_model(folder)
    assert not (folder / "ran").exists()


def test_a_missing_weight_is_an_error_and_not_random(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / WEIGHTS)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(
        ConfigError, match=r"1 missing keys: model\.layers\.1\.mlp\.up_proj\.weight"
    ):
        load_model(folder)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("../outside.safetensors", r"allowed: a path inside"),
        ("weights.bin", "not a safetensors file"),
        ("absent.safetensors", "is missing"),
    ],
)
def test_an_index_cannot_lead_elsewhere(folder: Path, file: str, message: str) -> None:
    index = {"metadata": {}, "weight_map": {"lm_head.weight": file}}
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS_INDEX).write_text(json.dumps(index))
    with pytest.raises(ConfigError, match=message):
        load_model(folder)


def test_what_is_no_model_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"no config\.json"):
        load_model(tmp_path)


def test_a_tokenizer_larger_than_the_embedding_is_refused_with_the_command(folder: Path) -> None:
    config = load_model(folder).config
    check_vocabulary(config, TOKENIZER)
    larger = SentencePieceTokenizer(extend_vocabulary(TOKENIZER, list("山水")))
    with pytest.raises(ConfigError) as error:
        check_vocabulary(config, larger)
    for part in ("402 pieces", "400 rows", f"linly model extend --model {folder}"):
        assert part in str(error.value)
    config.vocab_size = 512  # padded: allowed
    check_vocabulary(config, larger)


def test_padding_is_none_that_documents_hold(tmp_path: Path) -> None:
    """Where pad is EOS, or is to count from the end, a row of the embedding would be frozen."""
    assert llama_config("nano", TOKENIZER).pad_token_id is None
    folder = byte_level_folder(tmp_path / "vocabulary")
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    for pad in ("<|end|>", "<|begin|>", "<tool>"):
        file.write_text(json.dumps(config | {"pad_token": pad}))
        tokenizer = load_tokenizer(folder)
        assert tokenizer.pad_id is not None
        assert llama_config("nano", tokenizer).pad_token_id is None
    padded = SentencePieceTokenizer(add_pad_piece(TOKENIZER))
    assert llama_config("nano", padded).pad_token_id == padded.pad_id == TOKENIZER.vocab_size
    assert is_in_documents(TOKENIZER, -1)
    assert is_in_documents(TOKENIZER, TOKENIZER.eos_id)
    assert is_in_documents(TOKENIZER, int(TOKENIZER.encode("the")[-1]))
    assert not is_in_documents(TOKENIZER, TOKENIZER.vocab_size)
