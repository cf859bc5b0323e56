"""Distance of a run's weights from its model folder, summed exactly over shares of any size."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from linly.evaluation.weight_drift import WeightDrift, drift_notice, exact_sum
from linly.modeling.stored.stored_model import open_stored_model
from linly.training.ranks.processes import Processes
from tests.support.engines import take_step, tiny_engine
from tests.support.models import tiny_model

SIZES = {"vocab_size": 32, "num_hidden_layers": 2}


@given(
    st.lists(st.floats(0, 1e3), min_size=1, max_size=300),
    st.integers(0, 299),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60)
def test_a_sum_depends_on_no_order_and_no_cut(
    values: list[float], cut: int, random: object
) -> None:
    mixed = list(values)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    whole = exact_sum(torch.tensor(values, dtype=torch.float64))
    parts = [exact_sum(torch.tensor(p, dtype=torch.float64)) for p in (mixed[:cut], mixed[cut:])]
    assert torch.equal(whole, parts[0] + parts[1])
    true = float(sum(map(Fraction, values), Fraction(0)))
    assert math.fsum(whole.tolist()) == pytest.approx(true, rel=1e-15, abs=1e-21)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tiny_model("llama", **SIZES).save_pretrained(path)
    return path


def test_drift_by_part_equals_that_of_the_weights(folder: Path, alone: Processes) -> None:
    engine = tiny_engine(**SIZES)
    drift = WeightDrift(engine, open_stored_model(folder), alone)
    assert set(drift.measure().values()) == {0.0}
    take_step(engine)
    found = drift.measure()
    assert list(found) == ["all", "embedding", "layer-0", "layer-1", "other", "head"]
    stored = load_file(folder / "model.safetensors")
    sums: dict[str, list[float]] = {}
    for name, parameter in engine.parameters().items():
        now, before = engine.full_state(parameter)["master"].double(), stored[name].double()
        moved, size = float((now - before).square().sum()), float(before.square().sum())
        part = next((p for p in ("embed", "layers.0", "layers.1", "lm_head") if p in name), "norm")
        for key in (part, "all"):
            total = sums.setdefault(key, [0.0, 0.0])
            total[0] += moved
            total[1] += size
    names = {"embed": "embedding", "layers.0": "layer-0", "layers.1": "layer-1", "norm": "other"}
    for key, (moved, size) in sums.items():
        part = {"lm_head": "head", **names}.get(key, key)
        assert found[part] == pytest.approx(math.sqrt(moved / size), rel=1e-12)
    assert found["all"] is not None and found["all"] > 1e-4
    assert drift_notice(drift, open_stored_model(folder)) == []


def test_a_weight_that_the_folder_lacks_is_said(
    folder: Path, alone: Processes, tmp_path: Path
) -> None:
    engine = tiny_engine(**(SIZES | {"vocab_size": 40}))
    stored = open_stored_model(folder)
    drift = WeightDrift(engine, stored, alone)
    assert drift.left_out == ["model.embed_tokens.weight", "lm_head.weight"]
    assert "embedding" not in drift.measure()
    (notice,) = drift_notice(drift, stored)
    assert notice.startswith("weight drift leaves out 2 trained parameters that model ")
