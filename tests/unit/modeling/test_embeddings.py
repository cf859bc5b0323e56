"""New rows are means of sub-token rows; every old row keeps every bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from linly.errors import ConfigError
from linly.modeling.embeddings import Init, extend_model
from linly.modeling.load_model import init_model, load_model, save_model
from linly.modeling.stored.weight_files import WEIGHTS, WEIGHTS_INDEX
from linly.tokenization.growth.extend import add_pad_piece, extend_vocabulary
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.vocabularies import ENGLISH, english_model

BASE = SentencePieceTokenizer(english_model())
# 亿 and 俺 have the same three bytes in another order: E4 BA BF and E4 BF BA.
NEW = SentencePieceTokenizer(extend_vocabulary(BASE, list("山水亿俺é")))
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def make_folder(path: Path, *, dtype: torch.dtype = torch.float32, shard: bool = False) -> Path:
    model = init_model("nano", BASE, seed=5).to(dtype)
    path.mkdir()
    save_model(model, BASE, path)
    if shard:
        model.save_pretrained(path, max_shard_size="100KB")
        (path / WEIGHTS).unlink()
    return path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    return tensors


def bytes_of(character: str) -> list[int]:
    pieces = BASE.pieces()
    return [pieces.index(f"<0x{byte:02X}>") for byte in character.encode()]


@pytest.mark.parametrize("shard", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_new_rows_are_the_fp32_mean_cast_once_and_old_rows_are_untouched(
    tmp_path: Path, dtype: torch.dtype, shard: bool
) -> None:
    folder = make_folder(tmp_path / "old", dtype=dtype, shard=shard)
    report = extend_model(folder, NEW, tmp_path / "new")
    old, new = weights(folder), weights(tmp_path / "new")
    assert old.keys() == new.keys()
    for name in (EMBEDDING, HEAD):
        assert new[name].shape == (405, 64)
        assert torch.equal(new[name][:400], old[name])
        for token, character in enumerate("山水亿俺é", start=400):
            mean = old[name][sorted(bytes_of(character))].float().mean(dim=0).to(dtype)
            assert torch.equal(new[name][token], mean), (name, character)
    for name in old.keys() - {EMBEDDING, HEAD}:
        assert torch.equal(old[name], new[name]), name
    assert not torch.equal(new[EMBEDDING][400:], new[HEAD][400:])
    assert (report.num_added, report.num_padding) == (5, 0)
    assert report.subtoken_counts == {2: 1, 3: 4}
    assert report.identical == ((402, 403),)
    assert load_model(tmp_path / "new").config.vocab_size == 405


def test_english_hidden_states_are_equal_to_the_bit_and_old_logits_in_rounding(
    tmp_path: Path,
) -> None:
    folder = make_folder(tmp_path / "old")
    extend_model(folder, NEW, tmp_path / "new")
    old, new = load_model(folder), load_model(tmp_path / "new")
    for text in ENGLISH[:5]:
        assert NEW.encode(text).tolist() == BASE.encode(text).tolist()
        ids = torch.from_numpy(BASE.encode(text)).long()[None]
        with torch.no_grad():
            before = old(ids, output_hidden_states=True)
            after = new(ids, output_hidden_states=True)
        for left, right in zip(before.hidden_states, after.hidden_states, strict=True):
            assert torch.equal(left, right)
        torch.testing.assert_close(after.logits[..., :400], before.logits, rtol=0, atol=1e-6)


def test_doing_it_twice_changes_nothing(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "old", shard=True)
    extend_model(folder, NEW, tmp_path / "once", multiple=16)
    report = extend_model(tmp_path / "once", NEW, tmp_path / "twice", multiple=16)
    assert report.num_added == 0
    once = {path.name: path.read_bytes() for path in (tmp_path / "once").iterdir()}
    assert once == {path.name: path.read_bytes() for path in (tmp_path / "twice").iterdir()}


def test_a_tied_model_grows_its_embedding_alone(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "old")
    tensors = load_file(folder / WEIGHTS)
    del tensors[HEAD]
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    report = extend_model(folder, NEW, tmp_path / "new")
    assert report.matrices == (EMBEDDING,)
    grown = load_model(tmp_path / "new")
    assert torch.equal(grown.get_output_embeddings().weight, grown.get_input_embeddings().weight)
    assert grown.get_output_embeddings().weight.shape[0] == 405


def test_rows_are_addressed_by_id_in_a_padded_model(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "old")
    tensors = load_file(folder / WEIGHTS)
    padding = torch.full((3, 64), 7.0)
    for name in (EMBEDDING, HEAD):
        tensors[name] = torch.cat([tensors[name], padding])
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 403}))
    extend_model(folder, SentencePieceTokenizer(extend_vocabulary(BASE, ["山"])), tmp_path / "one")
    one = weights(tmp_path / "one")[EMBEDDING]
    assert one.shape == (403, 64)
    assert torch.equal(one[400], tensors[EMBEDDING][sorted(bytes_of("山"))].mean(dim=0))
    assert torch.equal(one[401:], padding[:2])
    five = extend_model(folder, NEW, tmp_path / "five")
    assert (five.old_rows, five.new_rows) == (403, 405)
    assert not (weights(tmp_path / "five")[EMBEDDING] == 7.0).all(dim=1).any()


def test_padding_rows_are_never_chosen(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "old")
    report = extend_model(folder, NEW, tmp_path / "new", multiple=64)
    assert (report.new_rows, report.num_padding) == (448, 43)
    model = load_model(tmp_path / "new")
    assert model.generation_config.suppress_tokens == list(range(405, 448))
    ids = torch.randint(3, 400, (4, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (model(ids).logits.argmax(dim=-1) < 405).all()
        made = model.generate(ids, do_sample=True, max_new_tokens=20, temperature=100.0)
    assert (made < 405).all()


def test_a_piece_that_no_text_gives_gets_the_global_mean(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "old")
    padded = SentencePieceTokenizer(add_pad_piece(NEW))
    report = extend_model(folder, padded, tmp_path / "new")
    old, new = weights(folder), weights(tmp_path / "new")
    torch.testing.assert_close(new[HEAD][405], old[HEAD].mean(dim=0))
    assert report.subtoken_counts == {0: 1, 2: 1, 3: 4}
    assert load_model(tmp_path / "new").config.pad_token_id == 405


def test_other_inits_and_noise_are_seeded(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "old")

    def grown(name: str, init: Init, *, noise: float = 0.0, seed: int = 0) -> torch.Tensor:
        extend_model(folder, NEW, tmp_path / name, init=init, noise=noise, seed=seed)
        return weights(tmp_path / name)[EMBEDDING][400:]

    old = weights(folder)[EMBEDDING]
    for row in grown("global", Init.global_mean):
        torch.testing.assert_close(row, old.mean(dim=0))
    normal = grown("normal", Init.normal, seed=1)
    assert torch.equal(normal, grown("again", Init.normal, seed=1))
    assert not torch.equal(normal, grown("other", Init.normal, seed=2))
    assert 0.01 < normal.std() < 0.03
    plain = grown("plain", Init.mean_of_subtokens)
    noisy = grown("noisy", Init.mean_of_subtokens, noise=1e-3)
    assert torch.equal(plain[2], plain[3])
    assert not torch.equal(noisy[2], noisy[3])
    assert torch.equal(noisy[[0, 1, 4]], plain[[0, 1, 4]])  # only equal rows are told apart
    torch.testing.assert_close(noisy, plain, rtol=0, atol=1e-3)


def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "old")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"id .* in the model's tokenizer"):
        extend_model(folder, SentencePieceTokenizer(english_model(size=420)), tmp_path / "new")
    with pytest.raises(ConfigError, match="exists already"):
        extend_model(folder, NEW, folder)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    with pytest.raises(ConfigError, match="truncated"):
        extend_model(folder, NEW, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_folder_without_a_tokenizer_asks_for_it(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "old")
    (folder / "tokenizer.model").unlink()
    with pytest.raises(ConfigError, match="tokenizer"):
        extend_model(folder, NEW, tmp_path / "new")
    assert extend_model(folder, NEW, tmp_path / "new", base=BASE).num_added == 5


def test_the_index_of_a_sharded_model_follows(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "old", shard=True)
    extend_model(folder, NEW, tmp_path / "new")
    index = json.loads((tmp_path / "new" / WEIGHTS_INDEX).read_text())
    tensors = weights(tmp_path / "new")
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in tensors.values())
    for name, file in index["weight_map"].items():
        with safe_open(tmp_path / "new" / file, "pt") as opened:
            assert name in opened.keys()  # noqa: SIM118 - no mapping
