"""What holds for every family of decoders: which tensors grow, and how the files are read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from linly.errors import ConfigError
from linly.modeling import embeddings
from linly.modeling.embeddings import extend_model
from linly.modeling.load_model import load_model
from linly.modeling.stored.stored_model import open_stored_model
from linly.modeling.stored.weight_files import WEIGHTS
from linly.modeling.vocabulary import Role, vocabulary_tensors
from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.hugging_face.tokenizer_export import TokenizerExport
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.models import FAMILIES, VARIANTS, tiny_model
from tests.support.vocabularies import english_model

BASE = SentencePieceTokenizer(english_model())
NEW = SentencePieceTokenizer(extend_vocabulary(BASE, list("山水亿俺é")))
ALL = (*FAMILIES, *VARIANTS)
IDS = torch.tensor([[1, 5, 9, 100, 20]])
CANNOT_GROW = {"deepseek_v4": r"mlp\.gate\.tid2eid has one row per token but is not a weight"}
"""Families whose vocabulary cannot grow, and what says so: experts chosen by the token's id."""


@pytest.fixture(autouse=True)
def _only_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokenizer is the same for every family, and is exported in other tests."""
    exported = TokenizerExport(exact=True, reason=None, num_verified=0)
    monkeypatch.setattr(embeddings, "export_tokenizer", lambda *_, **__: exported)
    transformers_logging.disable_progress_bar()


def saved(model: PreTrainedModel, folder: Path) -> Path:
    """A model folder whose config.json spells out every key, nulls too, as published ones do."""
    model.save_pretrained(folder)
    full = model.config.to_dict() | json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(full))
    return folder


def mean_rows(old: torch.Tensor) -> torch.Tensor:
    pieces = BASE.pieces()
    return torch.stack(
        [
            old[sorted(pieces.index(f"<0x{byte:02X}>") for byte in character.encode())].mean(dim=0)
            for character in "山水亿俺é"
        ]
    )


@pytest.mark.parametrize("name", ALL)
def test_vocabulary_of_every_family_grows(name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    folder = saved(model, tmp_path / "old")
    if name in CANNOT_GROW:
        with pytest.raises(ConfigError, match=CANNOT_GROW[name]):
            extend_model(folder, NEW, tmp_path / "new", base=BASE)
        return
    roles = vocabulary_tensors(open_stored_model(folder)).roles
    report = extend_model(folder, NEW, tmp_path / "new", base=BASE)
    old, new = load_file(folder / WEIGHTS), load_file(tmp_path / "new" / WEIGHTS)
    assert report.matrices == tuple(sorted(roles))
    for tensor, before in old.items():
        after = new[tensor]
        assert torch.equal(after[: len(before)] if before.dim() else after, before), tensor
        assert tensor in roles or after.shape == before.shape
        if tensor in roles:
            assert len(after) == len(before) + 5
            assert torch.equal(after[400:], mean_rows(before)), tensor
    grown = load_model(tmp_path / "new")
    with torch.no_grad():
        before, after = model(IDS, use_cache=False).logits, grown(IDS, use_cache=False).logits
        assert grown(torch.tensor([[1, 402, 404]]), use_cache=False).logits.shape[-1] == 405
    torch.testing.assert_close(after[..., :400], before[..., :400], rtol=0, atol=1e-5)
    check_configuration(folder, tmp_path / "new")


def check_configuration(old: Path, new: Path) -> None:
    """Keys, their order and nulls are the file's, and so is all that the class makes of them."""
    before, after = (json.loads((each / "config.json").read_text()) for each in (old, new))
    changed = {key for key in after if key not in before or before[key] != after[key]}
    allowed = {"vocab_size", "vocab_size_per_layer_input", "unpadded_vocab_size", "pad_token_id"}
    assert changed <= {*allowed, "base_vocab_size"}
    assert list(after)[: len(before)] == list(before)
    whole = [AutoConfig.from_pretrained(each).to_dict() for each in (old, new)]
    assert {key for key in whole[1] if whole[0].get(key) != whole[1][key]} <= {
        *allowed,
        "base_vocab_size",
        "_name_or_path",
    }


def test_every_role_is_seen_in_some_family(tmp_path: Path) -> None:
    seen: set[Role] = set()
    for name in ("llama", "phi", "gemma3n_text"):
        folder = saved(tiny_model(name), tmp_path / name)
        seen |= set(vocabulary_tensors(open_stored_model(folder)).roles.values())
    assert seen == set(Role)


@pytest.mark.parametrize("name", ALL)
def test_files_without_the_base_prefix_are_the_same_model(name: str, tmp_path: Path) -> None:
    """Published files of GPT-2, BLOOM and others leave `transformer.` out."""
    model = tiny_model(name)
    folder = saved(model, tmp_path / "old")
    tensors = load_file(folder / WEIGHTS)
    prefix = f"{model.base_model_prefix}."
    short = {re.sub(f"^{re.escape(prefix)}", "", key): value for key, value in tensors.items()}
    if short.keys() == tensors.keys() or not tensors.keys() <= model.state_dict().keys():
        pytest.skip("its files have no prefix, or names of their own")
    shorter = saved(model, tmp_path / "short")
    save_file(short, shorter / WEIGHTS, metadata={"format": "pt"})
    if name not in CANNOT_GROW:
        roles = [vocabulary_tensors(open_stored_model(each)).roles for each in (folder, shorter)]
        assert sorted(map(str, roles[0].values())) == sorted(map(str, roles[1].values()))
    assert_equal_states(load_model(folder).state_dict(), load_model(shorter).state_dict())


def assert_equal_states(
    left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]
) -> None:
    assert left.keys() == right.keys()
    for key, tensor in left.items():
        assert torch.equal(tensor, right[key]), key


@pytest.mark.parametrize("name", ALL)
def test_no_row_of_an_embedding_is_frozen(name: str, tmp_path: Path) -> None:
    """The token that config.json calls padding stands before documents: its row trains."""
    model = tiny_model(name)
    folder = saved(model, tmp_path / "old")
    config = json.loads((folder / "config.json").read_text()) | {"pad_token_id": 9}
    (folder / "config.json").write_text(json.dumps(config))
    loaded = load_model(folder)
    loaded(IDS, use_cache=False).logits.float().pow(2).mean().backward()
    gradient = loaded.get_input_embeddings().weight.grad
    assert (gradient[IDS[0]].abs().sum(dim=1) > 0).all()
    if name not in CANNOT_GROW:
        extend_model(folder, NEW, tmp_path / "new", base=BASE)
        extended = json.loads((tmp_path / "new" / "config.json").read_text())
        needs_one = name == "modernbert-decoder"  # its class refuses null
        assert extended["pad_token_id"] == (9 if needs_one else None)


@pytest.mark.parametrize("name", ALL)
def test_whether_weights_are_tied_is_decided_by_the_files(name: str, tmp_path: Path) -> None:
    model = tiny_model(name, tie_word_embeddings=False)
    folder = saved(model, tmp_path / "old")
    config = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    stored = open_stored_model(folder)
    if not stored.is_untied:
        tied = tiny_model(name, tie_word_embeddings=True)
        assert tied.all_tied_weights_keys == {}, "the class ties nothing"
        return
    assert "is loaded as a separate layer (tie_word_embeddings: false)" in " ".join(stored.notes)
    assert_equal_states(load_model(folder).state_dict(), model.state_dict())
    assert load_model(folder).config.tie_word_embeddings is False
    if name not in CANNOT_GROW:
        report = extend_model(folder, NEW, tmp_path / "new", base=BASE)
        assert report.notes == stored.notes
        extended = json.loads((tmp_path / "new" / "config.json").read_text())
        assert extended["tie_word_embeddings"] is False
