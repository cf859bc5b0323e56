"""The whole way of a byte-level vocabulary: extend it, extend the model, train, export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from linly.config.recipe import load_recipe
from linly.export.model_export import ExportForm, export_run
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.commands import linly_ok
from tests.support.tiny_world import CHINESE, make_tiny_world
from tests.support.tiny_world import ENGLISH as WORDS
from tests.support.vocabularies import byte_level_folder


def test_extend_train_and_export(
    tmp_path: Path, alone: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = make_tiny_world(tmp_path, num_steps=4)
    base, new = tmp_path / "base", tmp_path / "new"
    byte_level_folder(base, [" ".join(WORDS)] * 20, size=300)
    data = ("--corpora", str(tmp_path / "corpora"), "--data-root", str(tmp_path / "data"))
    linly_ok("vocab", "characters", "--base", str(base), "--from-corpus", "chinese",
          "--output", str(tmp_path / "c.txt"), *data)  # fmt: skip
    assert set((tmp_path / "c.txt").read_text().split()) == set(CHINESE)
    linly_ok("vocab", "extend", "--base", str(base), "--characters", str(tmp_path / "c.txt"),
          "--output", str(new))  # fmt: skip
    out = capsys.readouterr().out
    size = load_tokenizer(base).vocab_size
    assert f"{size} -> {load_tokenizer(new).vocab_size} pieces ({len(CHINESE)} characters" in out
    assert "tried on all 1,112,064 code points: old ids are unchanged" in out
    assert f"helper {size}: bytes " in out

    linly_ok("model", "init", "--config", "nano", "--tokenizer", str(base),
          "--output", str(tmp_path / "old"))  # fmt: skip
    for source, target in (("old", "grown"), ("grown", "twice")):
        linly_ok("model", "extend", "--model", str(tmp_path / source), "--tokenizer", str(new),
              "--output", str(tmp_path / target))  # fmt: skip
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("grown", "twice")]
    assert weights[0] == weights[1]
    old, grown = (AutoModelForCausalLM.from_pretrained(tmp_path / n) for n in ("old", "grown"))
    before = old.get_input_embeddings().weight.detach().numpy()
    after = grown.get_input_embeddings().weight.detach().numpy()
    assert np.array_equal(before, after[:size])
    (cat,) = load_tokenizer(new).split("çĮ«")  # 猫
    parts = load_tokenizer(base).split("çĮ«")
    assert len(parts) == 3
    np.testing.assert_allclose(after[cat], before[parts].mean(axis=0), rtol=1e-5, atol=1e-8)

    overrides = [f"model={tmp_path / 'grown'}", f"run={tmp_path / 'run'}", "data.producers=2"]
    outcome = train(load_recipe(recipe, overrides), alone, resume_step=None)
    assert outcome.is_complete
    exported = export_run(
        tmp_path / "run", steps=[], output=tmp_path / "hf", form=ExportForm("fp32")
    )
    assert exported.tokenizer.exact
    ids = AutoTokenizer.from_pretrained(tmp_path / "hf")("猫看见 the cat").input_ids
    assert ids == load_tokenizer(new).encode("猫看见 the cat").tolist()
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "hf").config.vocab_size == len(after)
    config = json.loads((tmp_path / "hf" / "tokenizer_config.json").read_text())
    assert "<|begin|>" in config.values()
