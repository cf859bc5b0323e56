"""The use of new pieces is what a recount of the rows gives; their rows' norms are the model's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from transformers import AutoConfig

from linly.config.recipe import load_recipe
from linly.data.cursor import SourceCursor
from linly.data.mixing.mixed_row import MixedRow
from linly.data.mixing.stream_plan import make_mixer, stream_plan
from linly.data.shard_list import read_shard_list
from linly.data.types import Row
from linly.errors import ConfigError
from linly.export.model_export import ExportForm, export_run
from linly.modeling.embeddings import extend_model
from linly.modeling.load_model import init_model, load_model, save_model
from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from linly.training.recording.new_pieces import NewPieces
from tests.support.tiny_world import CHINESE, make_tiny_world
from tests.support.vocabularies import english_model

BASE = SentencePieceTokenizer(english_model())
NEW = SentencePieceTokenizer(extend_vocabulary(BASE, CHINESE))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model as it was, and grown."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "old").mkdir()
    save_model(init_model("nano", BASE, seed=5), BASE, folder / "old")
    extend_model(folder / "old", NEW, folder / "new")
    return folder / "old", folder / "new"


def row(ids: list[int], *, num_padding: int = 0) -> MixedRow:
    array = np.array(ids, np.int32)
    made = Row("x", 0, array, array, np.zeros(1, np.int32), (), num_padding, SourceCursor(), ())
    return MixedRow(0, 0, made, b"")


def config(folder: Path) -> dict[str, object]:
    loaded: dict[str, object] = orjson.loads((folder / "config.json").read_bytes())
    return loaded


def test_an_extended_model_says_where_its_new_pieces_begin(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = folders
    assert "base_vocab_size" not in config(old)
    assert config(new)["base_vocab_size"] == BASE.vocab_size
    more = SentencePieceTokenizer(extend_vocabulary(NEW, ["亿", "山"]))
    extend_model(new, more, tmp_path / "more")
    assert config(tmp_path / "more")["base_vocab_size"] == BASE.vocab_size
    extend_model(old, BASE, tmp_path / "same")
    assert "base_vocab_size" not in config(tmp_path / "same")
    assert NewPieces.of_model(old, BASE) is None


@pytest.mark.parametrize("value", ["400", -1, 0, 10**6])
def test_a_base_vocabulary_that_cannot_be_is_refused(
    folders: tuple[Path, Path], tmp_path: Path, value: object
) -> None:
    (tmp_path / "config.json").write_bytes(orjson.dumps({"base_vocab_size": value}))
    with pytest.raises(ConfigError, match=r"base_vocab_size: found .*; correct or remove it"):
        NewPieces.of_model(tmp_path, NEW)


def test_padding_is_not_counted_and_counts_go_on_after_a_resume() -> None:
    pieces = NewPieces(10, 30)
    pieces.count([row([1, 10, 12, 12]), row([2, 29, 11, 11], num_padding=2)])
    again = NewPieces(10, 30)
    again.load_state_dict(orjson.loads(orjson.dumps(pieces.state_dict())))
    for each in (pieces, again):
        each.count([row([10, 13])])
    assert again.state_dict() == pieces.state_dict()
    assert pieces.state_dict() | {"seen": ""} == {
        "first": 10, "num_pieces": 20, "num_new": 6, "num_tokens": 8, "seen": "",
    }  # fmt: skip


def test_norms_are_those_of_the_embeddings_rows(folders: tuple[Path, Path]) -> None:
    model = load_model(folders[1])
    pieces = NewPieces.of_model(folders[1], NEW)
    assert pieces is not None
    record = pieces.record(model)
    norms = model.get_input_embeddings().weight.detach().norm(dim=1)
    assert record.norm == pytest.approx(float(norms[400 : NEW.vocab_size].mean()), rel=1e-5)
    assert record.norm_of_others == pytest.approx(float(norms[:400].mean()), rel=1e-5)
    assert (record.num_pieces, record.num_seen) == (len(CHINESE), 0)
    assert record.share_of_tokens is None
    with torch.no_grad():
        model.get_input_embeddings().weight[400 : NEW.vocab_size] *= 2
    assert pieces.record(model).norm == pytest.approx(2 * record.norm, rel=1e-5)
    assert pieces.record(model).norm_of_others == record.norm_of_others


def test_a_runs_evaluations_tell_the_use_that_its_rows_have(
    folders: tuple[Path, Path], tmp_path: Path, alone: Processes
) -> None:
    make_tiny_world(tmp_path, num_steps=6)
    overrides = [
        f"run={tmp_path / 'runs' / 'new'}", f"model={folders[1]}", "data.producers=0",
        "evaluation.every=2", "checkpoint.every=3", "evaluation.prompts=[]",
    ]  # fmt: skip
    recipe = load_recipe(tmp_path / "recipe.yaml", [*overrides, "stop_at_step=3"])
    train(recipe, alone, resume_step=None)
    recipe = load_recipe(tmp_path / "recipe.yaml", overrides)
    train(recipe, alone, resume_step=None)
    shards = {
        name: read_shard_list(recipe.run / "shards" / f"{name}.jsonl")
        for name in recipe.curriculum.sources
    }
    plan = stream_plan(recipe, recipe.run / "model", shards)
    mixer = make_mixer(plan, plan.new_state())
    ids = np.concatenate(
        [
            mixed.row.ids[: len(mixed.row.ids) - mixed.row.num_padding]
            for mixed in (next(mixer) for _ in range(6 * 8))
        ]
    )
    mixer.close()
    lines = [orjson.loads(x) for x in (recipe.run / "evaluations.jsonl").read_bytes().splitlines()]
    assert [line["step"] for line in lines] == [0, 2, 3, 4, 6]
    found = lines[-1]["new_pieces"]
    assert found["num_seen"] == len(np.unique(ids[ids >= 400])) > 0
    assert found["share_of_tokens"] == pytest.approx((ids >= 400).mean())
    assert lines[0]["new_pieces"]["share_of_tokens"] is None
    assert found["norm"] != lines[0]["new_pieces"]["norm"]
    export_run(recipe.run, steps=[], output=tmp_path / "out", form=ExportForm("bf16"))
    assert AutoConfig.from_pretrained(tmp_path / "out").base_vocab_size == 400
