"""The identity of a run's model covers every weight that comes from the model folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from linly.config.sections.trainable_setting import Trainable
from linly.modeling.stored.weight_files import WEIGHTS
from linly.training.changes.pinned_inputs import model_identity
from tests.support.models import tiny_model
from tests.support.vocabularies import english_model


@pytest.mark.parametrize(("family", "is_known_by_weights"), [("afmoe", True), ("llama", False)])
def test_full_training_knows_a_model_by_its_frozen_weights(
    family: str, is_known_by_weights: bool, tmp_path: Path
) -> None:
    tiny_model(family).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(english_model())
    before = model_identity(tmp_path, Trainable())
    tensors = load_file(tmp_path / WEIGHTS)
    name = next(name for name in tensors if name.endswith(("expert_bias", "down_proj.weight")))
    save_file({**tensors, name: tensors[name] + 1}, tmp_path / WEIGHTS, metadata={"format": "pt"})
    assert (model_identity(tmp_path, Trainable()) != before) == is_known_by_weights
